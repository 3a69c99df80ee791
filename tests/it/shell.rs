//! The shell on the serial line, as somebody at a terminal sees it.

use anyhow::{Context, Result, ensure};
use tests::lab::{Lab, NODE, Wire};
use tests::malformed::Random;
use tests::node::{self, BOOT, PATIENCE, Rig};
use tests::shell::{PROMPT, run};

#[test]
fn help_names_every_command() -> Result<()> {
    let rig = Rig::boot("")?;
    let help = run(&rig.node, "help")?.join("\n");
    for command in ["help", "status", "net", "top", "log", "workload", "reboot"] {
        ensure!(help.contains(command), "no {command} in\n{help}");
    }
    Ok(())
}

#[test]
fn bytes_without_end_on_the_serial_line_do_not_stop_the_node() -> Result<()> {
    let rig = Rig::boot("")?;
    let mut random = Random::new(7);
    let noise = random.bytes(400_000);
    std::thread::scope(|scope| {
        let typing = scope.spawn(|| rig.node.console().send_bytes(&noise));
        // Meanwhile the network is served.
        for _ in 0..20 {
            node::udp_echo(rig.node.udp(7)?, &[0x5a; 1000])?;
        }
        typing.join().map_err(|_| anyhow::anyhow!("typing panicked"))?.context("typing")
    })?;
    // Ends whatever line or view the noise has begun.
    rig.node.console().send_bytes(b"\x03\r")?;
    let status = run(&rig.node, "status")?.join("\n");
    ensure!(status.lines().any(|line| line.starts_with("crashes") && line.contains("none")), "{status}");
    Ok(())
}

#[test]
fn status_and_net_tell_who_and_where_the_node_is() -> Result<()> {
    let rig = Rig::boot("name=gamma")?;
    rig.node.settled_metrics()?;
    let status = run(&rig.node, "status")?.join("\n");
    ensure!(status.contains("gamma") && status.contains(node::machine()?.board()), "{status}");
    let net = run(&rig.node, "net")?.join("\n");
    ensure!(net.contains("52:54:00:12:34:56"), "{net}");
    if rig.lab.wire() == Wire::Tap {
        ensure!(net.contains(&NODE.to_string()), "{net}");
    }
    Ok(())
}

#[test]
fn workloads_are_started_listed_and_stopped() -> Result<()> {
    let rig = Rig::boot("")?;
    run(&rig.node, "workload start cpu:load=30%,cores=3")?;
    let listed = run(&rig.node, "workload")?.join("\n");
    ensure!(listed.contains("cpu"), "{listed}");
    rig.node.wait_for_metric("a running workload", PATIENCE, |metrics| {
        let operations = metrics.sum("minipirack_workload_operations_total", &[("core", "3"), ("workload", "cpu")]);
        Ok((operations > 0.0).then_some(operations))
    })?;
    run(&rig.node, "workload stop 3")?;
    rig.node.wait_for_metric("an idle core", PATIENCE, |metrics| {
        let running = metrics.sum("minipirack_workload_state", &[("core", "3"), ("state", "running")]);
        Ok((running == 0.0).then_some(running))
    })?;
    Ok(())
}

#[test]
fn top_and_log_show_what_happens() -> Result<()> {
    let rig = Rig::boot("")?;
    let log = run(&rig.node, "log")?.join("\n");
    ensure!(log.contains("MiniPiRack"), "{log}");
    rig.node.console().skip();
    rig.node.console().send_line("top")?;
    rig.node.console().wait_for(|line: &str| line.contains("cpu"), PATIENCE)?;
    // Any key ends it.
    rig.node.console().send_bytes(b"q")?;
    let help = run(&rig.node, "help")?;
    ensure!(!help.is_empty(), "the shell does not come back from top");
    Ok(())
}

#[test]
fn an_unknown_command_is_named_and_points_to_help() -> Result<()> {
    let rig = Rig::boot("")?;
    let answer = run(&rig.node, "frobnicate now")?.join("\n");
    ensure!(answer.contains("'frobnicate'") && answer.contains("help"), "{answer}");
    Ok(())
}

#[test]
fn a_line_can_be_edited_before_it_is_sent() -> Result<()> {
    let rig = Rig::boot("")?;
    let (console, board) = (rig.node.console(), node::machine()?.board());
    // "staXtus" with the X taken out: two steps left, backspace. Then "help", found again with the up key.
    console.skip();
    console.send_bytes(b"staXtus\x1b[D\x1b[D\x1b[D\x7f\r")?;
    console.wait_for(board, PATIENCE).context("left and backspace")?;
    console.send_bytes(b"xx\x01\x0bstatus\r")?;
    console.wait_for(board, PATIENCE).context("home and kill")?;
    console.send_bytes(b"\x1b[A\r")?;
    console.wait_for(board, PATIENCE).context("history")?;
    console.send_bytes(b"reboot\x03")?;
    console.send_line("status")?;
    console.wait_for(board, PATIENCE).context("Ctrl-C")?;
    ensure!(rig.node.metrics()?.sum("node_crashes_total", &[]) == 0.0);
    Ok(())
}

#[test]
fn log_lines_do_not_tear_the_line_being_typed() -> Result<()> {
    let lab = Lab::new()?;
    let rig = Rig::boot_in(lab, "", |_| ())?;
    let (console, board) = (rig.node.console(), node::machine()?.board());
    console.skip();
    // A half-typed command, then telemetry lines go by, then the rest of it.
    console.send_bytes(b"sta")?;
    for _ in 0..3 {
        console.wait_for(|line: &str| line.contains(" mem "), BOOT).context("a telemetry line")?;
    }
    console.send_bytes(b"tus\r")?;
    console
        .wait_for(|line: &str| line.contains("> status") || line.ends_with("status"), PATIENCE)
        .context("the whole command")?;
    console.wait_for(board, PATIENCE)?;
    // As a terminal shows it, every log line stands alone.
    for line in console.lines() {
        ensure!(!line.contains(" mem ") || !line.contains(PROMPT), "torn: {line:?}");
    }
    Ok(())
}

#[test]
fn noise_on_the_line_does_not_stop_the_shell() -> Result<()> {
    let rig = Rig::boot("")?;
    let mut random = Random::new(99);
    // No carriage return: noise must not spell a command.
    let noise: Vec<u8> = random.bytes(4096).into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    rig.node.console().send_bytes(&noise)?;
    rig.node.console().send_bytes(b"\x03\r")?;
    let help = run(&rig.node, "help")?.join("\n");
    ensure!(help.contains("status"), "{help}");
    Ok(())
}
