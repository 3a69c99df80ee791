//! Channels that do not halt when they are told to, and channels that do but don't tell: no interrupt, nothing in HCINT.
//!
//! The model panics when a channel is enabled that still runs, or told to halt that does not.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use crate::fixture::{Setup, on_bus, pattern, pipes, plug};
use embassy_futures::join::join;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use testkit::usb::ecm::Ecm;
use testkit::usb::{Fault, Kind, Model};
use usb::device::Pipe;
use usb::host::{
    Direction, Endpoint, HostController, Kind as EndpointKind, Pid, Rejected, Request, Speed, TransferError,
};
use usb::setup::Setup as ControlRequest;

/// Channels of the model.
const CHANNELS: u64 = 8;
/// How long after its deadline a transfer may end: the driver's wait for a halt, and a microframe of the model's.
const HALT_TIME: Duration = Duration::from_micros(10_125);

/// Frames in both directions, more than once around the channels.
async fn assert_traffic(model: &Model, [receive, send]: [&Pipe<'_>; 2], pool: &mut hal::dma::DmaPool) {
    let (mut to, mut from) = (pool.take(64), pool.take(512));
    let sent = model.with(&[], |ecm: &mut Ecm| ecm.from_node.len());
    for round in 0..20 {
        let done = send.start(to.take().unwrap(), 60, None).await;
        assert_eq!(done.result, Ok(60), "round {round}");
        to = done.buffer;
        model.with(&[], |ecm: &mut Ecm| ecm.to_node.push_back(pattern(100 + round)));
        let done = receive.start(from.take().unwrap(), 512, Some(Instant::now() + Duration::from_secs(1))).await;
        assert_eq!(done.result, Ok(100 + round));
        let buffer = done.buffer.unwrap();
        assert_eq!(buffer.bytes()[..100 + round], pattern(100 + round));
        from = Some(buffer);
    }
    assert_eq!(model.with(&[], |ecm: &mut Ecm| ecm.from_node.len()), sent + 20);
}

/// A receive that hangs; its deadline is in 10 ms.
async fn hang(model: &Model, address: u8, receive: &Pipe<'_>, pool: &mut hal::dma::DmaPool) {
    model.fail(address, 0x82, &[Fault::Hang]);
    let deadline = Instant::now() + Duration::from_millis(10);
    let done = receive.start(pool.take(512).unwrap(), 512, Some(deadline)).await;
    assert_eq!((done.result, done.buffer.is_none()), (Err(TransferError::Timeout), true));
    assert!(Instant::now() <= deadline + HALT_TIME, "{} late", Instant::now() - deadline);
}

#[test]
fn a_channel_that_halts_without_telling_when_told_to_is_found_out_and_used_again() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, controller, mut pool }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        let mut buffer = pool.take(512);
        let before = controller.counters();
        // Each channel in turn, and more than once.
        for _ in 0..20 {
            model.fail(device.address(), 0x82, &[Fault::SilentStop]);
            let deadline = Instant::now() + Duration::from_millis(20);
            let done = receive.start(buffer.take().unwrap(), 512, Some(deadline)).await;
            assert_eq!(done.result, Err(TransferError::Timeout));
            assert!(Instant::now() <= deadline + HALT_TIME, "{} late", Instant::now() - deadline);
            // The channel has halted, so that the buffer is nobody else's.
            buffer = Some(done.buffer.unwrap());
            assert_eq!(model.enabled_channels(), 0);
        }
        let counters = controller.counters();
        assert_eq!((counters.failed - before.failed, counters.stuck_channels), (20, 0));
        assert_traffic(model, [&receive, &send], &mut pool).await;
    });
}

#[test]
fn a_channel_that_never_halts_is_counted_and_left_alone() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, controller, mut pool }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        let before = controller.counters();
        for stuck in 1..CHANNELS {
            hang(model, device.address(), &receive, &mut pool).await;
            let counters = controller.counters();
            assert_eq!((counters.failed - before.failed, counters.stuck_channels), (stuck, stuck));
            assert_traffic(model, [&receive, &send], &mut pool).await;
            assert_eq!(model.enabled_channels() as u64, stuck);
        }
    });
}

