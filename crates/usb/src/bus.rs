//! The tree of devices: who is plugged in where, and who drives it.
//!
//! Tested over a fake controller with fake devices and hubs (`tests/`), and with QEMU's usb-net and usb-hub.

mod control;
mod enumerate;
mod hub;

use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::future::poll_fn;
use core::task::{Context, Poll};

use embassy_futures::join::{join, join_array};
use embassy_futures::select::select;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_sync::signal::Signal;
use embassy_sync::waitqueue::{MultiWakerRegistration, WakerRegistration};
use embassy_time::{Duration, Instant, Timer};
use hal::dma::{CACHE_LINE, DmaBuffer, DmaPool};
use thiserror::Error;

use self::control::ControlBuffers;
use self::enumerate::Port;
use crate::descriptor::{Configuration, DeviceDescriptor};
use crate::device::Device;
use crate::host::HostController;

/// Most devices, hubs included.
pub const DEVICES_MAX: usize = 16;
/// Most hubs at once.
pub const HUBS_MAX: usize = 7;
/// Most hubs between the root port and a device (USB 2.0, 4.1.1: seven tiers with root and device).
pub const HUB_DEPTH_MAX: u8 = 5;
/// Length in bytes of the buffers for interrupt endpoints.
pub const SMALL_BUFFER_LEN: usize = CACHE_LINE;
/// Buffers for interrupt endpoints: one for each hub, and some for drivers.
const SMALL_BUFFERS: usize = HUBS_MAX + 4;

/// Who drives what.
pub trait Claims {
    /// Says how well a configuration suits: 0 is "not mine"; of several configurations the highest is selected.
    fn rate(&self, device: &DeviceDescriptor, configuration: &Configuration) -> u8;
}

/// The pool has too little memory for the bus's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("USB needs {} bytes of DMA memory", Bus::DMA_BYTES)]
pub struct NoDmaMemory;

/// A place in the tree, and which of the devices that were there one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    slot: u8,
    generation: u32,
}

impl Place {
    /// Returns the device address that belongs to the slot.
    pub(crate) fn address(self) -> u8 {
        self.slot + 1
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Free,
    /// Being enumerated, or without a driver.
    Known,
    /// Waits for its driver or its hub worker to take it.
    Offered,
    /// In its driver's hands.
    Driven,
    /// The driver gave it back although it is still plugged in: the port's owner enumerates it anew.
    Returned,
}

struct Slot {
    r#use: Cell<Use>,
    generation: Cell<u32>,
    /// Slot of the hub and port there; `None` for the root port.
    parent: Cell<Option<(u8, u8)>>,
    /// Hubs between here and the root port.
    depth: Cell<u8>,
    /// What its driver will take.
    offer: RefCell<Option<Offer>>,
    wakers: RefCell<MultiWakerRegistration<4>>,
}

struct Offer {
    speed: crate::host::Speed,
    translator: Option<crate::host::Translator>,
    descriptor: DeviceDescriptor,
    configuration: Configuration,
    is_hub: bool,
}

/// When a device that does not work is tried again: what is soldered to a board can't be unplugged and plugged in.
struct Retry {
    at: Option<Instant>,
    failures: u32,
}

impl Retry {
    /// Rest before the first time; it doubles up to `DOUBLINGS` times.
    const REST: Duration = Duration::from_secs(30);
    const DOUBLINGS: u32 = 6;

    const fn new() -> Self {
        Self { at: None, failures: 0 }
    }

    fn note(&mut self, is_working: bool, now: Instant) {
        self.failures = if is_working { 0 } else { (self.failures + 1).min(Self::DOUBLINGS + 1) };
        self.at = self.failures.checked_sub(1).map(|doublings| now + Self::REST * (1 << doublings));
    }

    fn is_due(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| now >= at)
    }
}

/// The devices behind one host controller.
pub struct Bus<'h> {
    host: &'h dyn HostController,
    claims: &'h dyn Claims,
    slots: [Slot; DEVICES_MAX],
    control: Mutex<NoopRawMutex, ControlBuffers>,
    /// Held while a device answers to address 0: from the reset of its port to SET_ADDRESS.
    address_0: Mutex<NoopRawMutex, ()>,
    driver_waker: RefCell<WakerRegistration>,
    hub_waker: RefCell<MultiWakerRegistration<HUBS_MAX>>,
    small_buffers: RefCell<heapless::Vec<DmaBuffer, SMALL_BUFFERS>>,
    root_request: Signal<NoopRawMutex, ()>,
}

