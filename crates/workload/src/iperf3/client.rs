//! The client: one test with a server.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use embassy_futures::select::{Either3, select3};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::Write;
use sockets::{TcpSocket, UdpSocket};

use crate::iperf3::all::{Part, all};
use crate::iperf3::control::{self, Control, in_time};
use crate::iperf3::results::{Counts, Results};
use crate::iperf3::run::Run;
use crate::iperf3::tcp::{self, Stream};
use crate::iperf3::udp::{self, Flow};
use crate::iperf3::{COOKIE_LEN, Error, Settings, figure, server, state};
use crate::{Context, Random};

/// How long to wait for the server's acknowledgement of what was sent last.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// The letters that real cookies are made of.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Does the test with the server at `peer`.
pub(crate) async fn run(context: Context<'_>, peer: SocketAddr, settings: Settings) -> Result<(), Error> {
    if settings.is_udp {
        udp::check(settings, peer)?;
    }
    let start = context.now();
    let network = context.env().network();
    let mut socket = TcpSocket::open(network, control::BUFFER_LEN, control::BUFFER_LEN).await?;
    socket.connect(peer).await?;
    let cookie = cookie(context);
    let mut control = Control(&mut socket);
    control.send(&cookie).await?;
    control.expect(state::PARAM_EXCHANGE).await?;
    control.send_json(&settings.to_json()).await?;
    control.expect(state::CREATE_STREAMS).await?;
    if settings.is_udp {
        test_udp(context, &mut control, settings, peer).await?;
    } else {
        test_tcp(context, &mut control, settings, peer, &cookie).await?;
    }
    socket.close().await;
    context.count(figure::TESTS, 1);
    context.add_operation(context.now() - start);
    Ok(())
}

async fn test_tcp(
    context: Context<'_>,
    control: &mut Control<'_>,
    settings: Settings,
    peer: SocketAddr,
    cookie: &[u8; COOKIE_LEN],
) -> Result<(), Error> {
    let network = context.env().network();
    let mut streams = Vec::new();
    for is_sender in settings.directions(true) {
        let mut socket = TcpSocket::open(network, tcp::BUFFER_LEN, tcp::BUFFER_LEN).await?;
        socket.connect(peer).await?;
        in_time(async { Ok(socket.write_all(cookie).await?) }).await?;
        streams.push(Stream::new(socket, is_sender));
    }
    begin(control).await?;
    let run = Run::new(context, settings);
    let parts = streams.iter_mut().map(|stream| -> Part<'_, _> { Box::pin(async { stream.run(&run, true).await }) });
    wait_end(control, &run, all(parts, &run.busy_us)).await?;
    let counts: Vec<_> = streams.iter().map(|stream| (stream.is_sender, stream.counts)).collect();
    let results = server::report(&run, &counts);
    // The server closes its connections as soon as it is told of the end.
    for stream in streams.iter_mut().filter(|stream| stream.is_sender) {
        let _ = with_timeout(FLUSH_TIMEOUT, stream.socket.flush()).await;
    }
    finish(control, &run, &results, &counts).await
}

async fn test_udp(
    context: Context<'_>,
    control: &mut Control<'_>,
    settings: Settings,
    peer: SocketAddr,
) -> Result<(), Error> {
    let network = context.env().network();
    let mut flows = Vec::new();
    for is_sender in settings.directions(true) {
        let (rx, tx) = if is_sender { (2, udp::TX_DATAGRAMS) } else { (udp::RX_DATAGRAMS, 2) };
        let mut socket = UdpSocket::bind(network, 0, rx, tx).await?;
        udp::greet(&mut socket, peer).await?;
        flows.push((socket, [Flow::new(peer, is_sender)]));
    }
    begin(control).await?;
    let run = Run::new(context, settings);
    let parts = flows
        .iter_mut()
        .map(|(socket, flow)| -> Part<'_, _> { Box::pin(async { udp::run(&run, socket, flow, true).await }) });
    wait_end(control, &run, all(parts, &run.busy_us)).await?;
    let counts: Vec<_> = flows.iter().flat_map(|(_, [flow])| [(flow.is_sender, flow.counts)]).collect();
    let results = server::report(&run, &counts);
    finish(control, &run, &results, &counts).await
}

async fn begin(control: &mut Control<'_>) -> Result<(), Error> {
    control.expect(state::TEST_START).await?;
    control.expect(state::TEST_RUNNING).await
}

/// Runs the streams until the test is over.
async fn wait_end(control: &mut Control<'_>, run: &Run<'_>, streams: impl Future) -> Result<(), Error> {
    let streams = async {
        streams.await;
        // Enough is sent, or the server has closed all connections and will say why.
        core::future::pending::<()>().await;
    };
    match select3(control.read_state(), run.wait_end(), streams).await {
        Either3::First(found) => match found? {
            state::SERVER_TERMINATE => Err(Error::Terminated),
            found => Err(Error::State(found)),
        },
        Either3::Second(()) | Either3::Third(()) => Ok(()),
    }
}

/// Ends the test and exchanges results.
async fn finish(
    control: &mut Control<'_>,
    run: &Run<'_>,
    results: &Results,
    counts: &[(bool, Counts)],
) -> Result<(), Error> {
    control.send_state(state::TEST_END).await?;
    control.expect(state::EXCHANGE_RESULTS).await?;
    control.send_json(&results.to_json()).await?;
    let theirs = Results::parse(&control.read_json().await?).ok_or(Error::Unreadable)?;
    control.expect(state::DISPLAY_RESULTS).await?;
    control.send_state(state::IPERF_DONE).await?;
    // What became of our datagrams only the server knows.
    if run.settings.is_udp {
        let sent = theirs.streams.iter().zip(counts).filter(|(_, (is_sender, _))| *is_sender);
        for (stream, _) in sent {
            run.context.count(figure::DATAGRAMS, stream.packets.saturating_sub(stream.lost));
            run.context.count(figure::LOST, stream.lost);
        }
    }
    Ok(())
}

fn cookie(context: Context<'_>) -> [u8; COOKIE_LEN] {
    let mut random = Random::new(context.now().as_ticks() ^ u64::from(context.core) << 56);
    let mut cookie = [0; COOKIE_LEN];
    if let Some((_, letters)) = cookie.split_last_mut() {
        for letter in letters {
            *letter = LETTERS.get(random.below(LETTERS.len() as u64) as usize).copied().unwrap_or(b'a');
        }
    }
    cookie
}
