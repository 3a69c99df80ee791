//! The server: one test after the other, and a word for whoever comes in between.

use alloc::boxed::Box;
use alloc::vec::Vec;

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_time::{Instant, with_timeout};
use embedded_io_async::Write;
use sockets::{TcpSocket, UdpSocket};

use crate::Context;
use crate::iperf3::all::{Part, all};
use crate::iperf3::control::{self, Control, STEP_TIMEOUT, in_time, read_cookie};
use crate::iperf3::results::{Counts, Results};
use crate::iperf3::run::Run;
use crate::iperf3::tcp::{self, Stream};
use crate::iperf3::udp::{self, Flow};
use crate::iperf3::{COOKIE_LEN, Error, STREAMS_MAX, Settings, figure, number, state};

/// Serves on `port` for ever.
///
/// # Errors
///
/// When there are no sockets, or the port is taken.
pub(crate) async fn serve(context: Context<'_>, port: u16) -> Result<(), Error> {
    let network = context.env().network();
    let open = || TcpSocket::open(network, control::BUFFER_LEN, control::BUFFER_LEN);
    let (mut first, mut second) = (open().await?, open().await?);
    loop {
        // Whichever is free listens; the other tells clients that come during a test to try again later.
        let (client, guard) = match select(first.accept(port), second.accept(port)).await {
            Either::First(result) => result.map(|()| (&mut first, &mut second))?,
            Either::Second(result) => result.map(|()| (&mut second, &mut first))?,
        };
        let start = context.now();
        let mut guard = Guard { context, socket: guard, port };
        match test(client, &mut guard).await {
            Ok(()) => {
                context.count(figure::TESTS, 1);
                context.add_operation(context.now() - start);
            }
            Err(_) => context.add_errors(1),
        }
        // In good order even after an error: a client that is reset can't say what it was told.
        let close = async {
            client.close().await;
            Ok(())
        };
        guard.during(close).await?;
    }
}

/// The socket that refuses clients during a test.
struct Guard<'a> {
    context: Context<'a>,
    socket: &'a mut TcpSocket,
    port: u16,
}

impl Guard<'_> {
    /// Refuses all clients while `step` is done. Not while streams are awaited: it would take them for clients.
    async fn during<T>(&mut self, step: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let deny_all = async {
            loop {
                self.socket.accept(self.port).await?;
                deny(self.context, self.socket).await;
            }
        };
        match select(deny_all, step).await {
            Either::First(result) | Either::Second(result) => result,
        }
    }
}

/// Tells a client that the server is busy.
async fn deny(context: Context<'_>, socket: &mut TcpSocket) {
    context.count(figure::DENIED, 1);
    // A client that does not take it is told by the end of the connection.
    let _ = with_timeout(STEP_TIMEOUT, socket.write_all(&[state::ACCESS_DENIED])).await;
    socket.close().await;
}

/// Does a test with a client.
async fn test(client: &mut TcpSocket, guard: &mut Guard<'_>) -> Result<(), Error> {
    let Some(peer) = client.peer() else { return Err(Error::Terminated) };
    let mut control = Control(client);
    let parameters = async {
        let cookie = read_cookie(control.0).await?;
        control.send_state(state::PARAM_EXCHANGE).await?;
        Ok((cookie, control.read_json().await?))
    };
    let (cookie, parameters) = guard.during(parameters).await?;
    let Some(settings) = Settings::parse(&parameters) else {
        control.send_error(number::PARAMETERS).await?;
        return Err(Error::Unreadable);
    };
    if settings.streams() > STREAMS_MAX as u64 {
        control.send_error(number::STREAMS).await?;
        return Err(Error::Streams(settings.streams()));
    }
    if settings.is_udp {
        if let Err(error) = udp::check(settings, peer) {
            control.send_error(number::UDP_LENGTH).await?;
            return Err(error);
        }
        test_udp(control, settings, guard).await
    } else {
        test_tcp(control, settings, guard, &cookie).await
    }
}

async fn test_tcp(
    mut control: Control<'_>,
    settings: Settings,
    guard: &mut Guard<'_>,
    cookie: &[u8; COOKIE_LEN],
) -> Result<(), Error> {
    let (context, port) = (guard.context, guard.port);
    let network = context.env().network();
    let mut sockets = Vec::new();
    for _ in 0..settings.streams() {
        sockets.push(TcpSocket::open(network, tcp::BUFFER_LEN, tcp::BUFFER_LEN).await?);
    }
    let busy = Default::default();
    let parts = sockets.into_iter().map(|mut socket| -> Part<'_, _> {
        Box::pin(async move {
            let at = accept_stream(context, &mut socket, port, cookie).await?;
            Ok::<_, Error>((at, socket))
        })
    });
    let accept = all(parts, &busy);
    // All listen before the client is told that they do.
    let (accepted, sent) = join(in_time(async { Ok(accept.await) }), control.send_state(state::CREATE_STREAMS)).await;
    sent?;
    let mut accepted = accepted?.into_iter().collect::<Result<Vec<_>, _>>()?;
    // The client's first ones are those in which it sends.
    accepted.sort_by_key(|(at, _)| *at);
    let streams = accepted.into_iter().zip(settings.directions(false));
    let mut streams: Vec<_> = streams.map(|((_, socket), is_sender)| Stream::new(socket, is_sender)).collect();
    begin(&mut control).await?;
    let run = Run::new(context, settings);
    let parts = streams.iter_mut().map(|stream| -> Part<'_, _> { Box::pin(async { stream.run(&run, false).await }) });
    guard.during(wait_end(&mut control, all(parts, &run.busy_us))).await?;
    // A client reads up to the end of the streams before it goes on; a reset would be an error to it.
    streams.iter_mut().filter(|stream| stream.is_sender).for_each(|stream| stream.socket.shutdown());
    let counts: Vec<_> = streams.iter().map(|stream| (stream.is_sender, stream.counts)).collect();
    guard.during(finish(&mut control, &run, &counts)).await
}

