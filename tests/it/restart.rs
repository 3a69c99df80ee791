//! The node restarts, by itself or not, whatever its NIC has under way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu::NicKind;
use tests::lab::Lab;
use tests::node::{BOOT, Rig, nic_kind};
use tests::traffic::Traffic;

/// Longest until a node that makes no progress is restarted by its supervisor.
const STALL: Duration = Duration::from_secs(60);

#[test]
fn a_core_0_that_stands_still_is_noticed_and_the_node_restarted() -> Result<()> {
    let rig = Rig::boot("")?;
    let console = rig.node.console();
    console.skip();
    console.send_line("debug crash hang 0")?;
    let headline = console.wait_for("*** crash: ", STALL)?;
    ensure!(headline.contains("stalled on core 0 after"), "the report says {headline:?}");
    console.wait_for("MiniPiRack", BOOT)?;
    rig.node.wait_until_up()?;
    ensure!(rig.node.metric("node_crashes_total", &[("reason", "stalled")])? == 1.0);
    Ok(())
}

#[test]
fn a_restart_on_purpose_is_no_crash() -> Result<()> {
    let rig = Rig::boot_in(Lab::new()?, "", |_| ())?;
    let console = rig.node.console();
    console.skip();
    console.send_line("reboot")?;
    console.wait_for("MiniPiRack", BOOT)?;
    rig.node.wait_until_up()?;
    ensure!(rig.node.metrics()?.sum("node_crashes_total", &[]) == 0.0);
    Ok(())
}

#[test]
fn comes_back_from_every_kind_of_restart_under_traffic() -> Result<()> {
    let rig = Rig::boot("")?;
    let traffic = Traffic::start(rig.node.udp(7)?)?;
    let console = rig.node.console();
    let mut commands = vec!["reboot", "debug crash panic 0", "debug crash data-abort 2"];
    // A reset that the node can't prepare for: QEMU does not always survive it with a model of a NIC, see `Node::reset`.
    if nic_kind()? == NicKind::UsbNet {
        commands.push("the button");
    }
    for (round, command) in commands.repeat(2).into_iter().enumerate() {
        let say = || format!("round {round}, {command}: {}; {}", rig.node.board().messages(), rig.node.last_words());
        traffic.wait_for_answers(100).with_context(say)?;
        console.skip();
        if command == "the button" {
            rig.node.board().reset()?
        } else {
            console.send_line(command)?
        }
        console.wait_for("MiniPiRack", BOOT).with_context(say)?;
    }
    let say = || format!("after the last round: {}; {}", rig.node.board().messages(), rig.node.last_words());
    traffic.wait_for_answers(100).with_context(say)?;
    drop(traffic);
    rig.node.wait_until_up()?;
    let crashes = rig.node.metrics()?.sum("node_crashes_total", &[]);
    ensure!(crashes == 4.0, "{crashes} crashes were counted, not 4");
    Ok(())
}
