//! A device in its driver's hands: control requests and pipes.

use core::cell::Cell;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use embassy_time::{Duration, Instant, Timer};
use hal::dma::DmaBuffer;

use crate::bus::{Bus, Place, SMALL_BUFFER_LEN};
use crate::descriptor::{Configuration, DeviceDescriptor, EndpointDescriptor, Interface};
use crate::dwc2::pace::next_poll;
use crate::host::{
    Completion, Direction, Endpoint, Kind, Pid, Rejected, Request, Speed, TransferError, TransferId, Translator,
};
use crate::setup::Setup;

/// Errors in a row after which an interrupt endpoint is given up: disturbances on the bus pass (Linux `hub_irq`).
const INTERRUPT_ERRORS_MAX: u32 = 10;

/// A configured device. Dropping it while the device is still plugged in has the device enumerated anew.
pub struct Device<'b> {
    pub(crate) bus: &'b Bus<'b>,
    pub(crate) place: Place,
    pub(crate) speed: Speed,
    pub(crate) translator: Option<Translator>,
    pub(crate) descriptor: DeviceDescriptor,
    pub(crate) configuration: Configuration,
}

impl<'b> Device<'b> {
    /// Returns the device descriptor.
    #[must_use]
    pub fn descriptor(&self) -> &DeviceDescriptor {
        &self.descriptor
    }

    /// Returns the configuration that was selected.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Returns the speed.
    #[must_use]
    pub fn speed(&self) -> Speed {
        self.speed
    }

    /// Returns the address on the bus.
    #[must_use]
    pub fn address(&self) -> u8 {
        self.place.address()
    }

    /// Makes a control request with data from the device. Returns how many bytes came.
    ///
    /// # Errors
    ///
    /// See [`TransferError`]; a request that the device does not know is a `Stall`.
    pub async fn control_in(&self, setup: Setup, data: &mut [u8]) -> Result<usize, TransferError> {
        self.alive()?;
        self.bus.control_in(&self.endpoint_0(), setup, data).await
    }

    /// Makes a control request with data, possibly none, to the device.
    ///
    /// # Errors
    ///
    /// See [`TransferError`]; a request that the device does not know is a `Stall`.
    pub async fn control_out(&self, setup: Setup, data: &[u8]) -> Result<(), TransferError> {
        self.alive()?;
        self.bus.control_out(&self.endpoint_0(), setup, data).await
    }

    /// Opens a pipe to an endpoint of the selected configuration.
    #[must_use]
    pub fn pipe(&self, endpoint: EndpointDescriptor) -> Pipe<'b> {
        Pipe {
            bus: self.bus,
            place: self.place,
            endpoint: Endpoint {
                address: self.place.address(),
                number: endpoint.number,
                direction: endpoint.direction,
                kind: endpoint.kind,
                max_packet: endpoint.max_packet,
                speed: self.speed,
                translator: self.translator,
            },
            descriptor: endpoint,
            next_pid: Cell::new(Pid::Data0),
            next_poll: Cell::new(Instant::MIN),
            errors: Cell::new(0),
        }
    }

    /// Opens a pipe to the interrupt endpoint of an interface, by which the device reports. `None` when there is none, or its
    /// packets do not fit the buffers that the bus lends; what they tell must then be asked for.
    #[must_use]
    pub fn report_pipe(&self, interface: &Interface) -> Option<Pipe<'b>> {
        let endpoint = interface.endpoint(Kind::Interrupt, Direction::In)?;
        if usize::from(endpoint.max_packet) > SMALL_BUFFER_LEN {
            log::warn!(
                "usb: the device at address {} reports in packets of {} bytes, more than the {SMALL_BUFFER_LEN} that are \
                 supported; its reports are not listened to",
                self.address(),
                endpoint.max_packet
            );
            return None;
        }
        Some(self.pipe(endpoint))
    }

    /// Ends all transfers, now and in future, as if the device were gone: for a driver that gives up.
    pub fn close(&self) {
        self.bus.close(self.place);
    }

    /// Returns the bus that the device is on.
    #[must_use]
    pub fn bus(&self) -> &'b Bus<'b> {
        self.bus
    }

    /// Waits until the device is gone or closed.
    pub async fn gone(&self) {
        poll_fn(|cx| self.bus.poll_gone(self.place, cx)).await;
    }

    fn alive(&self) -> Result<(), TransferError> {
        if self.bus.is_alive(self.place) { Ok(()) } else { Err(TransferError::Gone) }
    }

    fn endpoint_0(&self) -> Endpoint {
        Endpoint {
            address: self.place.address(),
            number: 0,
            direction: Direction::Out,
            kind: Kind::Control,
            max_packet: u16::from(self.descriptor.max_packet_0),
            speed: self.speed,
            translator: self.translator,
        }
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        self.bus.release(self.place);
    }
}

/// A bulk or interrupt endpoint of a device, with its data toggle.
pub struct Pipe<'b> {
    bus: &'b Bus<'b>,
    place: Place,
    endpoint: Endpoint,
    descriptor: EndpointDescriptor,
    next_pid: Cell<Pid>,
    /// When an interrupt endpoint may be asked again.
    next_poll: Cell<Instant>,
    /// Failed attempts of an interrupt endpoint in a row.
    errors: Cell<u32>,
}

impl<'b> Pipe<'b> {
    /// Returns the largest packet in bytes.
    #[must_use]
    pub fn max_packet(&self) -> usize {
        usize::from(self.endpoint.max_packet)
    }

