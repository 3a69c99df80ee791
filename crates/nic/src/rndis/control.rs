//! The control channel: commands to the device, their answers, and what it tells by itself.
//!
//! A command is a class request; the answer is fetched with another when the device has it. Devices announce that
//! on an interrupt endpoint, but many answer at once, and the announcement may be older than the command: so after a command the
//! answer is asked for until it is there ([MS-RNDIS] 3.1.5 allows ten seconds).

use core::convert::Infallible;

use embassy_time::{Duration, Instant, Timer};
use usb::device::{Device, Pipe};
use usb::host::TransferError;
use usb::setup::{CLASS_INTERFACE_IN, CLASS_INTERFACE_OUT, Setup};

use super::message::{Answer, CONTROL_LEN_MAX, Command, TRANSFER_LEN, kind, parse_answer};
use crate::usbnet::UsbNicError;

/// SEND_ENCAPSULATED_COMMAND and GET_ENCAPSULATED_RESPONSE (CDC 1.2, table 19).
const SEND_COMMAND: u8 = 0;
const GET_RESPONSE: u8 = 1;
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Rest between two questions whether it is there.
const ANSWER_REST: Duration = Duration::from_millis(5);
/// How often the host shows that it lives ([MS-RNDIS] 2.2.12: five seconds).
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Most messages that are fetched in a row before an answer counts as missing.
const UNSOLICITED_MAX: u32 = 32;

/// Object IDs (NDIS).
pub(super) mod oid {
    pub(in super::super) const LINK_SPEED: u32 = 0x0001_0107;
    pub(in super::super) const PACKET_FILTER: u32 = 0x0001_010E;
    pub(in super::super) const MEDIA_CONNECT_STATUS: u32 = 0x0001_0114;
    pub(in super::super) const PERMANENT_ADDRESS: u32 = 0x0101_0101;
    pub(in super::super) const CURRENT_ADDRESS: u32 = 0x0101_0102;
}

/// The control channel of a device.
pub(super) struct ControlChannel<'d, 'b> {
    device: &'d Device<'b>,
    interface: u8,
    next_request: u32,
    /// The last change of the cable that came between answers.
    media: Option<bool>,
}

impl<'d, 'b> ControlChannel<'d, 'b> {
    pub(super) fn new(device: &'d Device<'b>, interface: u8) -> Self {
        Self { device, interface, next_request: 1, media: None }
    }

    /// Starts the device: version 1.0, and how long a transfer may be.
    pub(super) async fn initialize(&mut self) -> Result<(), UsbNicError> {
        let request = self.request_id();
        let words = [kind::INITIALIZE, 0, request, 1, 0, TRANSFER_LEN as u32];
        self.command(kind::INITIALIZE, request, &Command::new(&words, &[]), &mut []).await?;
        Ok(())
    }

    /// Asks for the value of an object. Returns its length.
    pub(super) async fn query(&mut self, oid: u32, value: &mut [u8]) -> Result<usize, UsbNicError> {
        let request = self.request_id();
        // No input data, hence neither length nor offset.
        let words = [kind::QUERY, 0, request, oid, 0, 0, 0];
        self.command(kind::QUERY, request, &Command::new(&words, &[]), value).await
    }

    pub(super) async fn query_u32(&mut self, oid: u32) -> Option<u32> {
        let mut value = [0; 4];
        let len = self.query(oid, &mut value).await.ok()?;
        (len == value.len()).then_some(u32::from_le_bytes(value))
    }

    pub(super) async fn set_u32(&mut self, oid: u32, value: u32) -> Result<(), UsbNicError> {
        let request = self.request_id();
        // The value is behind the seven words; the offset counts from the third.
        let words = [kind::SET, 0, request, oid, 4, 20, 0];
        self.command(kind::SET, request, &Command::new(&words, &value.to_le_bytes()), &mut []).await?;
        Ok(())
    }

