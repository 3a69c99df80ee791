//! The life of an address: leases, servers that go away, link-local. On every NIC.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::dhcp::{Answer, DhcpServer, Kind, Policy, Received};
use tests::frames::FrameSocket;
use tests::lab::{Lab, NODE};
use tests::node::{self, BOOT, PATIENCE, TestNode};
use tests::packet::ARP;
use tests::wait;

/// A lease short enough for a test. T1 is half of it, T2 seven eighths (RFC 2131, section 4.4.5).
const SHORT: Duration = Duration::from_secs(12);
/// Longest until a node without a server has given itself an address.
const LINK_LOCAL: Duration = Duration::from_secs(60);

fn short_lease() -> Policy {
    Policy { lease: SHORT, ..Policy::default() }
}

fn is_renewal(message: &Received) -> bool {
    message.kind == Kind::Request && message.has == NODE
}

#[test]
fn renews_its_lease_with_the_server_at_half_time() -> Result<()> {
    let Some(lab) = Lab::private("DHCP renewal")? else { return Ok(()) };
    let dhcp = DhcpServer::start(short_lease())?;
    let node = TestNode::start(&lab, "")?;
    let bound = dhcp.wait_for("a DHCPREQUEST", 0, BOOT, |message| message.kind == Kind::Request)?.at;
    let mut renewed = bound;
    for round in 1..=2 {
        let skip = dhcp.received().len();
        let message = dhcp
            .wait_for("a renewal", skip, SHORT, is_renewal)
            .with_context(|| format!("round {round}; {}", node.last_words()))?;
        ensure!(message.from == SocketAddr::from((NODE, 68)), "renewed from {}", message.from);
        let waited = message.at.duration_since(renewed);
        ensure!((SHORT / 3..SHORT).contains(&waited), "round {round}: renewed after {waited:?}");
        renewed = message.at;
        ensure!(node::ping(NODE, 3, 56)? == 3, "not reachable in round {round}");
    }
    ensure!(dhcp.count(Kind::Discover) <= 2, "started over: {:?}", dhcp.received());
    Ok(())
}

#[test]
fn keeps_its_address_while_the_server_is_away_and_renews_when_it_is_back() -> Result<()> {
    let Some(lab) = Lab::private("a DHCP server that goes away")? else { return Ok(()) };
    let dhcp = DhcpServer::start(short_lease())?;
    let node = TestNode::start(&lab, "")?;
    dhcp.wait_for("a DHCPREQUEST", 0, BOOT, |message| message.kind == Kind::Request)?;
    node.wait_until_up()?;
    dhcp.change(|policy| policy.answer = Answer::Silence);
    let skip = dhcp.received().len();
    // The node asks and hears nothing, and lives on its lease.
    dhcp.wait_for("a renewal", skip, SHORT, is_renewal).with_context(|| node.last_words())?;
    ensure!(node::ping(NODE, 3, 56)? == 3, "gave up its address before the lease ended");
    dhcp.change(|policy| policy.answer = Answer::Serve);
    let skip = dhcp.received().len();
    dhcp.wait_for("another renewal", skip, SHORT, |message| message.kind == Kind::Request)
        .with_context(|| node.last_words())?;
    wait::until("a new lease in use", PATIENCE, || Ok((node::ping(NODE, 1, 56)? == 1).then_some(())))
}

#[test]
fn gives_up_a_lease_that_ran_out_and_takes_a_new_one_later() -> Result<()> {
    let Some(lab) = Lab::private("the end of a lease")? else { return Ok(()) };
    let dhcp = DhcpServer::start(short_lease())?;
    let mut node = TestNode::start(&lab, "")?;
    dhcp.wait_for("a DHCPREQUEST", 0, BOOT, |message| message.kind == Kind::Request)?;
    node.wait_until_up()?;
    dhcp.change(|policy| policy.answer = Answer::Silence);
    wait::until("the end of the lease", SHORT * 4, || Ok((node::ping_now(NODE)? == 0).then_some(())))
        .with_context(|| node.last_words())?;
    let skip = dhcp.received().len();
    dhcp.wait_for("a DHCPDISCOVER after the lease", skip, LINK_LOCAL, |message| message.kind == Kind::Discover)
        .with_context(|| node.last_words())?;
    // Meanwhile the server has given the old address to somebody else.
    let other = Ipv4Addr::new(10, 77, 0, 60);
    dhcp.change(|policy| *policy = Policy { address: other, ..Policy::default() });
    node.set_address(other);
    node.wait_until_up()?;
    ensure!(node::ping_now(NODE)? == 0, "still answers at the address of its former lease");
    Ok(())
}