    /// Starts a transfer of `len` bytes (at most `len`, for an IN endpoint) at the start of `buffer`.
    ///
    /// It is under way when this returns, unless every channel of the controller is busy. One at a time: the data toggle of
    /// the next transfer is known when this one is done.
    pub fn start(&self, buffer: DmaBuffer, len: usize, deadline: Option<Instant>) -> Transfer<'_, 'b> {
        let request = Request { endpoint: self.endpoint, pid: self.next_pid.get(), buffer, len, deadline };
        let mut transfer = Transfer { pipe: self, state: TransferState::Waiting(request) };
        transfer.try_start(&mut Context::from_waker(Waker::noop()));
        transfer
    }

    /// Waits until an interrupt endpoint has something to say, asking it at its interval: never more often, since a
    /// device may always have something to say.
    ///
    /// # Errors
    ///
    /// See [`TransferError`]. The buffer is handed back through `buffer` unless the controller kept it.
    pub async fn interrupt(
        &self,
        buffer: &mut Option<DmaBuffer>,
        deadline: Option<Instant>,
    ) -> Result<usize, TransferError> {
        loop {
            Timer::at(deadline.map_or(self.next_poll.get(), |deadline| deadline.min(self.next_poll.get()))).await;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(TransferError::Timeout);
            }
            match self.interrupt_once(buffer).await {
                Err(TransferError::Nak) => {}
                other => return other,
            }
        }
    }

    /// Asks an interrupt endpoint once, at its interval; [`TransferError::Nak`] when it has nothing to say, or could not be
    /// understood, unless that happens ten times in a row.
    ///
    /// # Errors
    ///
    /// See [`TransferError`]. The buffer is handed back through `buffer` unless the controller kept it.
    pub async fn interrupt_once(&self, buffer: &mut Option<DmaBuffer>) -> Result<usize, TransferError> {
        Timer::at(self.next_poll.get()).await;
        self.next_poll.set(next_poll(Instant::now(), self.interval()));
        let Some(owned) = buffer.take() else { return Err(TransferError::Timeout) };
        let len = self.max_packet().min(owned.len());
        let done = self.start(owned, len, None).await;
        *buffer = done.buffer;
        match done.result {
            Err(TransferError::Transaction { .. }) if self.errors.get() + 1 < INTERRUPT_ERRORS_MAX => {
                self.errors.set(self.errors.get() + 1);
                Err(TransferError::Nak)
            }
            result => {
                self.errors.set(0);
                result
            }
        }
    }

    /// Returns the time between two polls of an interrupt endpoint; never below a frame, to keep a fast endpoint from
    /// taking the core.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_micros(u64::from(self.descriptor.interval_us(self.endpoint.speed)).max(1000))
    }

    /// Clears the endpoint's halt after a `Stall`; its data toggle starts again at 0 (USB 2.0, 9.4.5).
    ///
    /// # Errors
    ///
    /// When the device does not take the request.
    pub async fn clear_halt(&self, device: &Device<'_>) -> Result<(), TransferError> {
        device.control_out(Setup::clear_halt(self.descriptor.address()), &[]).await?;
        self.next_pid.set(Pid::Data0);
        Ok(())
    }
}

enum TransferState {
    /// Not started: every channel is busy.
    Waiting(Request),
    Started(TransferId),
    Done(Option<Completion>),
}

/// A transfer on its way. Dropping it stops it, and its buffer is lost.
#[must_use = "a dropped transfer loses its buffer"]
pub struct Transfer<'p, 'b> {
    pipe: &'p Pipe<'b>,
    state: TransferState,
}

impl Transfer<'_, '_> {
    fn try_start(&mut self, cx: &mut Context<'_>) {
        let TransferState::Waiting(request) = core::mem::replace(&mut self.state, TransferState::Done(None)) else {
            return;
        };
        let bus = self.pipe.bus;
        self.state = if !bus.is_alive(self.pipe.place) {
            TransferState::Done(Some(Completion {
                next_pid: request.pid,
                buffer: Some(request.buffer),
                result: Err(TransferError::Gone),
            }))
        } else {
            match bus.host().start(request, cx) {
                Ok(id) => TransferState::Started(id),
                Err(Rejected::Busy(request)) => TransferState::Waiting(request),
                Err(Rejected::Over(completion)) => TransferState::Done(Some(completion)),
            }
        };
    }
}

impl Future for Transfer<'_, '_> {
    type Output = Completion;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Completion> {
        if matches!(self.state, TransferState::Waiting(_)) {
            self.try_start(cx);
        }
        match &mut self.state {
            TransferState::Waiting(_) => Poll::Pending,
            TransferState::Started(id) => {
                let id = *id;
                let Poll::Ready(done) = self.pipe.bus.host().poll(id, cx) else { return Poll::Pending };
                self.pipe.next_pid.set(done.next_pid);
                self.state = TransferState::Done(None);
                Poll::Ready(done)
            }
            // Polled after it was ready: a bug of the caller, which then waits for ever.
            TransferState::Done(done) => done.take().map_or(Poll::Pending, Poll::Ready),
        }
    }
}

impl Drop for Transfer<'_, '_> {
    fn drop(&mut self) {
        if let TransferState::Started(id) = self.state {
            self.pipe.bus.host().forget(id);
        }
    }
}
