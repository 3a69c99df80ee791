//! The log and the samples as defmt frames, read by stock `defmt-print` with the image's ELF file.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt::RcvBuf};
use tests::defmt::Printer;
use tests::lab::Lab;
use tests::node::{self, BOOT, PATIENCE, Rig};
use tests::program::tool;
use tests::wait;

const PORT: u16 = 7777;
/// Notes that are written while a client does not read: more than its buffers and the log's ring hold.
const FLOOD: usize = 600;

/// Connects with a receive buffer that is soon full.
fn connect_slowly(address: SocketAddr) -> Result<TcpStream> {
    let SocketAddr::V4(address) = address else { bail!("not an IPv4 address") };
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
    setsockopt(&fd, RcvBuf, &2048)?;
    connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::from(address))?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Decodes what was received with `defmt-print`.
fn decode(bytes: &[u8]) -> Result<String> {
    let mut command = Command::new(tool("defmt-print"));
    command.arg("-e").arg(&node::kit()?.elf).arg("stdin").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("no input")?.write_all(bytes)?;
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn defmt_print_shows_lines_and_samples_and_a_slow_reader_is_told_what_it_missed() -> Result<()> {
    let Some(lab) = Lab::private("defmt frames")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, &format!("defmt={PORT} log=debug"), |_| ())?;
    let address = rig.node.tcp(PORT)?;
    let Some(printer) = Printer::connect(address)? else { return Ok(()) };
    // Lines from before the connection come too: with their time, level and the part of the image that wrote them.
    let first = printer.wait_for("MiniPiRack ").with_context(|| rig.node.last_words())?;
    ensure!(first.contains("INFO") && first.contains(" kernel core 0: MiniPiRack "), "{first:?}");
    let time: f64 = first.split(' ').next().unwrap_or_default().parse().with_context(|| first.clone())?;
    ensure!(time < 10.0, "{first:?}");
    let usb = printer.wait_for("dwc2: ")?;
    ensure!(usb.contains("DEBUG") && usb.contains(" usb::dwc2 "), "{usb:?}");
    // Samples have names and numbers.
    let sample = printer.wait_for("Sample { at_us: ")?;
    for part in ["nic: NicCounts { rx_frames: ", "cores: [Some(CoreTime { idle_us: ", "temperature_mc: Some("] {
        ensure!(sample.contains(part), "no {part:?} in {sample:?}");
    }
    let mut slow = connect_slowly(address)?;
    let filler = "x".repeat(80);
    for number in 0..FLOOD {
        rig.node.console().send_line(&format!("note flood {number} {filler}"))?;
    }
    printer.wait_for(&format!("note: flood {} ", FLOOD - 1)).with_context(|| rig.node.last_words())?;
    // The one that reads has got every line in spite of the other.
    let got = printer.lines().iter().filter(|line| line.contains("note: flood ")).count();
    ensure!(got == FLOOD, "{got} of {FLOOD} lines");
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let text = wait::until("the slow reader to be told", BOOT, || {
        let len = slow.read(&mut buffer)?;
        ensure!(len > 0, "the node has closed the connection");
        bytes.extend_from_slice(&buffer[..len]);
        let text = decode(&bytes)?;
        Ok(text.contains(&format!("note: flood {} ", FLOOD - 1)).then_some(text))
    })?;
    let mut lost = 0;
    for told in text.lines().filter(|line| line.ends_with(" lines before this were lost")) {
        let count = told.split(' ').rev().nth(5).unwrap_or_default();
        lost += count.parse::<usize>().with_context(|| told.to_owned())?;
    }
    let got = text.lines().filter(|line| line.contains("note: flood ")).count();
    // Lines of others came between, as the reader that got all of them tells; some of them may be among the lost.
    let all = printer.lines();
    let others = all.iter().skip_while(|line| !line.contains("note: flood 0 "));
    let others = others.filter(|line| !line.contains("note: flood ") && !line.contains("Sample {")).count();
    let is_explained = (FLOOD..=FLOOD + others).contains(&(got + lost));
    ensure!(lost > 0 && is_explained, "{got} lines, {lost} lost, {FLOOD} written, and {others} by others");
    // A place is free again when its client has gone.
    drop((slow, printer));
    wait::until("a third client to be served", PATIENCE, || {
        // Refused as long as both places are taken.
        let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) else { return Ok(None) };
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(stream.read(&mut buffer).ok().filter(|len| *len > 0))
    })?;
    Ok(())
}