impl<'h> Bus<'h> {
    /// DMA memory that [`new`](Self::new) takes from the pool.
    pub const DMA_BYTES: usize = control::DMA_BYTES + SMALL_BUFFERS * SMALL_BUFFER_LEN;

    /// Makes the bus.
    ///
    /// # Errors
    ///
    /// When the pool has not enough memory left.
    pub fn new(host: &'h dyn HostController, claims: &'h dyn Claims, pool: &mut DmaPool) -> Result<Self, NoDmaMemory> {
        let mut small_buffers = heapless::Vec::new();
        for _ in 0..SMALL_BUFFERS {
            // Never full: this is its capacity.
            let _ = small_buffers.push(pool.take(SMALL_BUFFER_LEN).ok_or(NoDmaMemory)?);
        }
        Ok(Self {
            host,
            claims,
            slots: [const {
                Slot {
                    r#use: Cell::new(Use::Free),
                    generation: Cell::new(0),
                    parent: Cell::new(None),
                    depth: Cell::new(0),
                    offer: RefCell::new(None),
                    wakers: RefCell::new(MultiWakerRegistration::new()),
                }
            }; DEVICES_MAX],
            control: Mutex::new(ControlBuffers::new(pool)?),
            address_0: Mutex::new(()),
            driver_waker: RefCell::new(WakerRegistration::new()),
            hub_waker: RefCell::new(MultiWakerRegistration::new()),
            small_buffers: RefCell::new(small_buffers),
            root_request: Signal::new(),
        })
    }

    /// Serves the root port and all hubs, for ever.
    pub async fn run(&self) -> Infallible {
        join(self.serve_root_port(), join_array([(); HUBS_MAX].map(|()| self.serve_hubs()))).await.0
    }

