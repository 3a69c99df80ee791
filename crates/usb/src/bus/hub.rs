//! Hubs (USB 2.0, chapter 11): power, and what is plugged in at their ports.

use core::convert::Infallible;
use core::future::poll_fn;
use core::task::Poll;

use embassy_time::{Duration, Instant, Timer};

use super::enumerate::{EnumerateError, Port};
use super::{Bus, Place, Retry};
use crate::descriptor::{HubDescriptor, kind};
use crate::device::Device;
use crate::host::{Speed, TransferError};
use crate::setup::{CLASS_DEVICE_IN, CLASS_DEVICE_OUT, CLASS_PORT_IN, CLASS_PORT_OUT, Setup, code};

/// Most ports of a hub that are served.
const PORTS_MAX: usize = 16;
/// How long a hub may reset a port (it should take 10 to 20 ms: USB 2.0, 7.1.7.5, TDRST).
const RESET_TIMEOUT: Duration = Duration::from_millis(200);

/// Features of a port (USB 2.0, table 11-17).
mod feature {
    pub(super) const RESET: u16 = 4;
    pub(super) const POWER: u16 = 8;
    /// The changes C_PORT_CONNECTION to C_PORT_RESET, in the order of the bits of wPortChange.
    pub(super) const C_CONNECTION: u16 = 16;
    pub(super) const C_RESET: u16 = 20;
}

/// The status of a port (USB 2.0, tables 11-21 and 11-22).
#[derive(Clone, Copy, Debug)]
struct PortStatus {
    status: u16,
    change: u16,
}

impl PortStatus {
    fn is_connected(self) -> bool {
        self.status & 1 != 0
    }

    fn is_enabled(self) -> bool {
        self.status & 1 << 1 != 0
    }

    fn has_connection_changed(self) -> bool {
        self.change & 1 != 0
    }

    fn has_reset_ended(self) -> bool {
        self.change & 1 << 4 != 0
    }

    fn speed(self) -> Speed {
        match (self.status & 1 << 9 != 0, self.status & 1 << 10 != 0) {
            (true, _) => Speed::Low,
            (false, true) => Speed::High,
            (false, false) => Speed::Full,
        }
    }
}

/// A port of a hub, from 1.
#[derive(Clone, Copy)]
pub(super) struct HubPort<'a> {
    pub(super) hub: &'a Device<'a>,
    pub(super) number: u8,
}

impl Bus<'_> {
    /// Serves one hub after the other, for ever. There are `HUBS_MAX` of these.
    pub(super) async fn serve_hubs(&self) -> Infallible {
        loop {
            let hub = poll_fn(|cx| match self.take_offer(true) {
                Some(hub) => Poll::Ready(hub),
                None => {
                    self.hub_waker.borrow_mut().register(cx.waker());
                    Poll::Pending
                }
            })
            .await;
            let Err(error) = self.serve_hub(&hub).await;
            if error != TransferError::Gone {
                log::warn!("usb: hub at address {}: {error}; starting it anew", hub.address());
                hub.close();
                Timer::after_secs(1).await;
            }
            // Dropped here: if it is still plugged in, its port enumerates it anew.
        }
    }

    async fn serve_hub(&self, hub: &Device<'_>) -> Result<Infallible, TransferError> {
        let mut bytes = [0; HubDescriptor::LEN];
        let setup = Setup { request_type: CLASS_DEVICE_IN, ..Setup::get_descriptor(kind::HUB, 0, 0) };
        let len = hub.control_in(setup, &mut bytes).await?;
        let pipe = hub.configuration().interfaces.iter().find_map(|i| hub.report_pipe(i));
        let (Ok(descriptor), Some(pipe)) = (HubDescriptor::parse(bytes.get(..len).unwrap_or_default()), pipe) else {
            log::error!("usb: hub at address {}: its descriptors make no sense, it is left alone", hub.address());
            hub.gone().await;
            return Err(TransferError::Gone);
        };
        let ports = usize::from(descriptor.ports).min(PORTS_MAX);
        for number in (1..).take(ports) {
            HubPort { hub, number }.set_feature(feature::POWER).await?;
        }
        Timer::after_millis(u64::from(descriptor.power_good_ms)).await;
        let mut buffer = self.take_small_buffer();
        let mut children = [None; PORTS_MAX];
        let mut retries = [const { Retry::new() }; PORTS_MAX];
        // At first, look at every port.
        let mut changed = u32::MAX;
        let error = loop {
            if changed != u32::MAX
                && changed & 1 != 0
                && let Err(error) = clear_hub_changes(hub).await
            {
                break error;
            }
            for (number, (child, retry)) in (1..).zip(children.iter_mut().zip(&mut retries).take(ports)) {
                let is_returned = child.is_some_and(|place| self.is_returned(place));
                if changed >> number & 1 != 0 || is_returned || retry.is_due(Instant::now()) {
                    match self.serve_port(HubPort { hub, number }, child).await {
                        Ok(is_working) => retry.note(is_working, Instant::now()),
                        Err(error) => {
                            self.return_small_buffer(buffer);
                            return Err(error);
                        }
                    }
                }
            }
            changed = match pipe.interrupt_once(&mut buffer).await {
                Ok(len) => {
                    let bytes = buffer.as_ref().map_or(&[][..], |buffer| buffer.bytes());
                    change_bits(bytes.get(..len).unwrap_or_default())
                }
                Err(TransferError::Nak) => 0,
                Err(error) => break error,
            };
        };
        self.return_small_buffer(buffer);
        Err(error)
    }

    /// Brings `child` in line with what is plugged in at the port. Returns whether that works, or nothing is plugged in.
    async fn serve_port(&self, port: HubPort<'_>, child: &mut Option<Place>) -> Result<bool, TransferError> {
        let mut status = port.read_status().await?;
        port.clear_changes(status).await?;
        let is_same = child.is_some_and(|place| self.slot(place).is_some() && !self.is_returned(place));
        if is_same && status.is_connected() && status.is_enabled() && !status.has_connection_changed() {
            return Ok(true);
        }
        // What was plugged in before the change was cleared would otherwise go unnoticed.
        status = port.read_status().await?;
        if let Some(place) = child.take() {
            self.remove(place);
        }
        if !status.is_connected() {
            return Ok(true);
        }
        Timer::after(self.host.settle_times().debounce).await;
        status = port.read_status().await?;
        port.clear_changes(status).await?;
        if status.is_connected() {
            *child = self.attach(&Port::Hub(port)).await;
            return Ok(child.is_some());
        }
        Ok(true)
    }
}

