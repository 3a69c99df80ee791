//! The classic services: echo (RFC 862), discard (RFC 863), chargen (RFC 864). On every NIC.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::malformed::Random;
use tests::node::{self, PATIENCE, Rig};

const CLIENTS: u64 = 16;
const MEBIBYTE: usize = 1 << 20;
/// For 16 MiB there and back on a machine that is busy with other things.
const TRANSFER: Duration = Duration::from_secs(120);

#[test]
fn sixteen_clients_at_once_get_every_byte_of_a_mebibyte_back() -> Result<()> {
    let rig = Rig::boot("")?;
    let address = rig.node.tcp(7)?;
    // Threads live in the network of the thread that starts them.
    let clients: Vec<_> = (0..CLIENTS).map(|seed| std::thread::spawn(move || echo_mebibyte(address, seed))).collect();
    for (number, client) in clients.into_iter().enumerate() {
        let result = client.join().map_err(|_| anyhow::anyhow!("client {number} panicked"))?;
        result.with_context(|| format!("client {number}; {}", rig.node.last_words()))?;
    }
    Ok(())
}

fn echo_mebibyte(address: SocketAddr, seed: u64) -> Result<()> {
    let data = Random::new(seed).bytes(MEBIBYTE);
    let mut stream = TcpStream::connect_timeout(&address, TRANSFER).context("connecting")?;
    stream.set_read_timeout(Some(TRANSFER))?;
    stream.set_write_timeout(Some(TRANSFER))?;
    // Of the last three sockets of a port, those are taken away whose client says nothing: so something is said at once, and not when the
    // machine comes to start a thread.
    stream.write_all(&data[..1]).context("sending")?;
    let mut sender = stream.try_clone()?;
    let sent = std::thread::spawn({
        let data = data.clone();
        move || sender.write_all(&data[1..]).and_then(|()| sender.shutdown(Shutdown::Write))
    });
    let mut received = Vec::with_capacity(MEBIBYTE);
    stream.read_to_end(&mut received).context("receiving")?;
    sent.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?.context("sending")?;
    let same = data.iter().zip(&received).take_while(|(a, b)| a == b).count();
    ensure!(received.len() == MEBIBYTE && same == MEBIBYTE, "{} bytes, the first {same} right", received.len());
    Ok(())
}

#[test]
fn many_connections_after_one_another_are_all_served() -> Result<()> {
    let rig = Rig::boot("")?;
    for number in 0..200 {
        node::tcp_echo(rig.node.tcp(7)?).with_context(|| format!("connection {number}"))?;
    }
    Ok(())
}

#[test]
fn udp_echo_returns_datagrams_of_every_size() -> Result<()> {
    let rig = Rig::boot("")?;
    let mut random = Random::new(7);
    for len in [0, 1, 2, 3, 10, 100, 511, 512, 513, 1000, 1471, 1472] {
        node::udp_echo(rig.node.udp(7)?, &random.bytes(len)).with_context(|| format!("{len} bytes"))?;
    }
    Ok(())
}

#[test]
fn discard_takes_everything_and_says_nothing() -> Result<()> {
    let rig = Rig::boot("")?;
    let mut stream = TcpStream::connect_timeout(&rig.node.tcp(9)?, PATIENCE)?;
    stream.set_write_timeout(Some(TRANSFER))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&vec![0x77; 2 * MEBIBYTE]).context("sending")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("waiting for the end")?;
    ensure!(answer.is_empty(), "{} bytes came back", answer.len());
    // The end above arrived behind all data that was sent: the node had received it. Its counters agree.
    rig.node.wait_for_metric("two mebibytes counted", PATIENCE, |metrics| {
        let received = metrics.sum("node_network_receive_bytes_total", &[]);
        Ok((received > 2.0 * MEBIBYTE as f64).then_some(received))
    })?;
    Ok(())
}

#[test]
fn chargen_sends_the_rotating_pattern_of_rfc_864() -> Result<()> {
    let rig = Rig::boot("")?;
    let mut stream = TcpStream::connect_timeout(&rig.node.tcp(19)?, PATIENCE)?;
    stream.set_read_timeout(Some(TRANSFER))?;
    let mut text = vec![0; MEBIBYTE];
    stream.read_exact(&mut text).context("receiving")?;
    // Lines of 72 printable characters, each starting one character further in the 95 of ASCII.
    for (number, line) in text.chunks_exact(74).enumerate() {
        for (column, byte) in line[..72].iter().enumerate() {
            let expected = b' ' + ((number + column) % 95) as u8;
            ensure!(*byte == expected, "line {number}, column {column}: {byte:#x}, not {expected:#x}");
        }
        ensure!(line[72..] == *b"\r\n", "line {number} ends with {:?}", &line[72..]);
    }
    Ok(())
}

#[test]
fn udp_chargen_answers_each_datagram_with_some_characters() -> Result<()> {
    let rig = Rig::boot("")?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(rig.node.udp(19)?)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut buffer = [0; 2000];
    let len = tests::wait::until("an answer", PATIENCE, || {
        socket.send(b"?")?;
        Ok(socket.recv(&mut buffer).ok())
    })?;
    // RFC 864: between 0 and 512 characters.
    ensure!(len <= 512, "{len} characters");
    ensure!(buffer[..len].iter().all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n')), "not printable");
    Ok(())
}