    /// Listens to what the device tells by itself, and keeps it alive.
    pub(super) async fn watch(
        mut self,
        pipe: Option<Pipe<'_>>,
        on_media: impl Fn(bool),
    ) -> Result<Infallible, UsbNicError> {
        let bus = self.device.bus();
        let mut buffer = bus.take_small_buffer();
        let mut keepalive_at = Instant::now() + KEEPALIVE;
        let error = loop {
            let heard = match &pipe {
                Some(pipe) if buffer.is_some() => pipe.interrupt(&mut buffer, Some(keepalive_at)).await.map(|_| ()),
                _ => {
                    embassy_futures::select::select(Timer::at(keepalive_at), self.device.gone()).await;
                    Err(TransferError::Timeout)
                }
            };
            let result = match heard {
                Ok(()) => self.listen().await,
                Err(TransferError::Timeout) => {
                    keepalive_at = Instant::now() + KEEPALIVE;
                    self.keep_alive().await
                }
                Err(TransferError::Stall) => match &pipe {
                    Some(pipe) => pipe.clear_halt(self.device).await.map_err(UsbNicError::from),
                    None => Ok(()),
                },
                Err(error) => Err(error.into()),
            };
            if let Some(is_connected) = self.media.take() {
                on_media(is_connected);
            }
            if let Err(error) = result {
                break error;
            }
        };
        bus.return_small_buffer(buffer);
        Err(error)
    }

    async fn keep_alive(&mut self) -> Result<(), UsbNicError> {
        let request = self.request_id();
        self.command(kind::KEEPALIVE, request, &Command::new(&[kind::KEEPALIVE, 0, request], &[]), &mut []).await?;
        Ok(())
    }

    /// Fetches what the device announced.
    async fn listen(&mut self) -> Result<(), UsbNicError> {
        let mut bytes = [0; CONTROL_LEN_MAX];
        let len = self.fetch(&mut bytes).await?;
        if let Some(answer) = parse_answer(bytes.get(..len).unwrap_or_default()) {
            self.take_unsolicited(answer).await?;
        }
        Ok(())
    }

    /// Sends a command and waits for its answer; returns how much information came into `information`.
    async fn command(
        &mut self,
        kind: u32,
        request: u32,
        command: &Command,
        information: &mut [u8],
    ) -> Result<usize, UsbNicError> {
        self.send(command).await?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut unsolicited = 0;
        loop {
            let mut bytes = [0; CONTROL_LEN_MAX];
            let len = self.fetch(&mut bytes).await?;
            match parse_answer(bytes.get(..len).unwrap_or_default()) {
                Some(Answer::Completion { kind: of, request: id, status, information: from })
                    if (of, id) == (kind, request) =>
                {
                    if status != 0 {
                        return Err(UsbNicError::Refused { command: kind, status });
                    }
                    let len = from.len().min(information.len());
                    if let (Some(to), Some(from)) = (information.get_mut(..len), from.get(..len)) {
                        to.copy_from_slice(from);
                    }
                    return Ok(len);
                }
                Some(answer) if unsolicited < UNSOLICITED_MAX => {
                    unsolicited += 1;
                    self.take_unsolicited(answer).await?;
                }
                _ if Instant::now() >= deadline => return Err(UsbNicError::Silent { command: kind }),
                _ => Timer::after(ANSWER_REST).await,
            }
        }
    }

    async fn take_unsolicited(&mut self, answer: Answer<'_>) -> Result<(), UsbNicError> {
        match answer {
            Answer::Media { is_connected } => self.media = Some(is_connected),
            Answer::KeepAlive { request } => {
                self.send(&Command::new(&[kind::KEEPALIVE | kind::COMPLETION, 0, request, 0], &[])).await?;
            }
            // An answer to a command that was given up.
            Answer::Completion { .. } | Answer::Other => {}
        }
        Ok(())
    }

    async fn send(&self, command: &Command) -> Result<(), UsbNicError> {
        Ok(self.device.control_out(self.setup(CLASS_INTERFACE_OUT, SEND_COMMAND), command.bytes()).await?)
    }

    /// Fetches a message; 0 or 1 bytes when there is none.
    async fn fetch(&self, bytes: &mut [u8]) -> Result<usize, UsbNicError> {
        match self.device.control_in(self.setup(CLASS_INTERFACE_IN, GET_RESPONSE), bytes).await {
            // Some devices refuse while they have no answer.
            Err(TransferError::Stall) => Ok(0),
            other => Ok(other?),
        }
    }

    fn setup(&self, request_type: u8, request: u8) -> Setup {
        Setup { request_type, request, value: 0, index: u16::from(self.interface) }
    }

    fn request_id(&mut self) -> u32 {
        let request = self.next_request;
        // 0 would be a request that needs no answer.
        self.next_request = self.next_request.checked_add(1).unwrap_or(1);
        request
    }
}
