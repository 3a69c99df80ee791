//! The parsers of this crate, for the fuzz targets in `fuzz/`: each takes any bytes and panics when something that must hold
//! does not. A new one is a file `fuzz.rs` below its parser and a line here.

pub use crate::builtin::kv::fuzz::run as kv;
pub use crate::builtin::leader::fuzz::run as leader;
pub use crate::builtin::load::fuzz::run as load;
pub use crate::builtin::pipeline::fuzz::run as pipeline;
pub use crate::http::request::fuzz::run as http;
pub use crate::iperf3::fuzz::run as iperf3;
pub use crate::spec::fuzz::run as spec;
