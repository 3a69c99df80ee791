//! How the node gets its addresses: given, by DHCP, chosen by itself, or from an IPv6 router.

pub(crate) mod dhcp;
pub(crate) mod extra;
pub(crate) mod ipv4;
pub(crate) mod ipv6;
pub(crate) mod link_local;
pub(crate) mod slaac;

pub use extra::run as run_extra;
pub use ipv4::run as run_ipv4;
pub use ipv6::run as run_ipv6;
