//! The NIC comes and goes, and strangers sit on the bus.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::dhcp::Kind;
use tests::lab::{Lab, NODE};
use tests::node::{self, BOOT, PATIENCE, Rig, TestNode};
use tests::wait;

#[test]
fn the_nic_is_unplugged_and_plugged_in_again() -> Result<()> {
    let rig = Rig::boot("")?;
    for round in 1..=3 {
        // While the node is idle: QEMU 10 fails an assertion when its usb-net goes while its DWC2 model retries a transfer.
        rig.node.board().unplug_nic().with_context(|| format!("round {round}: {}", rig.node.board().messages()))?;
        rig.node.console().wait_for("was unplugged", PATIENCE).with_context(|| format!("round {round}"))?;
        let skip = rig.dhcp.as_ref().map_or(0, |dhcp| dhcp.received().len());
        rig.node.board().plug_nic()?;
        if let Some(dhcp) = &rig.dhcp {
            dhcp.wait_for("DHCP on the new link", skip, BOOT, |message| {
                matches!(message.kind, Kind::Discover | Kind::Request)
            })
            .with_context(|| rig.node.last_words())?;
        }
        rig.node.wait_until_up().with_context(|| format!("round {round}"))?;
    }
    rig.node.wait_for_metric("four times that the link came up", PATIENCE, |metrics| {
        let changes = metrics.sum("node_network_carrier_changes_total", &[]);
        Ok((changes >= 4.0).then_some(changes))
    })?;
    Ok(())
}

#[test]
fn without_a_nic_shell_and_telemetry_run_and_the_network_comes_with_the_nic() -> Result<()> {
    let lab = Lab::new()?;
    let dhcp = match lab.wire() {
        tests::lab::Wire::Tap => Some(tests::dhcp::DhcpServer::start(tests::dhcp::Policy::default())?),
        tests::lab::Wire::User => None,
    };
    let node = TestNode::start_with(&lab, "", |config| {
        config.nic = Some(qemu::UsbNet { is_plugged: false, ..Default::default() });
    })?;
    // Two telemetry lines, a second apart.
    for _ in 0..2 {
        node.console().wait_for(|line: &str| line.contains(" mem ") && line.contains("cpu"), BOOT)?;
    }
    let help = tests::shell::run(&node, "help")?;
    ensure!(help.iter().any(|line| line.contains("status")), "help says {help:?}");
    node.board().plug_nic()?;
    node.wait_until_up()?;
    if let Some(dhcp) = &dhcp {
        ensure!(dhcp.count(Kind::Request) > 0);
        ensure!(node::ping(NODE, 3, 56)? == 3);
    }
    Ok(())
}

#[test]
fn a_device_that_nobody_drives_is_named_and_left_alone() -> Result<()> {
    let lab = Lab::new()?;
    let rig = Rig::boot_in(lab, "", |config| {
        config.nic = Some(qemu::UsbNet { behind_hub: true, ..Default::default() });
        for argument in ["-device", "usb-kbd,port=1.2", "-device", "usb-tablet,port=1.3"] {
            config.extra.push(argument.into());
        }
    })?;
    // Their ids in QEMU: hw/usb/dev-hid.c, 0627:0001 for all three kinds.
    wait::until("both strangers on the console", PATIENCE, || {
        let lines = rig.node.console().lines();
        Ok((lines.iter().filter(|line| line.contains("0627:0001")).count() >= 2).then_some(()))
    })
    .with_context(|| rig.node.last_words())?;
    node::udp_echo(rig.node.udp(7)?, &[3; 1000])
}

#[test]
fn a_stranger_that_is_plugged_in_later_does_not_disturb_the_network() -> Result<()> {
    let lab = Lab::new()?;
    let rig =
        Rig::boot_in(lab, "", |config| config.nic = Some(qemu::UsbNet { behind_hub: true, ..Default::default() }))?;
    rig.node.console().skip();
    rig.node.board().qmp("device_add", serde_json::json!({ "driver": "usb-kbd", "id": "keys", "port": "1.2" }))?;
    rig.node.console().wait_for("0627:0001", PATIENCE)?;
    node::udp_echo(rig.node.udp(7)?, &[3; 1000])?;
    rig.node.board().qmp("device_del", serde_json::json!({ "id": "keys" }))?;
    rig.node
        .board()
        .machine_protocol()
        .wait_for_event("DEVICE_DELETED", Duration::from_secs(10), |data| data["device"] == "keys")?;
    node::udp_echo(rig.node.udp(7)?, &[3; 1000])
}
