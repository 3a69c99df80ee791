//! The parsers of this crate, for the fuzz targets in `fuzz/`: each takes any bytes and panics when something that must hold
//! does not.

pub use crate::address::dhcp::fuzz::run as dhcp;
pub use crate::filter::fuzz::run as frame;
pub use crate::http::fuzz::run as http;
pub use crate::mdns::message::fuzz::run as mdns;
pub use crate::mqtt::fuzz::run as mqtt;
pub use crate::portal::names::fuzz::run as names;
