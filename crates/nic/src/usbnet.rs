//! NICs on USB: the table of drivers, and who drives what is plugged in.
//!
//! A new driver is a file with `NAME`, `rate` and `run`, and a line in the table below.

mod frames;

use core::convert::Infallible;

use embassy_time::Timer;
use thiserror::Error;
use usb::bus::{Bus, Claims};
use usb::descriptor::{Configuration, DescriptorError, DeviceDescriptor};
use usb::device::Device;
use usb::host::TransferError;

pub(crate) use self::frames::{Framing, Pipes, RECEIVE_LEN, move_frames};
use crate::exchange::FrameExchange;
use crate::{cdc_ecm, rndis};

/// Rest before a device whose driver failed is enumerated anew.
const RESTART_REST_MS: u64 = 1000;

/// Which of several ways to talk to a NIC is taken when it offers more than one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// CDC-ECM.
    Ecm,
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
    /// The device did not answer a command.
    #[error("it did not answer command {command:#x}")]
    Silent {
        /// The command's code.
        command: u32,
    },
}

/// The table: one line per driver, `module: preference that favours it`.
macro_rules! drivers {
    ($($driver:ident: $preference:path,)*) => {
        /// Rates a configuration: 2 for the preferred way, 1 for another that has a driver.
        fn rate(prefer: Preference, configuration: &Configuration) -> u8 {
            $(
                if $driver::rate(configuration) {
                    return if prefer == $preference { 2 } else { 1 };
                }
            )*
            0
        }

        async fn drive(device: &Device<'_>, exchange: &FrameExchange) -> (&'static str, Result<Infallible, UsbNicError>) {
            $(
                if $driver::rate(device.configuration()) {
                    return ($driver::NAME, $driver::run(device, exchange).await);
                }
            )*
            ("none", Err(UsbNicError::Missing { what: "anything that a driver knows" }))
        }
    };
}

drivers! {
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
    fn rate(&self, _device: &DeviceDescriptor, configuration: &Configuration) -> u8 {
        rate(self.prefer, configuration)
    }
}

/// Drives the NICs of a bus, one at a time: when one goes, the next that is plugged in takes over.
pub async fn run(bus: &Bus<'_>, exchange: &FrameExchange) -> Infallible {
    loop {
        let device = bus.next_device().await;
        let (name, Err(error)) = drive(&device, exchange).await;
        exchange.detach();
        if error == UsbNicError::Transfer(TransferError::Gone) {
            log::info!("nic: {name} at USB address {} was unplugged", device.address());
        } else {
            log::warn!("nic: {name} at USB address {}: {error}; starting it anew", device.address());
            exchange.count(|counters| counters.restarts += 1);
            device.close();
            Timer::after_millis(RESTART_REST_MS).await;
        }
    }
}
