//! From "something is plugged in" to a configured device (USB 2.0, 9.1.2).

use core::fmt;

use embassy_time::{Duration, Instant, Timer};
use heapless::String;
use thiserror::Error;

use super::hub::HubPort;
use super::{Bus, HUB_DEPTH_MAX, Offer, Place};
use crate::descriptor::{
    self, CONFIGURATION_LEN_MAX, Configuration, DescriptorError, DeviceDescriptor, STRING_MAX, class, kind,
};
use crate::host::{Direction, Endpoint, Kind, Speed, TransferError, Translator};
use crate::setup::Setup;

/// Reset of the root port (USB 2.0, 7.1.7.5: TDRSTR, at least 50 ms).
const ROOT_RESET: Duration = Duration::from_millis(50);
/// How long the controller may take to enable the port after the reset. Observed within a millisecond in other drivers;
/// no document gives a limit.
const ROOT_ENABLE_TIMEOUT: Duration = Duration::from_millis(100);
/// How often a device is tried before it is given up.
const ATTEMPTS: u32 = 3;
/// Most configurations that are looked at.
const CONFIGURATIONS_MAX: u8 = 4;

/// Where a device is plugged in.
pub(super) enum Port<'a> {
    Root,
    Hub(HubPort<'a>),
}

/// Why a device could not be enumerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum EnumerateError {
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    #[error("the port was not enabled by its reset")]
    NotEnabled,
    #[error("there are already {} devices", super::DEVICES_MAX)]
    TooManyDevices,
    #[error("it is behind more than {HUB_DEPTH_MAX} hubs")]
    TooDeep,
}

/// A device with an address, before its configuration is chosen.
struct Addressed {
    endpoint: Endpoint,
    descriptor: DeviceDescriptor,
    name: Name,
}

/// How a device is shown on the log.
struct Name {
    vendor: u16,
    product: u16,
    class: u8,
    text: String<STRING_MAX>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.product)?;
        if !self.text.is_empty() {
            write!(f, " \"{}\"", self.text)?;
        }
        write!(f, " (class {:02x})", self.class)
    }
}