/// Waits for the next connection that belongs to the test.
async fn accept_stream(
    context: Context<'_>,
    socket: &mut TcpSocket,
    port: u16,
    cookie: &[u8; COOKIE_LEN],
) -> Result<Instant, Error> {
    loop {
        socket.accept(port).await?;
        let at = socket.connected_at();
        match read_cookie(socket).await {
            Ok(found) if found == *cookie => return Ok(at),
            _ => deny(context, socket).await,
        }
    }
}

async fn test_udp(mut control: Control<'_>, settings: Settings, guard: &mut Guard<'_>) -> Result<(), Error> {
    let (context, port) = (guard.context, guard.port);
    let network = context.env().network();
    let mut socket = UdpSocket::bind(network, port, udp::RX_DATAGRAMS, udp::TX_DATAGRAMS).await?;
    control.send_state(state::CREATE_STREAMS).await?;
    let mut flows: Vec<Flow> = Vec::new();
    let mut directions = settings.directions(false);
    let mut next = directions.next();
    while let Some(is_sender) = next {
        let (peer, reply) = in_time(async { Ok(udp::greeted(&mut socket).await) }).await?;
        // The answer to one that has greeted before was lost.
        if !flows.iter().any(|flow| flow.peer == peer) {
            flows.push(Flow::new(peer, is_sender));
            next = directions.next();
        }
        socket.send_to(&reply, peer).await?;
    }
    begin(&mut control).await?;
    let run = Run::new(context, settings);
    let part: Part<'_, _> = Box::pin(async { udp::run(&run, &mut socket, &mut flows, false).await });
    guard.during(wait_end(&mut control, all(core::iter::once(part), &run.busy_us))).await?;
    let counts: Vec<_> = flows.iter().map(|flow| (flow.is_sender, flow.counts)).collect();
    guard.during(finish(&mut control, &run, &counts)).await
}

async fn begin(control: &mut Control<'_>) -> Result<(), Error> {
    control.send_state(state::TEST_START).await?;
    control.send_state(state::TEST_RUNNING).await
}

/// Runs the streams until the client says that the test is over.
async fn wait_end(control: &mut Control<'_>, streams: impl Future) -> Result<(), Error> {
    let streams = async {
        streams.await;
        // All connections are closed, and the client has yet to say why.
        core::future::pending::<core::convert::Infallible>().await
    };
    match select(control.read_state(), streams).await {
        Either::First(found) => match found? {
            state::TEST_END => Ok(()),
            state::CLIENT_TERMINATE => Err(Error::Terminated),
            found => Err(Error::State(found)),
        },
        Either::Second(never) => match never {},
    }
}

/// Exchanges results.
async fn finish(control: &mut Control<'_>, run: &Run<'_>, counts: &[(bool, Counts)]) -> Result<(), Error> {
    let results = report(run, counts);
    control.send_state(state::EXCHANGE_RESULTS).await?;
    control.read_json().await?;
    control.send_json(&results.to_json()).await?;
    control.send_state(state::DISPLAY_RESULTS).await?;
    control.expect(state::IPERF_DONE).await
}

/// Shows what was moved, as both sides have it for themselves, and returns it.
pub(super) fn report(run: &Run<'_>, counts: &[(bool, Counts)]) -> Results {
    let context = run.context;
    let elapsed_us = run.elapsed_us();
    let rate = |of_sender: bool| {
        let bytes: u64 = counts.iter().filter(|(is_sender, _)| *is_sender == of_sender).map(|(_, c)| c.bytes).sum();
        u64::try_from(u128::from(bytes) * 8_000_000 / u128::from(elapsed_us.max(1))).unwrap_or(u64::MAX)
    };
    context.set(figure::SENT_RATE, rate(true));
    context.set(figure::RECEIVED_RATE, rate(false));
    if run.settings.is_udp {
        let mut jitter_us = 0;
        for (_, counts) in counts.iter().filter(|(is_sender, _)| !is_sender) {
            context.count(figure::DATAGRAMS, counts.packets.saturating_sub(counts.lost));
            context.count(figure::LOST, counts.lost);
            context.count(figure::OUT_OF_ORDER, counts.out_of_order);
            jitter_us = jitter_us.max(counts.jitter_us);
        }
        context.set(figure::JITTER, jitter_us);
    }
    context.add_busy(embassy_time::Duration::from_micros(run.busy_us()));
    Results { streams: counts.iter().map(|(_, counts)| *counts).collect(), elapsed_us, busy_us: run.busy_us() }
}