#[test]
fn starts_over_when_the_server_refuses_a_renewal() -> Result<()> {
    let Some(lab) = Lab::private("DHCPNAK")? else { return Ok(()) };
    let dhcp = DhcpServer::start(short_lease())?;
    let mut node = TestNode::start(&lab, "")?;
    dhcp.wait_for("a DHCPREQUEST", 0, BOOT, |message| message.kind == Kind::Request)?;
    // From now on the old address is refused and another one offered.
    let other = Ipv4Addr::new(10, 77, 0, 61);
    dhcp.change(|policy| policy.address = other);
    let skip = dhcp.received().len();
    dhcp.wait_for("a DHCPDISCOVER after the DHCPNAK", skip, SHORT * 2, |message| message.kind == Kind::Discover)
        .with_context(|| node.last_words())?;
    node.set_address(other);
    node.wait_until_up()
}

#[test]
fn without_a_server_gives_itself_a_link_local_address_and_prefers_a_lease_later() -> Result<()> {
    let Some(lab) = Lab::private("link-local addresses")? else { return Ok(()) };
    lab.add_address("169.254.7.7/16")?;
    let dhcp = DhcpServer::start(Policy { answer: Answer::Silence, ..Policy::default() })?;
    let mut frames = FrameSocket::open()?;
    let mut node = TestNode::start(&lab, "")?;
    // RFC 3927, section 2.2.1: asks whether anybody has the address, with 0.0.0.0 as its own.
    let probed = frames
        .receive(node::MAC, LINK_LOCAL, |frame| {
            let target = <[u8; 4]>::try_from(frame.get(38..42)?).ok().map(Ipv4Addr::from)?;
            let is_probe = frame[12..14] == ARP.to_be_bytes() && frame.get(28..32) == Some(&[0; 4]);
            (is_probe && target.is_link_local()).then_some(target)
        })?
        .with_context(|| format!("no ARP probe for a link-local address; {}", node.last_words()))?;
    wait::until("an answer at the link-local address", LINK_LOCAL, || Ok((node::ping_now(probed)? == 1).then_some(())))
        .with_context(|| format!("{probed}; {}", node.last_words()))?;
    ensure!(node::ping(probed, 3, 56)? == 3, "ping of {probed}");
    node.set_address(probed);
    ensure!(node.get("/metrics")?.status == 200);
    // The server is switched on: the node must still be asking.
    let start = Instant::now();
    dhcp.change(|policy| policy.answer = Answer::Serve);
    node.set_address(NODE);
    node.wait_until_up().with_context(|| format!("no lease {:?} after the server came", start.elapsed()))
}

#[test]
fn takes_another_link_local_address_when_the_first_is_in_use() -> Result<()> {
    let Some(lab) = Lab::private("link-local conflicts")? else { return Ok(()) };
    lab.add_address("169.254.7.7/16")?;
    let _dhcp = DhcpServer::start(Policy { answer: Answer::Silence, ..Policy::default() })?;
    let mut frames = FrameSocket::open()?;
    let node = TestNode::start(&lab, "")?;
    let mut taken = None;
    let other = frames.receive(node::MAC, LINK_LOCAL, |frame| {
        let target = <[u8; 4]>::try_from(frame.get(38..42)?).ok().map(Ipv4Addr::from)?;
        let is_probe = frame[12..14] == ARP.to_be_bytes() && frame.get(28..32) == Some(&[0; 4]);
        if !is_probe || !target.is_link_local() {
            return None;
        }
        match taken {
            None => {
                // The host takes the address, and its kernel answers the next probe.
                lab.add_address(&format!("{target}/32")).ok()?;
                taken = Some(target);
                None
            }
            Some(first) => (target != first).then_some(target),
        }
    })?;
    let other = other.with_context(|| format!("no probe for another address than {taken:?}; {}", node.last_words()))?;
    wait::until("an answer at the second address", LINK_LOCAL, || Ok((node::ping_now(other)? == 1).then_some(())))
        .with_context(|| node.last_words())
}
