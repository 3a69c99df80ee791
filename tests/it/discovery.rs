//! The node is found by its name, and knows what time it is. On every NIC.

use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::lab::{HOST, Lab, NODE};
use tests::mdns::{self, Data, Querier};
use tests::node::{self, PATIENCE, Rig};
use tests::ntp::NtpServer;
use tests::radv;

#[test]
fn answers_to_its_name_with_its_addresses() -> Result<()> {
    let Some(lab) = Lab::private("mDNS names")? else { return Ok(()) };
    let _rig = Rig::boot_in(lab, "", |_| ())?;
    let name = format!("{}.local", node::NAME);
    let link_local = radv::eui64(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), node::MAC);
    for querier in [Querier::join()?, Querier::one_shot()?] {
        let find = |wanted: Data| {
            let name = name.clone();
            move |records: &[mdns::Record]| {
                records
                    .iter()
                    .any(|record| record.name.eq_ignore_ascii_case(&name) && record.data == wanted)
                    .then_some(())
            }
        };
        querier.ask(&name, mdns::A, PATIENCE, find(Data::A(NODE)))?;
        querier.ask(&name, mdns::AAAA, PATIENCE, find(Data::Aaaa(link_local)))?;
    }
    Ok(())
}

#[test]
fn a_name_of_the_command_line_is_answered_to_and_the_other_is_not() -> Result<()> {
    let Some(lab) = Lab::private("mDNS names from the command line")? else { return Ok(()) };
    let _rig = Rig::boot_in(lab, "name=alpha", |_| ())?;
    let querier = Querier::join()?;
    let has_address = |records: &[mdns::Record]| records.iter().any(|r| r.data == Data::A(NODE)).then_some(());
    querier.ask("alpha.local", mdns::A, PATIENCE, has_address)?;
    let other = querier.ask(&format!("{}.local", node::NAME), mdns::A, Duration::from_secs(3), |records| {
        records.iter().any(|record| record.name.starts_with(node::NAME)).then_some(())
    });
    ensure!(other.is_err(), "answers to a name that it does not have");
    Ok(())
}

#[test]
fn offers_its_service_with_port_host_and_text() -> Result<()> {
    let Some(lab) = Lab::private("DNS-SD")? else { return Ok(()) };
    let _rig = Rig::boot_in(lab, "", |_| ())?;
    let querier = Querier::join()?;
    let service = "_minipirack._tcp.local";
    let instance = querier.ask(service, mdns::PTR, PATIENCE, |records| {
        records.iter().find_map(|record| match &record.data {
            Data::Ptr(instance) if record.name == service => Some(instance.clone()),
            _ => None,
        })
    })?;
    ensure!(instance == format!("{}.{service}", node::NAME), "the instance is {instance}");
    let (port, host) = querier.ask(&instance, mdns::SRV, PATIENCE, |records| {
        records.iter().find_map(|record| match &record.data {
            Data::Srv(port, host) if record.name == instance => Some((*port, host.clone())),
            _ => None,
        })
    })?;
    ensure!((port, host.as_str()) == (80, &*format!("{}.local", node::NAME)), "{port} at {host}");
    let text = querier.ask(&instance, mdns::TXT, PATIENCE, |records| {
        records.iter().find_map(|record| match &record.data {
            Data::Txt(text) if record.name == instance => Some(text.clone()),
            _ => None,
        })
    })?;
    ensure!(text.iter().all(|entry| entry.contains('=')), "text is {text:?}");
    Ok(())
}

#[test]
fn announces_itself_without_being_asked() -> Result<()> {
    let Some(lab) = Lab::private("mDNS announcements")? else { return Ok(()) };
    let mut frames = tests::frames::FrameSocket::open()?;
    let _rig = Rig::boot_in(lab, "", |_| ())?;
    // RFC 6762, section 8.3: a response to the group from port 5353 that nobody asked for.
    let found = frames.receive(node::MAC, PATIENCE, |frame| {
        let is_mdns = frame[12..14] == [8, 0]
            && frame.get(30..34)? == mdns::GROUP.0.octets()
            && frame.get(36..38)? == [0x14, 0xe9];
        let records = mdns::answers(frame.get(42..)?)?;
        (is_mdns && records.iter().any(|record| record.data == Data::A(NODE))).then_some(())
    })?;
    ensure!(found.is_some(), "no announcement was received");
    Ok(())
}

#[test]
fn sends_nothing_from_an_address_that_is_not_its_own() -> Result<()> {
    let Some(lab) = Lab::private("source addresses")? else { return Ok(()) };
    let mut frames = tests::frames::FrameSocket::open()?;
    let rig = Rig::boot_in(lab, "", |_| ())?;
    rig.node.settled_metrics()?;
    let link_local = radv::eui64(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), node::MAC);
    let mut count = 0;
    let foreign = frames.receive(node::MAC, Duration::ZERO, |frame| {
        count += 1;
        let is_own = match frame[12..14] {
            [0x08, 0x00] => [[0; 4], NODE.octets()].contains(frame.get(26..30)?.first_chunk()?),
            [0x86, 0xdd] => [[0; 16], link_local.octets()].contains(frame.get(22..38)?.first_chunk()?),
            _ => true,
        };
        (!is_own).then(|| frame.to_vec())
    })?;
    ensure!(foreign.is_none() && count > 5, "among {count} frames: {foreign:02x?}");
    Ok(())
}

#[test]
fn sets_its_clock_by_sntp() -> Result<()> {
    let Some(lab) = Lab::private("SNTP")? else { return Ok(()) };
    // 2031-01-01, which no clock shows by chance.
    let ntp = NtpServer::start(1_924_992_000)?;
    let rig = Rig::boot_in(lab, &format!("ntp={HOST}"), |_| ())?;
    let error = rig.node.wait_for_metric("the time of the NTP server", PATIENCE, |metrics| {
        // A node that does not know the time does not tell one.
        let Some(time) = metrics.all("node_time_seconds", &[]).first().map(|sample| sample.value) else {
            return Ok(None);
        };
        let error = time - ntp.now_s();
        Ok((error.abs() < 2.0).then_some(error))
    })?;
    // Scraping takes a moment, and samples are taken once a second.
    ensure!(ntp.requests() > 0 && error.abs() < 2.0, "{error} s off");
    let metrics = rig.node.metrics()?;
    let up = metrics.one("node_time_seconds", &[])? - metrics.one("node_boot_time_seconds", &[])?;
    ensure!((up - metrics.one("minipirack_uptime_seconds", &[])?).abs() < 0.1, "{up} s since boot");
    ensure!(metrics.one("node_timex_sync_status", &[])? == 1.0);
    Ok(())
}
