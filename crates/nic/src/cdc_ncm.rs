//! USB CDC Network Control Model (CDC NCM 1.0): several frames per transfer, in blocks with a table of contents.
//!
//! Blocks with 16-bit offsets (NTB-16), without checksums: every function can do these (NCM 1.0, 6.2.1, 6.3.1).
//!
//! Tested with a fake device over a fake controller. Never with a real adapter.

mod block;

use core::convert::Infallible;

use usb::descriptor::{Configuration, DeviceDescriptor};
use usb::device::Device;
use usb::host::TransferError;
use usb::setup::{CLASS_INTERFACE_IN, CLASS_INTERFACE_OUT, Setup};

use self::block::{Layout, NcmFraming};
use crate::Link;
use crate::cdc::{self, Function};
use crate::exchange::{FrameExchange, NicInfo};
use crate::usbnet::{BoardInfo, Bursts, Pipes, UsbNicError, move_frames};

/// Name of the driver.
pub const NAME: &str = "cdc-ncm";

/// Subclass "Network Control Model" (NCM 1.0, table 4-1).
const SUBCLASS: u8 = 0x0D;
/// Requests (NCM 1.0, table 6-2).
const GET_NTB_PARAMETERS: u8 = 0x80;
const SET_NTB_FORMAT: u8 = 0x84;
const SET_NTB_INPUT_SIZE: u8 = 0x86;
const SET_CRC_MODE: u8 = 0x8A;
/// Length of the NTB parameter structure (table 6-3).
const PARAMETERS_LEN: usize = 28;

/// For the fuzz target.
#[cfg(any(test, fuzzing))]
pub(crate) const WALK: crate::burst::Walk = block::walk;

/// Says whether this driver can drive the configuration.
pub(crate) fn rate(_device: &DeviceDescriptor, configuration: &Configuration) -> bool {
    cdc::control_interface(configuration, SUBCLASS).is_some()
}

/// Drives a device until it is gone or fails.
pub(crate) async fn run(
    device: &Device<'_>,
    exchange: &FrameExchange,
    _board: &BoardInfo,
) -> Result<Infallible, UsbNicError> {
    let function = Function::find(device.configuration(), SUBCLASS)?;
    let pipes = Pipes::open(device, function.data)?;
    let mac = function.read_mac(device).await?;
    let interface = u16::from(function.control.number);
    // Formats and sizes may only be set while the network is off (6.2).
    device.control_out(Setup::set_interface(function.data.number, 0), &[]).await?;
    let mut bytes = [0; PARAMETERS_LEN];
    let parameters =
        Setup { request_type: CLASS_INTERFACE_IN, request: GET_NTB_PARAMETERS, value: 0, index: interface };
    let len = device.control_in(parameters, &mut bytes).await?;
    let layout = Layout::parse(bytes.get(..len).unwrap_or_default())
        .ok_or(UsbNicError::Missing { what: "NTB parameters that make sense" })?;
    // Both are what a function starts with, and optional.
    for request in [SET_NTB_FORMAT, SET_CRC_MODE] {
        set(device, Setup { request_type: CLASS_INTERFACE_OUT, request, value: 0, index: interface }, &[]).await?;
    }
    let size = layout.in_len_max.min(exchange.rx_buffer_len()).min(Bursts::RECEIVE_LEN_MAX);
    #[expect(clippy::cast_possible_truncation, reason = "at most RECEIVE_LEN_MAX")]
    let size_bytes = (size as u32).to_le_bytes();
    let setup = Setup { request_type: CLASS_INTERFACE_OUT, request: SET_NTB_INPUT_SIZE, value: 0, index: interface };
    if size < layout.in_len_max && !set(device, setup, &size_bytes).await? {
        return Err(UsbNicError::Missing { what: "a way to make its blocks smaller" });
    }
    function.select_data(device).await?;
    function.set_packet_filter(device).await?;
    let framing = NcmFraming::new(layout, size);
    exchange.attach(NicInfo { driver: NAME, mac, tx_headroom: framing.headroom() });
    if device.report_pipe(function.control).is_none() {
        // It can't tell; otherwise it says so when the cable is plugged in (7.1).
        exchange.set_link(Link::Up { speed_mbps: 0, is_full_duplex: true });
    }
    log::info!("nic: {NAME} {mac}");
    move_frames(&framing, device, &pipes, exchange, function.watch_link(device, exchange)).await
}

/// Makes a request that not every function knows; returns whether this one does.
async fn set(device: &Device<'_>, setup: Setup, data: &[u8]) -> Result<bool, UsbNicError> {
    match device.control_out(setup, data).await {
        Ok(()) => Ok(true),
        Err(TransferError::Stall) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// For the fuzz target: reads `data` as parameters of blocks; what is then put into a block is found in it.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_anything(data: &[u8]) {
    use crate::usbnet::Framing as _;
    let Some(layout) = Layout::parse(data) else { return };
    let framing = NcmFraming::new(layout, 2048);
    let mut block = [0xEE; 2048];
    let frame = framing.headroom()..framing.headroom() + 60;
    assert!(frame.end <= block.len(), "{frame:?}");
    let end = framing.wrap(&mut block, frame.clone(), 512);
    let found = WALK(block.get(..end).unwrap_or_default(), 0);
    assert!(matches!(&found, crate::burst::Piece::Frame { frame: at, .. } if *at == frame), "{found:?}");
}