impl HubPort<'_> {
    /// Resets the port and returns the speed of the device there.
    pub(super) async fn reset(&self) -> Result<Speed, EnumerateError> {
        self.set_feature(feature::RESET).await?;
        let deadline = Instant::now() + RESET_TIMEOUT;
        loop {
            // The hub needs 10 ms at least.
            Timer::after_millis(10).await;
            let status = self.read_status().await?;
            if status.has_reset_ended() {
                self.clear_feature(feature::C_RESET).await?;
                return if status.is_enabled() { Ok(status.speed()) } else { Err(EnumerateError::NotEnabled) };
            }
            if !status.is_connected() {
                return Err(TransferError::Gone.into());
            }
            if Instant::now() >= deadline {
                return Err(EnumerateError::NotEnabled);
            }
        }
    }

    async fn read_status(&self) -> Result<PortStatus, TransferError> {
        let mut bytes = [0; 4];
        let setup = self.setup(CLASS_PORT_IN, code::GET_STATUS, 0);
        if self.hub.control_in(setup, &mut bytes).await? < bytes.len() {
            return Err(TransferError::Babble);
        }
        let [s0, s1, c0, c1] = bytes;
        Ok(PortStatus { status: u16::from_le_bytes([s0, s1]), change: u16::from_le_bytes([c0, c1]) })
    }

    async fn clear_changes(&self, status: PortStatus) -> Result<(), TransferError> {
        for (feature, bit) in (feature::C_CONNECTION..=feature::C_RESET).zip(0..) {
            if status.change >> bit & 1 != 0 {
                self.clear_feature(feature).await?;
            }
        }
        Ok(())
    }

    async fn set_feature(&self, feature: u16) -> Result<(), TransferError> {
        self.hub.control_out(self.setup(CLASS_PORT_OUT, code::SET_FEATURE, feature), &[]).await
    }

    async fn clear_feature(&self, feature: u16) -> Result<(), TransferError> {
        self.hub.control_out(self.setup(CLASS_PORT_OUT, code::CLEAR_FEATURE, feature), &[]).await
    }

    fn setup(&self, request_type: u8, request: u8, value: u16) -> Setup {
        Setup { request_type, request, value, index: u16::from(self.number) }
    }
}

/// Acknowledges changes of the hub itself (local power, over-current), which have no consequence here: a hub without power
/// disconnects its ports, too.
async fn clear_hub_changes(hub: &Device<'_>) -> Result<(), TransferError> {
    for feature in [0, 1] {
        let setup = Setup { request_type: CLASS_DEVICE_OUT, request: code::CLEAR_FEATURE, value: feature, index: 0 };
        hub.control_out(setup, &[]).await?;
    }
    Ok(())
}

/// Reads the bits of a status change report: bit 0 is the hub, the others its ports.
fn change_bits(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).zip((0..).step_by(8)).fold(0, |bits, (byte, shift)| bits | u32::from(*byte) << shift)
}
