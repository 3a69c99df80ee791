//! The server: one test after the other, and a word for whoever comes in between.
//!
//! Some seats listen all the time, each with a socket of its own. What becomes of a connection depends on what goes on when it
//! comes: it is the next test's, a stream of the test, or one too many.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;
use core::convert::Infallible;

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{Read as _, Write as _};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sockets::{SocketError, TcpSocket, UdpSocket};

use crate::Context;
use crate::iperf3::all::{Part, all};
use crate::iperf3::control::{Control, STEP_TIMEOUT, in_time};
use crate::iperf3::results::{Counts, Results};
use crate::iperf3::run::Run;
use crate::iperf3::tcp::{self, Stream};
use crate::iperf3::udp::{self, Flow};
use crate::iperf3::{COOKIE_LEN, Error, STREAMS_MAX, Settings, figure, number, state};
use crate::seat::{End, Seat, Seats, Wait};

/// One for the test, one for the test before, which says good-bye, and two for clients who are to come back later.
const SEATS: usize = 4;
/// A test in which nothing moves for so long is over, as with iperf3 (esnet/iperf, iperf_api.h, `DEFAULT_NO_MSG_RCVD_TIMEOUT`).
const IDLE_MAX: Duration = Duration::from_secs(120);
/// A test that is to take a certain time is over so much later, whatever its client says.
const OVERTIME: Duration = Duration::from_secs(30);
/// How often to look whether something is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// How often to look whether a test is.
const LOOK_LONG: Duration = Duration::from_secs(1);

/// What connections that come now are for.
#[derive(Clone, Copy)]
enum Phase {
    /// The next test.
    Free,
    /// Nothing: a test is under way.
    Busy,
    /// Streams of the test, if they know its cookie.
    Streams([u8; COOKIE_LEN]),
    /// The next test, in a moment: the one before is over but for its client's last word.
    Ending,
}

struct Server<'a> {
    context: Context<'a>,
    seats: Seats,
    port: u16,
    phase: Mutex<CriticalSectionRawMutex, Cell<Phase>>,
    /// Streams that have come, and when.
    streams: Channel<CriticalSectionRawMutex, (Instant, TcpSocket), STREAMS_MAX>,
}

/// Serves on `port` for ever.
///
/// # Errors
///
/// When there are no sockets, or the port is taken.
pub(crate) async fn serve(context: Context<'_>, port: u16) -> Result<(), Error> {
    let phase = Mutex::new(Cell::new(Phase::Free));
    let server = Server { context, seats: Seats::new(SEATS), port, phase, streams: Channel::new() };
    let mut seats = FuturesUnordered::new();
    for seat in server.seats.iter() {
        let socket = server.open().await?;
        seats.push(Box::pin(server.attend(seat, socket)));
    }
    match select(seats.next(), server.seats.watch()).await {
        Either::First(Some(Err(error))) => Err(error),
        Either::First(Some(Ok(never))) | Either::Second(never) => match never {},
        Either::First(None) => Ok(()),
    }
}