impl Bus<'_> {
    /// Enumerates what is plugged in at `port`. `None` when that failed for good; the reason is on the log.
    pub(super) async fn attach(&self, port: &Port<'_>) -> Option<Place> {
        for attempt in 1..=ATTEMPTS {
            let error = match self.enumerate(port).await {
                Ok(place) => return Some(place),
                Err(EnumerateError::Transfer(TransferError::Gone)) => return None,
                Err(error) => error,
            };
            log::warn!("usb: {port}: attempt {attempt} of {ATTEMPTS} to enumerate the device failed: {error}");
            if attempt < ATTEMPTS {
                Timer::after(self.host.settle_times().retry).await;
            }
        }
        log::error!(
            "usb: {port}: the device does not work; trying it again now and then, or when it is plugged in anew"
        );
        None
    }

    async fn enumerate(&self, port: &Port<'_>) -> Result<Place, EnumerateError> {
        let depth = port.depth();
        if depth > HUB_DEPTH_MAX {
            return Err(EnumerateError::TooDeep);
        }
        // One device at a time answers to address 0.
        let address_0 = self.address_0.lock().await;
        let speed = self.reset(port).await?;
        Timer::after(self.host.settle_times().reset).await;
        let place = self.add(port.parent(), depth).ok_or(EnumerateError::TooManyDevices)?;
        let addressed = self.address(place, speed, port.translator(speed)).await;
        drop(address_0);
        let result = match addressed {
            Ok(device) => self.configure(place, depth, device).await,
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.remove(place);
        }
        result.map(|()| place)
    }

    async fn reset(&self, port: &Port<'_>) -> Result<Speed, EnumerateError> {
        match port {
            Port::Root => {
                self.host.set_port_reset(true);
                Timer::after(ROOT_RESET).await;
                self.host.set_port_reset(false);
                let deadline = Instant::now() + ROOT_ENABLE_TIMEOUT;
                loop {
                    if !self.host.is_connected() {
                        return Err(TransferError::Gone.into());
                    }
                    if let Some(speed) = self.host.enabled_speed() {
                        return Ok(speed);
                    }
                    if Instant::now() >= deadline {
                        return Err(EnumerateError::NotEnabled);
                    }
                    Timer::after_millis(1).await;
                }
            }
            Port::Hub(port) => port.reset().await,
        }
    }

    /// Gives the device its address and reads its device descriptor.
    async fn address(
        &self,
        place: Place,
        speed: Speed,
        translator: Option<Translator>,
    ) -> Result<Addressed, EnumerateError> {
        // What endpoint 0 takes is only known from the eighth byte of the descriptor, so ask for eight
        // (USB 2.0, 5.5.3: at high speed it is always 64; every device can do 8).
        let max_packet = if speed == Speed::High { 64 } else { 8 };
        let mut endpoint = Endpoint {
            address: 0,
            number: 0,
            direction: Direction::Out,
            kind: Kind::Control,
            max_packet,
            speed,
            translator,
        };
        let mut head = [0; 8];
        let len = self.control_in(&endpoint, Setup::get_descriptor(kind::DEVICE, 0, 0), &mut head).await?;
        if len < head.len() {
            return Err(DescriptorError::Short { kind: kind::DEVICE, len, needs: head.len() }.into());
        }
        endpoint.max_packet = u16::from(descriptor::parse_max_packet_0(head[7])?);
        self.control_out(&endpoint, Setup::set_address(place.address()), &[]).await?;
        Timer::after(self.host.settle_times().address).await;
        endpoint.address = place.address();
        let mut bytes = [0; DeviceDescriptor::LEN];
        let len = self.control_in(&endpoint, Setup::get_descriptor(kind::DEVICE, 0, 0), &mut bytes).await?;
        let descriptor = DeviceDescriptor::parse(bytes.get(..len).unwrap_or_default())?;
        let text = self.read_string(&endpoint, descriptor.product_string).await;
        let name = Name { vendor: descriptor.vendor, product: descriptor.product, class: descriptor.class, text };
        Ok(Addressed { endpoint, descriptor, name })
    }

    /// Chooses and selects a configuration and offers the device to who drives it.
    async fn configure(&self, place: Place, depth: u8, device: Addressed) -> Result<(), EnumerateError> {
        let Addressed { endpoint, descriptor, mut name } = device;
        let is_hub = descriptor.class == class::HUB;
        let mut best: Option<(u8, Configuration)> = None;
        let mut unreadable = None;
        for index in 0..descriptor.configurations.min(CONFIGURATIONS_MAX) {
            let configuration = match self.read_configuration(&endpoint, index).await {
                Ok(configuration) => configuration,
                Err(EnumerateError::Descriptor(error)) => {
                    // Another one may suit.
                    log::warn!("usb: {name} at address {}: configuration {index}: {error}", place.address());
                    unreadable = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if name.class == 0 {
                name.class = configuration.interfaces.first().map_or(0, |interface| interface.class);
            }
            let rating = if is_hub { 1 } else { self.claims.rate(&descriptor, &configuration) };
            if rating > best.as_ref().map_or(0, |(rating, _)| *rating) {
                best = Some((rating, configuration));
            }
        }
        let Some((_, configuration)) = best else {
            if let Some(error) = unreadable {
                return Err(error.into());
            }
            log::info!("usb: {name} at address {}: nobody drives it, it is left alone", place.address());
            return Ok(());
        };
        if is_hub && depth == HUB_DEPTH_MAX {
            log::warn!("usb: {name} at address {}: no hub may be plugged in this deep", place.address());
            return Ok(());
        }
        self.control_out(&endpoint, Setup::set_configuration(configuration.value), &[]).await?;
        log::info!(
            "usb: {name} at address {}, {}, configuration {}",
            place.address(),
            speed_name(endpoint.speed),
            configuration.value
        );
        let Endpoint { speed, translator, .. } = endpoint;
        self.offer(place, Offer { speed, translator, descriptor, configuration, is_hub });
        Ok(())
    }

    async fn read_configuration(&self, endpoint: &Endpoint, index: u8) -> Result<Configuration, EnumerateError> {
        let mut bytes = [0; CONFIGURATION_LEN_MAX];
        let setup = Setup::get_descriptor(kind::CONFIGURATION, index, 0);
        let (head, _) = bytes.split_at_mut(Configuration::HEADER_LEN);
        let len = self.control_in(endpoint, setup, head).await?;
        let total = Configuration::parse_total_len(head.get(..len).unwrap_or_default())?;
        let all = bytes.get_mut(..total).unwrap_or_default();
        let len = self.control_in(endpoint, setup, all).await?;
        Ok(Configuration::parse(all.get(..len).unwrap_or_default())?)
    }

    /// Reads a string in the device's first language; empty when it has none.
    async fn read_string(&self, endpoint: &Endpoint, index: u8) -> String<STRING_MAX> {
        if index == 0 {
            return String::new();
        }
        let mut bytes = [0; 2 * STRING_MAX + 2];
        let languages = bytes.get_mut(..4).unwrap_or_default();
        let setup = Setup::get_descriptor(kind::STRING, 0, 0);
        let language = match self.control_in(endpoint, setup, languages).await {
            Ok(4..) => u16::from_le_bytes([bytes[2], bytes[3]]),
            _ => return String::new(),
        };
        match self.control_in(endpoint, Setup::get_descriptor(kind::STRING, index, language), &mut bytes).await {
            Ok(len) => descriptor::parse_string(bytes.get(..len).unwrap_or_default()),
            Err(_) => String::new(),
        }
    }
}

impl Port<'_> {
    fn parent(&self) -> Option<(u8, u8)> {
        match self {
            Self::Root => None,
            Self::Hub(port) => Some((port.hub.place.slot, port.number)),
        }
    }

    fn depth(&self) -> u8 {
        match self {
            Self::Root => 0,
            Self::Hub(port) => port.hub.bus.slot(port.hub.place).map_or(HUB_DEPTH_MAX, |slot| slot.depth.get()) + 1,
        }
    }

    /// Who translates for a device of this speed here: the high-speed hub closest to it.
    fn translator(&self, speed: Speed) -> Option<Translator> {
        let Self::Hub(port) = self else { return None };
        match (port.hub.speed, speed) {
            (Speed::High, Speed::High) => None,
            (Speed::High, _) => Some(Translator { hub: port.hub.address(), port: port.number }),
            _ => port.hub.translator,
        }
    }
}

impl fmt::Display for Port<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root port"),
            Self::Hub(port) => write!(f, "port {} of the hub at address {}", port.number, port.hub.address()),
        }
    }
}

fn speed_name(speed: Speed) -> &'static str {
    match speed {
        Speed::Low => "low speed",
        Speed::Full => "full speed",
        Speed::High => "high speed",
    }
}
