//! The DHCP client (RFC 2131): smoltcp's state machine, and what it leaves to its user.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use core::future::poll_fn;
use core::net::Ipv4Addr;
use core::task::Poll;

use alloc::boxed::Box;
use alloc::vec;
use embassy_time::{Duration, Instant};
use heapless::Vec;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::dhcpv4::{self, RetryConfig};
use smoltcp::wire::{DhcpOption, DhcpPacket};

use crate::address::ipv4::{Bound, Origin};
use crate::stack::Stack;
use crate::status::SERVERS;

// Option numbers (RFC 2132).
const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const DNS_SERVERS: u8 = 6;
const HOST_NAME: u8 = 12;
const NTP_SERVERS: u8 = 42;
const LEASE_TIME: u8 = 51;

/// What the server is asked for; smoltcp asks with the client identifier "MAC address" by itself.
const WANTED: &[u8] = &[SUBNET_MASK, ROUTER, DNS_SERVERS, NTP_SERVERS];
/// Largest message that is kept.
const MESSAGE_LEN: usize = 1472;
/// smoltcp's when the server names none.
const DEFAULT_LEASE_S: u32 = 120;
/// How long to wait for an offer while a node starts, when every second counts.
const EAGER_DISCOVER_S: u64 = 2;
/// The same, once it is clear that there is no server.
const PATIENT_DISCOVER_S: u64 = 10;
/// Shortest time between two attempts to renew. RFC 2131, section 4.4.5, says 60 s, with leases of hours in mind;
/// leases of a minute are usual in test set-ups.
const RENEW_RETRY_S: u64 = 5;

/// What happened to the lease.
pub(crate) enum Event {
    Leased(Bound),
    Lost,
}

/// The DHCP client.
pub(crate) struct Dhcp {
    stack: &'static Stack,
    handle: SocketHandle,
}

impl Dhcp {
    /// Starts the client. Its buffers stay for the life of the node.
    pub(crate) fn new(stack: &'static Stack) -> Self {
        let mut socket = dhcpv4::Socket::new();
        let name: &'static [u8] = Box::leak(stack.name().as_bytes().into());
        socket.set_outgoing_options(Box::leak(Box::new([DhcpOption { kind: HOST_NAME, data: name }])));
        socket.set_parameter_request_list(WANTED);
        socket.set_receive_packet_buffer(vec![0; MESSAGE_LEN].leak());
        socket.set_retry_config(retries(EAGER_DISCOVER_S));
        // On a refusal smoltcp would ask anew at once, and a server that refuses always would be asked without end.
        socket.set_ignore_naks(true);
        let handle = stack.inner.borrow_mut().sockets.add(socket);
        stack.kick();
        Self { stack, handle }
    }

    /// Forgets the lease and looks for a server.
    pub(crate) fn restart(&self) {
        self.with(|socket| {
            socket.set_retry_config(retries(EAGER_DISCOVER_S));
            socket.reset();
        });
        self.stack.kick();
    }

    /// Asks for a server less often.
    pub(crate) fn be_patient(&self) {
        self.with(|socket| socket.set_retry_config(retries(PATIENT_DISCOVER_S)));
    }

    /// Waits for something to happen.
    pub(crate) async fn event(&self) -> Event {
        poll_fn(|cx| {
            self.with(|socket| match socket.poll() {
                Some(dhcpv4::Event::Configured(config)) => Poll::Ready(Event::Leased(bound(&config))),
                Some(dhcpv4::Event::Deconfigured) => Poll::Ready(Event::Lost),
                None => {
                    socket.register_waker(cx.waker());
                    Poll::Pending
                }
            })
        })
        .await
    }

    fn with<R>(&self, f: impl FnOnce(&mut dhcpv4::Socket<'static>) -> R) -> R {
        f(self.stack.inner.borrow_mut().sockets.get_mut::<dhcpv4::Socket<'static>>(self.handle))
    }
}

fn retries(discover_s: u64) -> RetryConfig {
    let mut retries = RetryConfig::default();
    retries.discover_timeout = smoltcp::time::Duration::from_secs(discover_s);
    retries.initial_request_timeout = smoltcp::time::Duration::from_secs(EAGER_DISCOVER_S);
    retries.min_renew_timeout = smoltcp::time::Duration::from_secs(RENEW_RETRY_S);
    retries
}

fn bound(config: &dhcpv4::Config<'_>) -> Bound {
    let lease_s = config.packet.as_ref().and_then(|packet| option_u32(packet, LEASE_TIME)).unwrap_or(DEFAULT_LEASE_S);
    let expires = Instant::now() + Duration::from_secs(u64::from(lease_s));
    Bound {
        address: config.address.address(),
        prefix_len: config.address.prefix_len(),
        origin: Origin::Dhcp { server: config.server.identifier, expires },
        gateway: config.router,
        dns: config.dns_servers.iter().copied().take(SERVERS).collect(),
        ntp: config.packet.as_ref().map(ntp_servers).unwrap_or_default(),
    }
}

fn option_u32(packet: &DhcpPacket<&[u8]>, kind: u8) -> Option<u32> {
    let option = packet.options().find(|option| option.kind == kind)?;
    Some(u32::from_be_bytes(*option.data.first_chunk()?))
}

fn ntp_servers(packet: &DhcpPacket<&[u8]>) -> Vec<Ipv4Addr, SERVERS> {
    let options = packet.options().filter(|option| option.kind == NTP_SERVERS);
    options
        .flat_map(|option| option.data.as_chunks::<4>().0.iter().copied().map(Ipv4Addr::from))
        .filter(|server| !server.is_unspecified() && !server.is_multicast() && !server.is_broadcast())
        .take(SERVERS)
        .collect()
}