impl Server<'_> {
    /// Any connection may turn out to be a stream, so all sockets have room for one.
    async fn open(&self) -> Result<TcpSocket, Error> {
        Ok(TcpSocket::open(self.context.env().network(), tcp::BUFFER_LEN, tcp::BUFFER_LEN).await?)
    }

    fn phase(&self) -> Phase {
        self.phase.lock(Cell::get)
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.lock(|cell| cell.set(phase));
    }

    /// Takes one connection after the other.
    async fn attend(&self, seat: &Seat, mut socket: TcpSocket) -> Result<Infallible, Error> {
        loop {
            match self.seats.offer(socket.accept(self.port)).await {
                Ok(()) => {}
                Err(error @ (SocketError::PortInUse | SocketError::NoRoute)) => return Err(error.into()),
                // It was gone before we saw it.
                Err(_) => continue,
            }
            let patience = Instant::now() + STEP_TIMEOUT;
            while matches!(self.phase(), Phase::Ending) && Instant::now() < patience {
                Timer::after(LOOK_INTERVAL).await;
            }
            if matches!(self.phase(), Phase::Busy | Phase::Ending) {
                seat.leave(self.deny(&mut socket)).await;
                continue;
            }
            // Who says nothing keeps nobody from testing, and has its seat as long as nobody else wants it.
            let now = Instant::now();
            let mut cookie = [0; COOKIE_LEN];
            match seat.wait(now + STEP_TIMEOUT, Wait::Slow(now), socket.read_exact(&mut cookie)).await {
                Ok(()) => {}
                Err(end) => {
                    self.context.add_errors(1);
                    match end {
                        End::Unseated => socket.abort(),
                        End::Lost | End::Late => seat.leave(socket.close()).await,
                    }
                    continue;
                }
            }
            match self.phase() {
                Phase::Free => self.do_test(&mut socket, cookie).await,
                Phase::Streams(wanted) if wanted == cookie => self.take_stream(&mut socket).await,
                Phase::Streams(_) | Phase::Busy | Phase::Ending => seat.leave(self.deny(&mut socket)).await,
            }
        }
    }

    /// Tells a client that the server is busy.
    async fn deny(&self, socket: &mut TcpSocket) {
        self.context.count(figure::DENIED, 1);
        // A client that does not take it is told by the end of the connection.
        let _ = with_timeout(STEP_TIMEOUT, socket.write_all(&[state::ACCESS_DENIED])).await;
        socket.close().await;
    }

    /// Hands a connection over to the test.
    async fn take_stream(&self, socket: &mut TcpSocket) {
        let at = socket.connected_at();
        let Ok(next) = self.open().await else { return self.deny(socket).await };
        let stream = core::mem::replace(socket, next);
        // There is room for all that the test may want. One too many is dropped, which ends it.
        let _ = self.streams.try_send((at, stream));
    }

    async fn do_test(&self, client: &mut TcpSocket, cookie: [u8; COOKIE_LEN]) {
        self.set_phase(Phase::Busy);
        let start = self.context.now();
        match self.test(client, cookie).await {
            Ok(()) => {
                self.context.count(figure::TESTS, 1);
                self.context.add_operation(start.elapsed());
            }
            Err(_) => self.context.add_errors(1),
        }
        while self.streams.try_receive().is_ok() {}
        self.set_phase(Phase::Free);
        // In good order even after an error: a client that is reset can't say what it was told.
        client.close().await;
    }

    async fn test(&self, client: &mut TcpSocket, cookie: [u8; COOKIE_LEN]) -> Result<(), Error> {
        let Some(peer) = client.peer() else { return Err(Error::Terminated) };
        let mut control = Control(client);
        control.send_state(state::PARAM_EXCHANGE).await?;
        let parameters = control.read_json().await?;
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
            self.test_udp(control, settings).await
        } else {
            self.test_tcp(control, settings, cookie).await
        }
    }

    async fn test_tcp(
        &self,
        mut control: Control<'_>,
        settings: Settings,
        cookie: [u8; COOKIE_LEN],
    ) -> Result<(), Error> {
        // Before the client is told to make them.
        self.set_phase(Phase::Streams(cookie));
        control.send_state(state::CREATE_STREAMS).await?;
        let mut accepted = Vec::new();
        in_time(async {
            for _ in 0..settings.streams() {
                accepted.push(self.streams.receive().await);
            }
            Ok(())
        })
        .await?;
        self.set_phase(Phase::Busy);
        // The client's first ones are those in which it sends.
        accepted.sort_by_key(|(at, _)| *at);
        let streams = accepted.into_iter().zip(settings.directions(false));
        let mut streams: Vec<_> = streams.map(|((_, socket), is_sender)| Stream::new(socket, is_sender)).collect();
        begin(&mut control).await?;
        let run = Run::new(self.context, settings);
        let parts =
            streams.iter_mut().map(|stream| -> Part<'_, _> { Box::pin(async { stream.run(&run, false).await }) });
        wait_end(&mut control, &run, all(parts, &run.busy_us)).await?;
        // A client reads up to the end of the streams before it goes on; a reset would be an error to it.
        streams.iter_mut().filter(|stream| stream.is_sender).for_each(|stream| stream.socket.shutdown());
        let counts: Vec<_> = streams.iter().map(|stream| (stream.is_sender, stream.counts)).collect();
        self.finish(&mut control, &run, &counts).await
    }

    async fn test_udp(&self, mut control: Control<'_>, settings: Settings) -> Result<(), Error> {
        let mut socket = self.bind().await?;
        control.send_state(state::CREATE_STREAMS).await?;
        let mut flows: Vec<Flow> = Vec::new();
        let mut directions = settings.directions(false);
        let mut next = directions.next();
        // For all of them together: who greets again and again does not keep the server.
        in_time(async {
            while let Some(is_sender) = next {
                let (peer, reply) = udp::greeted(&mut socket).await;
                // The answer to one that has greeted before was lost.
                if !flows.iter().any(|flow| flow.peer == peer) {
                    flows.push(Flow::new(peer, is_sender));
                    next = directions.next();
                }
                socket.send_to(&reply, peer).await?;
            }
            Ok(())
        })
        .await?;
        begin(&mut control).await?;
        let run = Run::new(self.context, settings);
        let part: Part<'_, _> = Box::pin(async { udp::run(&run, &mut socket, &mut flows, false).await });
        wait_end(&mut control, &run, all(core::iter::once(part), &run.busy_us)).await?;
        let counts: Vec<_> = flows.iter().map(|flow| (flow.is_sender, flow.counts)).collect();
        self.finish(&mut control, &run, &counts).await
    }

    /// Takes the port, which the test before may have for as long as its last datagrams need to leave.
    async fn bind(&self) -> Result<UdpSocket, Error> {
        in_time(async {
            loop {
                let network = self.context.env().network();
                match UdpSocket::bind(network, self.port, udp::RX_DATAGRAMS, udp::TX_DATAGRAMS).await {
                    Err(SocketError::PortInUse) => Timer::after(LOOK_INTERVAL).await,
                    result => return Ok(result?),
                }
            }
        })
        .await
    }

    /// Exchanges results.
    async fn finish(&self, control: &mut Control<'_>, run: &Run<'_>, counts: &[(bool, Counts)]) -> Result<(), Error> {
        let results = report(run, counts);
        control.send_state(state::EXCHANGE_RESULTS).await?;
        control.read_json().await?;
        control.send_json(&results.to_json()).await?;
        self.set_phase(Phase::Ending);
        control.send_state(state::DISPLAY_RESULTS).await?;
        control.expect(state::IPERF_DONE).await
    }
}