    /// Waits for a device that [`Claims`] wants, configured and ready.
    pub async fn next_device(&self) -> Device<'_> {
        poll_fn(|cx| match self.take_offer(false) {
            Some(device) => Poll::Ready(device),
            None => {
                self.driver_waker.borrow_mut().register(cx.waker());
                Poll::Pending
            }
        })
        .await
    }

    /// Waits until [`next_device`](Self::next_device) would have a device at once, and leaves it there.
    pub async fn has_device(&self) {
        poll_fn(|cx| {
            if self.find_offer(false).is_some() {
                return Poll::Ready(());
            }
            self.driver_waker.borrow_mut().register(cx.waker());
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn host(&self) -> &dyn HostController {
        self.host
    }

    /// Lends a buffer of [`SMALL_BUFFER_LEN`] for an interrupt endpoint. Give it back with
    /// [`return_small_buffer`](Self::return_small_buffer).
    #[must_use]
    pub fn take_small_buffer(&self) -> Option<DmaBuffer> {
        self.host.take_returned(SMALL_BUFFER_LEN).or_else(|| self.small_buffers.borrow_mut().pop())
    }

    /// Returns a buffer of `len` bytes that the controller kept after a transfer and has let go of since.
    #[must_use]
    pub fn take_returned(&self, len: usize) -> Option<DmaBuffer> {
        self.host.take_returned(len)
    }

    /// Takes a buffer back, if the controller did not keep it.
    pub fn return_small_buffer(&self, buffer: Option<DmaBuffer>) {
        if let Some(buffer) = buffer {
            // Never full: it came from there.
            let _ = self.small_buffers.borrow_mut().push(buffer);
        }
    }

    async fn serve_root_port(&self) -> Infallible {
        let mut retry = Retry::new();
        loop {
            while !self.host.is_connected() {
                poll_fn(|cx| self.host.poll_port_change(cx)).await;
            }
            Timer::after(self.host.settle_times().debounce).await;
            if !self.host.is_connected() {
                continue;
            }
            self.root_request.reset();
            let place = self.attach(&Port::Root).await;
            retry.note(place.is_some(), Instant::now());
            // Until it is unplugged, its driver gives it back, the controller disabled its port, or it is tried again.
            loop {
                let change = select(poll_fn(|cx| self.host.poll_port_change(cx)), self.root_request.wait());
                select(change, Timer::at(retry.at.unwrap_or(Instant::MAX))).await;
                let is_up = self.host.is_connected() && self.host.enabled_speed().is_some();
                let is_over = retry.is_due(Instant::now()) || place.is_some_and(|place| self.is_returned(place));
                if !is_up || is_over {
                    break;
                }
            }
            if let Some(place) = place {
                self.remove(place);
            }
        }
    }

    // ---- Slots ----

    fn slot(&self, place: Place) -> Option<&Slot> {
        self.slots.get(usize::from(place.slot)).filter(|slot| slot.generation.get() == place.generation)
    }

    /// Takes a free slot for a device at `parent`.
    fn add(&self, parent: Option<(u8, u8)>, depth: u8) -> Option<Place> {
        let (index, slot) = self.slots.iter().enumerate().find(|(_, slot)| slot.r#use.get() == Use::Free)?;
        slot.r#use.set(Use::Known);
        slot.generation.set(slot.generation.get().wrapping_add(1));
        slot.parent.set(parent);
        slot.depth.set(depth);
        Some(Place { slot: u8::try_from(index).ok()?, generation: slot.generation.get() })
    }

    /// Forgets a device and everything behind it; its transfers end.
    fn remove(&self, place: Place) {
        let Some(slot) = self.slot(place) else { return };
        slot.generation.set(slot.generation.get().wrapping_add(1));
        slot.r#use.set(Use::Free);
        slot.parent.set(None);
        slot.offer.borrow_mut().take();
        self.host.abort(place.address());
        slot.wakers.borrow_mut().wake();
        for (index, child) in self.slots.iter().enumerate() {
            if child.r#use.get() != Use::Free && child.parent.get().is_some_and(|(hub, _)| hub == place.slot) {
                let Ok(index) = u8::try_from(index) else { continue };
                // Depth is limited by HUB_DEPTH_MAX, and with it this recursion.
                self.remove(Place { slot: index, generation: child.generation.get() });
            }
        }
    }

    fn offer(&self, place: Place, offer: Offer) {
        let Some(slot) = self.slot(place) else { return };
        let is_hub = offer.is_hub;
        *slot.offer.borrow_mut() = Some(offer);
        slot.r#use.set(Use::Offered);
        if is_hub {
            self.hub_waker.borrow_mut().wake();
        } else {
            self.driver_waker.borrow_mut().wake();
        }
    }

    fn find_offer(&self, is_hub: bool) -> Option<(usize, &Slot)> {
        let wanted = |slot: &Slot| slot.offer.borrow().as_ref().is_some_and(|offer| offer.is_hub == is_hub);
        self.slots.iter().enumerate().find(|(_, slot)| wanted(slot))
    }

    fn take_offer(&self, is_hub: bool) -> Option<Device<'_>> {
        let (index, slot) = self.find_offer(is_hub)?;
        let offer = slot.offer.borrow_mut().take()?;
        slot.r#use.set(Use::Driven);
        Some(Device {
            bus: self,
            place: Place { slot: u8::try_from(index).ok()?, generation: slot.generation.get() },
            speed: offer.speed,
            translator: offer.translator,
            descriptor: offer.descriptor,
            configuration: offer.configuration,
        })
    }

    pub(crate) fn is_alive(&self, place: Place) -> bool {
        self.slot(place).is_some_and(|slot| !matches!(slot.r#use.get(), Use::Free | Use::Returned))
    }

    pub(crate) fn poll_gone(&self, place: Place, cx: &mut Context<'_>) -> Poll<()> {
        let Some(slot) = self.slot(place) else { return Poll::Ready(()) };
        if !self.is_alive(place) {
            return Poll::Ready(());
        }
        slot.wakers.borrow_mut().register(cx.waker());
        Poll::Pending
    }

    pub(crate) fn close(&self, place: Place) {
        let Some(slot) = self.slot(place) else { return };
        slot.r#use.set(Use::Returned);
        self.host.abort(place.address());
        slot.wakers.borrow_mut().wake();
    }

    /// The driver dropped the device: if it is still plugged in, its port's owner shall enumerate it anew.
    pub(crate) fn release(&self, place: Place) {
        let Some(slot) = self.slot(place) else { return };
        self.close(place);
        // A hub's worker looks for returned devices at each of its polls.
        if slot.parent.get().is_none() {
            self.root_request.signal(());
        }
    }

    fn is_returned(&self, place: Place) -> bool {
        self.slot(place).is_some_and(|slot| slot.r#use.get() == Use::Returned)
    }
}