#[test]
fn what_halts_without_telling_after_it_was_given_up_is_found_when_it_is_needed() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, controller, mut pool }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        for round in 1..=3 {
            for _ in 0..CHANNELS {
                model.fail(device.address(), 0x82, &[Fault::Hang]);
                let deadline = Some(Instant::now() + Duration::from_millis(10));
                let buffer = bus.take_returned(512).or_else(|| pool.take(512)).unwrap();
                assert!(receive.start(buffer, 512, deadline).await.buffer.is_none());
            }
            assert!(bus.take_returned(512).is_none(), "the controller may still write to it");
            model.release_hung_silently();
            Timer::after_millis(1).await;
            assert_traffic(model, [&receive, &send], &mut pool).await;
            assert_eq!(controller.counters().stuck_channels, round * CHANNELS);
            // Nothing was lost: the buffers come back, too.
            assert!(bus.take_returned(512).is_some());
        }
    });
}

#[test]
fn transfers_end_in_time_when_every_channel_is_stuck_and_go_on_when_one_is_not() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, controller, mut pool }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        for _ in 0..CHANNELS {
            hang(model, device.address(), &receive, &mut pool).await;
        }
        let failed = controller.counters().failed;
        let deadline = Instant::now() + Duration::from_millis(50);
        let done = send.start(pool.take(64).unwrap(), 60, Some(deadline)).await;
        assert_eq!((done.result, done.buffer.is_some()), (Err(TransferError::Timeout), true));
        assert!(Instant::now() <= deadline + HALT_TIME);
        let start = Instant::now();
        let mut bytes = [0; 18];
        let request = device.control_in(ControlRequest::get_descriptor(1, 0, 0), &mut bytes);
        assert_eq!(with_timeout(Duration::from_secs(2), request).await, Ok(Err(TransferError::Timeout)));
        assert!(start.elapsed() <= Duration::from_millis(500) + HALT_TIME, "{}", start.elapsed());
        assert_eq!(controller.counters().failed - failed, 2);
        // One without a deadline gets its turn, whenever that is.
        let release = async {
            Timer::after_secs(3).await;
            model.release_hung();
        };
        let (done, ()) = join(send.start(done.buffer.unwrap(), 60, None), release).await;
        assert_eq!(done.result, Ok(60));
        assert_traffic(model, [&receive, &send], &mut pool).await;
        assert_eq!(device.control_in(ControlRequest::get_descriptor(1, 0, 0), &mut bytes).await, Ok(18));
    });
}

/// Counts how often it is woken: a task beside all others, which in the tests are one.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_transfer_that_waits_for_a_channel_is_woken_when_its_time_or_its_device_is_up() {
    on_bus(Kind::Silicon, plug, async |Setup { model, bus, controller, mut pool }| {
        let device = bus.next_device().await;
        let (receive, send) = pipes(&device);
        for _ in 0..CHANNELS {
            hang(model, device.address(), &receive, &mut pool).await;
        }
        for is_unplugged in [false, true] {
            let wakes = Arc::new(Wakes::default());
            let waker = Waker::from(wakes.clone());
            let mut cx = Context::from_waker(&waker);
            let deadline = (!is_unplugged).then(|| Instant::now() + Duration::from_millis(30));
            let mut waiting = pin!(send.start(pool.take(64).unwrap(), 60, deadline));
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
            Timer::after_millis(29).await;
            assert_eq!(wakes.0.load(Relaxed), 0);
            if is_unplugged {
                model.unplug();
            }
            Timer::after_millis(2).await;
            assert_ne!(wakes.0.load(Relaxed), 0);
            let Poll::Ready(done) = waiting.poll(&mut cx) else { panic!("it waits on") };
            let error = if is_unplugged { TransferError::Gone } else { TransferError::Timeout };
            assert_eq!((done.result, done.buffer.is_some()), (Err(error), true));
        }
        // The bus asks without a device, too, and need not wait either.
        let endpoint = Endpoint {
            address: 0,
            number: 0,
            direction: Direction::Out,
            kind: EndpointKind::Control,
            max_packet: 64,
            speed: Speed::High,
            translator: None,
        };
        let request = Request { endpoint, pid: Pid::Setup, buffer: pool.take(64).unwrap(), len: 8, deadline: None };
        let rejected = controller.start(request, &mut Context::from_waker(Waker::noop()));
        assert!(matches!(rejected, Err(Rejected::Over(done)) if done.result == Err(TransferError::Gone)));
    });
}
