//! NICs on USB: the table of drivers, and who drives what is plugged in.
//!
//! A new driver is a file with `NAME`, `rate` and `run`, and a line in the table below. It is found by what its descriptors
//! say: class and subclass of an interface, or vendor and product.

mod frames;
mod registers;
mod supervise;

use core::convert::Infallible;

use embassy_time::{Duration, Instant, Timer};
use thiserror::Error;
use usb::bus::{Bus, Claims};
use usb::descriptor::{Configuration, DescriptorError, DeviceDescriptor};
use usb::device::Device;
use usb::host::TransferError;

pub(crate) use self::frames::{Ending, Framing, Pipes, move_frames};
pub(crate) use self::registers::{Bursts, Phy, Registers, Started, mac_words, read_mac};
pub(crate) use self::supervise::{Block, Chip, Counted, run_chip};
use crate::events::NicEvent;
use crate::exchange::FrameExchange;
use crate::{MacAddress, cdc_ecm, cdc_ncm, lan78xx, lan95xx, rndis};

/// Rest before a device whose driver failed is enumerated anew; it doubles with each failure, up to the other.
const RESTART_REST: Duration = Duration::from_secs(1);
const RESTART_REST_MAX: Duration = Duration::from_secs(32);
/// How long a device must have worked for its earlier failures to be forgotten.
const RESTART_FORGIVEN: Duration = Duration::from_secs(10);

/// Which of several ways to talk to a NIC is taken when it offers more than one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// CDC-ECM.
    Ecm,
    /// CDC-NCM.
    Ncm,
    /// RNDIS. The default: through QEMU's usb-net it is as fast as ECM, and it carries the address that QEMU was given
    /// (`mac=`), where ECM's is altered in its first byte.
    #[default]
    Rndis,
}

/// Why a driver gave a device up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UsbNicError {
    /// A transfer failed.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// A descriptor makes no sense.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// A descriptor or endpoint that the driver needs is missing.
    #[error("its descriptors lack {what}")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// The device has no usable address.
    #[error("it tells no usable MAC address")]
    NoAddress,
    /// The device refused a command.
    #[error("it refused command {command:#x} with status {status:#x}")]
    Refused {
        /// The command's code.
        command: u32,
        /// The status it answered.
        status: u32,
    },
    /// A register does not become what it should.
    #[error("register {register:#x} stays {value:#010x}")]
    NotReady {
        /// The register.
        register: u16,
        /// What it was read as last.
        value: u32,
    },
    /// There is no PHY, or it does not come out of reset.
    #[error("its PHY does not work (identifier {id:#010x})")]
    NoPhy {
        /// The identifier that was read.
        id: u32,
    },
    /// The device lost track of what it was sent.
    #[error("it lost track of what it was sent (status {status:#010x})")]
    OutOfStep {
        /// The status that it reported.
        status: u32,
    },
    /// The device no longer takes frames.
    #[error("it has stopped sending")]
    Stalled,
    /// The device no longer delivers frames, though it has some.
    #[error("it has stopped delivering what it receives")]
    Deaf,
    /// The device did not answer a command.
    #[error("it did not answer command {command:#x}")]
    Silent {
        /// The command's code.
        command: u32,
    },
}

/// What a driver is told about the board, for controllers that have no memory for an address of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoardInfo {
    /// The address that the firmware has for the board.
    pub mac: Option<MacAddress>,
    /// Tells boards without an address apart: a serial number, or a random number.
    pub id: u64,
}

impl BoardInfo {
    /// Returns the address for a controller that itself knows `own`, or none: its own, the board's, or one made from the
    /// board's ID, in this order. A made-up one is locally administered (IEEE 802, 8.4.2: bit 1 of the first byte).
    #[must_use]
    pub fn address(&self, own: Option<MacAddress>) -> MacAddress {
        let known = [own, self.mac].into_iter().flatten().find(|mac| mac.is_station());
        known.unwrap_or_else(|| {
            let [.., a, b, c, d, e] = self.id.to_be_bytes();
            MacAddress([0x02, a, b, c, d, e])
        })
    }
}

/// The table: one line per driver, `module: preferences that favour it`.
macro_rules! drivers {
    ($($driver:ident: $preference:pat,)*) => {
        /// Rates a configuration: 2 for the preferred way, 1 for another that has a driver.
        fn rate(prefer: Preference, device: &DeviceDescriptor, configuration: &Configuration) -> u8 {
            $(
                if $driver::rate(device, configuration) {
                    return if matches!(prefer, $preference) { 2 } else { 1 };
                }
            )*
            0
        }

        async fn drive(
            device: &Device<'_>,
            exchange: &FrameExchange,
            board: &BoardInfo,
        ) -> (&'static str, Result<Infallible, UsbNicError>) {
            $(
                if $driver::rate(device.descriptor(), device.configuration()) {
                    return ($driver::NAME, $driver::run(device, exchange, board).await);
                }
            )*
            ("none", Err(UsbNicError::Missing { what: "anything that a driver knows" }))
        }
    };
}

drivers! {
    lan95xx: _,
    lan78xx: _,
    cdc_ncm: Preference::Ncm,
    cdc_ecm: Preference::Ecm,
    rndis: Preference::Rndis,
}

/// Claims the NICs that have a driver.
#[derive(Clone, Copy, Debug, Default)]
pub struct UsbNics {
    /// What to take when there is a choice.
    pub prefer: Preference,
}

impl Claims for UsbNics {
    fn rate(&self, device: &DeviceDescriptor, configuration: &Configuration) -> u8 {
        rate(self.prefer, device, configuration)
    }
}

/// Drives the NICs of a bus, one at a time: when one goes, the next that is plugged in takes over.
pub async fn run(bus: &Bus<'_>, exchange: &FrameExchange, board: &BoardInfo) -> Infallible {
    let mut rest = RESTART_REST;
    loop {
        let device = bus.next_device().await;
        let start = Instant::now();
        let link_ups = exchange.counters().link_ups;
        let (name, Err(error)) = drive(&device, exchange, board).await;
        let ups = exchange.counters().link_ups - link_ups;
        let has_lost_link = ups > 1 || ups == 1 && !exchange.link().is_up();
        exchange.detach();
        if error == UsbNicError::Transfer(TransferError::Gone) {
            log::info!("nic: {name} at USB address {} was unplugged", device.address());
            rest = RESTART_REST;
            continue;
        }
        // One that worked for a while is started anew soon; one that fails again and again ever less often.
        // What went wrong while the cable was pulled says little about the device.
        let is_cables_fault =
            has_lost_link && matches!(error, UsbNicError::Stalled | UsbNicError::Transfer(TransferError::Timeout));
        rest = if is_cables_fault || start.elapsed() >= RESTART_FORGIVEN { RESTART_REST } else { rest };
        let seconds = rest.as_secs();
        log::warn!("nic: {name} at USB address {}: {error}; starting it anew in {seconds} s", device.address());
        exchange.count(|counters| counters.restarts += 1);
        match error {
            UsbNicError::NoPhy { .. } => exchange.count_event(NicEvent::PhySilent, 1),
            UsbNicError::NotReady { .. } | UsbNicError::Transfer(TransferError::Timeout) => {
                exchange.count_event(NicEvent::Timeout, 1);
            }
            _ => {}
        }
        device.close();
        Timer::after(rest).await;
        rest = if is_cables_fault { rest } else { (2 * rest).min(RESTART_REST_MAX) };
    }
}