async fn begin(control: &mut Control<'_>) -> Result<(), Error> {
    control.send_state(state::TEST_START).await?;
    control.send_state(state::TEST_RUNNING).await
}

/// Runs the streams until the client says that the test is over. One that does not say it keeps others out no longer than it must.
async fn wait_end(control: &mut Control<'_>, run: &Run<'_>, streams: impl Future) -> Result<(), Error> {
    let streams = async {
        streams.await;
        // All connections are closed, and the client has yet to say why.
        core::future::pending::<Infallible>().await
    };
    match select3(control.read_state(), streams, outlast(run)).await {
        Either3::First(found) => match found? {
            state::TEST_END => Ok(()),
            state::CLIENT_TERMINATE => Err(Error::Terminated),
            found => Err(Error::State(found)),
        },
        Either3::Second(never) => match never {},
        Either3::Third(()) => Err(Error::Timeout),
    }
}

/// Returns when a test has taken too long, or nothing has moved for too long.
async fn outlast(run: &Run<'_>) {
    let (mut moved, mut since) = (0, run.begin);
    while run.limit().is_none_or(|end| Instant::now() < end + OVERTIME) && Instant::now() < since + IDLE_MAX {
        Timer::after(LOOK_LONG).await;
        let now_moved = run.moved();
        if core::mem::replace(&mut moved, now_moved) != now_moved {
            since = Instant::now();
        }
    }
}

/// Shows what was moved, as both sides have it for themselves, and returns it.
pub(super) fn report(run: &Run<'_>, counts: &[(bool, Counts)]) -> Results {
    let context = run.context;
    let elapsed_us = run.elapsed_us();
    let rate = |of_sender: bool| {
        let bytes: u64 = counts.iter().filter(|(is_sender, _)| *is_sender == of_sender).map(|(_, c)| c.bytes).sum();
        u64::try_from(u128::from(bytes) * 1_000_000 / u128::from(elapsed_us.max(1))).unwrap_or(u64::MAX)
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
    context.add_busy(Duration::from_micros(run.busy_us()));
    Results { streams: counts.iter().map(|(_, counts)| *counts).collect(), elapsed_us, busy_us: run.busy_us() }
}
