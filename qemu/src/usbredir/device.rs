//! The device behind a usbredir connection: a pure state machine around a model.
//!
//! A bulk transfer that the model answers with "nothing now" is held until it has something, so nobody polls. An interrupt
//! endpoint is asked on the guest's behalf, as the protocol wants it.
//!
//! When what is held ends is decided by QEMU's DWC2 (10.0.2, hw/usb/hcd-dwc2.c), which never forgets a transfer. When one ends
//! whose device has no longer the address that it was meant for, or is gone, QEMU ends with an assertion (`usb_ep_get` from
//! `dwc2_async_packet_complete`); and when its channel is used again while it has not ended, with another one
//! (`usb_packet_setup`). A reset of the port or of the whole board must therefore find nothing under way, and nobody is asked
//! before it. So nothing is held for longer than a guest waits before it resets: a bulk IN transfer ends empty, as real devices
//! end theirs, and is at once asked for again by a guest that is alive.

use std::collections::VecDeque;

use usb_models::device::{Answer, endpoints, get_descriptor};
use usb_models::nic::{NicModel, UsbSpeed};

use super::{Capabilities, Message, Parser, ProtocolError, Status, capability, kind, write_hello};

/// While an interrupt endpoint has the same to say, it is asked this rarely: the guest's queue of answers is long, and what
/// it reads late would be about the past.
const INTERRUPT_REPEAT_US: u64 = 50_000;
/// A bulk IN transfer with nothing to say ends after so long, empty: sooner than a node that is about to restart waits (50 ms,
/// `settle` in kernel/src/cpu/fault.rs).
const BULK_IN_HOLD_US: u64 = 10_000;
/// What else is not answered ends with an error: later than the guest waits (500 ms per stage of a control request, a second for
/// the device to take frames), and before it has the port reset.
const CONTROL_HOLD_US: u64 = 550_000;
const BULK_OUT_HOLD_US: u64 = 1_500_000;
/// The model's interrupt endpoint, and the most that it sends at once.
const INTERRUPT_LEN: usize = 16;

/// A transfer that waits for the model.
#[derive(Debug)]
enum Held {
    Control { id: u64, setup: [u8; 8], data: Vec<u8>, until_us: u64 },
    Bulk { id: u64, endpoint: u8, len: u32, data: Vec<u8>, until_us: u64 },
}

impl Held {
    fn id(&self) -> u64 {
        match self {
            Self::Control { id, .. } | Self::Bulk { id, .. } => *id,
        }
    }

    /// When it ends, if the model has no answer until then.
    fn until_us(&self) -> u64 {
        match self {
            Self::Control { until_us, .. } | Self::Bulk { until_us, .. } => *until_us,
        }
    }

    /// Transfers of one endpoint end in their order.
    fn endpoint(&self) -> u8 {
        match self {
            Self::Control { .. } => 0,
            Self::Bulk { endpoint, .. } => *endpoint,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plug {
    /// Announced to the guest.
    In,
    /// Pulled out; the guest has not confirmed it.
    GoingOut,
    Out,
}

/// A device behind a connection.
pub(crate) struct Device {
    nic: Box<dyn NicModel>,
    speed: UsbSpeed,
    parser: Parser,
    plug: Plug,
    is_wanted: bool,
    configuration: u8,
    held: VecDeque<Held>,
    /// What is left of a burst that was longer than the transfer; empty for the empty packet at its end.
    rest: Option<Vec<u8>>,
    interrupt: Option<Interrupt>,
    was_rejected: bool,
    /// The guest began a transfer before it knew that the device is gone: QEMU has it under way for ever.
    left_one: bool,
    /// Nothing is answered: the device is about to go.
    is_frozen: bool,
    now_us: u64,
    out: Vec<u8>,
}

#[derive(Debug, Default)]
struct Interrupt {
    endpoint: u8,
    last: Vec<u8>,
    /// When the same may be said again.
    repeat_us: u64,
}

impl Device {
    /// Makes a connection's side of `nic`. The hello is ready to be sent.
    pub(crate) fn new(nic: Box<dyn NicModel>, speed: UsbSpeed, is_plugged: bool) -> Self {
        let mut out = Vec::new();
        write_hello(&mut out);
        Self {
            nic,
            speed,
            parser: Parser::default(),
            plug: Plug::Out,
            is_wanted: is_plugged,
            configuration: 0,
            held: VecDeque::new(),
            rest: None,
            interrupt: None,
            was_rejected: false,
            left_one: false,
            is_frozen: false,
            now_us: 0,
            out,
        }
    }

    pub(crate) fn nic(&mut self) -> &mut dyn NicModel {
        &mut *self.nic
    }

    /// Returns what is to be sent to the guest; the caller removes what it has sent.
    pub(crate) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Returns whether the device shall be on the guest's bus.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Returns whether the guest has the device on its bus.
    pub(crate) fn is_plugged(&self) -> bool {
        self.plug == Plug::In
    }

    /// Returns whether the guest knows that the device is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.plug == Plug::Out
    }

    /// Returns whether the guest refused the device, for instance because of its speed.
    pub(crate) fn was_rejected(&self) -> bool {
        self.was_rejected
    }

    /// Returns whether QEMU still has a transfer under way for a device that is gone: then it fails an assertion when the guest
    /// forgets that the channel is in use, as it does in a reset.
    pub(crate) fn left_one(&self) -> bool {
        self.left_one
    }

    /// Answers nothing any more until the device is pulled out.
    pub(crate) fn freeze(&mut self) {
        self.is_frozen = true;
    }

    /// Plugs the device in, or pulls it out, whatever is under way.
    pub(crate) fn plug(&mut self, is_in: bool) {
        self.is_wanted = is_in;
        self.is_frozen = false;
        let Some(both) = self.parser.capabilities() else { return };
        match (self.plug, is_in) {
            (Plug::In, false) => {
                self.end_held(both);
                self.nic.on_reset();
                self.forget();
                both.write(&mut self.out, kind::DEVICE_DISCONNECT, 0, &[]);
                self.plug = if both.has(capability::DEVICE_DISCONNECT_ACK) { Plug::GoingOut } else { Plug::Out };
            }
            (Plug::Out, true) => self.connect(both),
            _ => {}
        }
    }

    /// Takes bytes of the guest.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.parser.push(bytes);
        while let Some(message) = self.parser.next()? {
            if let Some(both) = self.parser.capabilities() {
                self.on_message(both, message);
            }
        }
        Ok(())
    }

    /// Lets time pass: what was held may end now. Returns when to be called again at the latest.
    pub(crate) fn advance(&mut self, now_us: u64) -> Option<u64> {
        self.now_us = now_us;
        let next = self.nic.on_time(now_us).filter(|next| *next > now_us);
        let Some(both) = self.parser.capabilities().filter(|_| self.is_plugged()) else { return next };
        self.serve(both);
        let expiry = self.expire(both);
        let repeat = self.ask_interrupt(both, now_us);
        [next, expiry, repeat].into_iter().flatten().min()
    }

    fn on_message(&mut self, both: Capabilities, message: Message) {
        match message {
            Message::Hello if self.is_wanted => self.connect(both),
            Message::DisconnectAck => {
                self.plug = Plug::Out;
                if self.is_wanted {
                    self.connect(both);
                }
            }
            Message::Rejected => {
                self.was_rejected = true;
                self.plug = Plug::Out;
            }
            // The guest did not know yet that the device is gone.
            Message::Control { .. } | Message::Bulk { .. } if !self.is_plugged() => self.left_one = true,
            _ if !self.is_plugged() => {}
            Message::Reset => {
                // Too late for what is still held, see above.
                self.nic.on_reset();
                self.forget();
            }
            Message::SetConfiguration { id, value } => self.set_configuration(both, id, value),
            Message::GetConfiguration { id } => self.tell_configuration(both, id, Status::Success),
            Message::SetAltSetting { id, interface, alt } => {
                let status = if (interface, alt) == (0, 0) { Status::Success } else { Status::Stall };
                if status == Status::Success {
                    self.write_endpoints(both);
                }
                both.write(&mut self.out, kind::ALT_SETTING_STATUS, id, &[&[status as u8, interface, alt]]);
            }
            Message::GetAltSetting { id, interface } => {
                let status = [Status::Success as u8, interface, 0];
                both.write(&mut self.out, kind::ALT_SETTING_STATUS, id, &[&status]);
            }
            Message::StartInterrupt { id, endpoint } => {
                let known = endpoints(&*self.nic, self.configuration);
                let exists = known.iter().any(|found| found.address == endpoint && found.kind == 3);
                self.interrupt = exists.then(|| Interrupt { endpoint, ..Interrupt::default() });
                let status = if exists { Status::Success } else { Status::Invalid };
                both.write(&mut self.out, kind::INTERRUPT_STATUS, id, &[&[status as u8, endpoint]]);
            }
            Message::StopInterrupt { id, endpoint } => {
                self.interrupt = None;
                both.write(&mut self.out, kind::INTERRUPT_STATUS, id, &[&[Status::Success as u8, endpoint]]);
            }
            Message::Cancel { id } => {
                if let Some(at) = self.held.iter().position(|held| held.id() == id)
                    && let Some(held) = self.held.remove(at)
                {
                    self.answer(both, &held, Status::Cancelled, &[]);
                }
            }
            Message::Control { id, endpoint: _, setup, data } => {
                self.held.push_back(Held::Control { id, setup, data, until_us: self.now_us + CONTROL_HOLD_US });
                self.serve(both);
            }
            Message::Bulk { id, endpoint, len, data } => {
                let hold_us = if endpoint & 0x80 == 0 { BULK_OUT_HOLD_US } else { BULK_IN_HOLD_US };
                self.held.push_back(Held::Bulk { id, endpoint, len, data, until_us: self.now_us + hold_us });
                self.serve(both);
            }
            Message::Hello | Message::Other { .. } => {}
        }
    }

    /// Ends whatever waits.
    fn end_held(&mut self, both: Capabilities) {
        for held in std::mem::take(&mut self.held) {
            self.answer(both, &held, Status::Cancelled, &[]);
        }
    }

    /// Ends what was held for too long. Returns when the next one is due.
    fn expire(&mut self, both: Capabilities) -> Option<u64> {
        if self.is_frozen {
            return None;
        }
        while let Some(at) = self.held.iter().position(|held| held.until_us() <= self.now_us)
            && let Some(held) = self.held.remove(at)
        {
            let is_bulk_in = held.endpoint() & 0x80 != 0;
            self.answer(both, &held, if is_bulk_in { Status::Success } else { Status::Failed }, &[]);
        }
        self.held.iter().map(Held::until_us).min()
    }

    /// Forgets what was under way.
    fn forget(&mut self) {
        self.configuration = 0;
        self.held.clear();
        self.rest = None;
        self.interrupt = None;
    }

    fn connect(&mut self, both: Capabilities) {
        self.forget();
        self.write_endpoints(both);
        let descriptor = self.nic.device_descriptor();
        let speed = match self.speed {
            UsbSpeed::Full => 1,
            UsbSpeed::High => 2,
        };
        // Class, vendor, product and version lie in the descriptor as they go into the message.
        let version = if both.has(capability::CONNECT_DEVICE_VERSION) { &descriptor[12..14] } else { &[] };
        let parts: [&[u8]; 4] = [&[speed], &descriptor[4..7], &descriptor[8..12], version];
        both.write(&mut self.out, kind::DEVICE_CONNECT, 0, &parts);
        self.plug = Plug::In;
    }

    /// Tells the guest the endpoints and interfaces of the configuration; of the first one while none is selected.
    fn write_endpoints(&mut self, both: Capabilities) {
        const NONE: u8 = 255;
        let value = self.configuration.max(1);
        let (mut kinds, mut intervals, mut interfaces, mut sizes) = ([NONE; 32], [0; 32], [0; 32], [0; 64]);
        // Endpoint 0, both ways, is there in every configuration.
        for index in [0, 16] {
            kinds[index] = 0;
            sizes[2 * index] = 64;
        }
        for endpoint in endpoints(&*self.nic, value) {
            let index = usize::from(endpoint.address & 15 | (endpoint.address & 0x80) >> 3);
            kinds[index] = endpoint.kind;
            intervals[index] = endpoint.interval;
            interfaces[index] = endpoint.interface;
            sizes[2 * index..2 * index + 2].copy_from_slice(&endpoint.max_packet.to_le_bytes());
        }
        let sizes = if both.has(capability::EP_INFO_MAX_PACKET_SIZE) { &sizes[..] } else { &[] };
        both.write(&mut self.out, kind::EP_INFO, 0, &[&kinds, &intervals, &interfaces, sizes]);
        // One interface, of the vendor's class.
        let mut info = 1_u32.to_le_bytes().to_vec();
        for first in [0, 0xFF, 0, 0xFF] {
            let mut column = [0; 32];
            column[0] = first;
            info.extend(column);
        }
        both.write(&mut self.out, kind::INTERFACE_INFO, 0, &[&info]);
    }

    fn set_configuration(&mut self, both: Capabilities, id: u64, value: u8) {
        let exists = value == 0 || self.nic.configurations().iter().any(|bytes| bytes.get(5) == Some(&value));
        if !exists {
            return self.tell_configuration(both, id, Status::Stall);
        }
        self.end_held(both);
        self.forget();
        self.configuration = value;
        self.nic.on_configured(value);
        self.write_endpoints(both);
        self.tell_configuration(both, id, Status::Success);
    }

    fn tell_configuration(&mut self, both: Capabilities, id: u64, status: Status) {
        both.write(&mut self.out, kind::CONFIGURATION_STATUS, id, &[&[status as u8, self.configuration]]);
    }

    /// Ends what can be ended of what is held.
    fn serve(&mut self, both: Capabilities) {
        if self.is_frozen {
            return;
        }
        let mut waiting = VecDeque::new();
        let mut blocked = Vec::new();
        while let Some(mut held) = self.held.pop_front() {
            let endpoint = held.endpoint();
            if blocked.contains(&endpoint) {
                waiting.push_back(held);
                continue;
            }
            match self.attempt(&mut held) {
                Answer::Data(data) => self.answer(both, &held, Status::Success, &data),
                Answer::Stall => self.answer(both, &held, Status::Stall, &[]),
                Answer::Nak => {
                    blocked.push(endpoint);
                    waiting.push_back(held);
                }
            }
        }
        self.held = waiting;
    }

    fn attempt(&mut self, held: &mut Held) -> Answer {
        match held {
            Held::Control { setup, data, .. } => {
                let len = usize::from(u16::from_le_bytes([setup[6], setup[7]]));
                let is_descriptor = (setup[0], setup[1]) == (0x80, 6);
                // A halted endpoint that is cleared starts with a new transfer.
                if (setup[0], setup[1]) == (2, 1) {
                    self.rest = None;
                }
                let mut answer =
                    if is_descriptor { get_descriptor(&*self.nic, *setup) } else { self.nic.on_request(*setup, data) };
                if let Answer::Data(bytes) = &mut answer {
                    bytes.truncate(len);
                }
                answer
            }
            Held::Bulk { endpoint, len, data, .. } if *endpoint & 0x80 == 0 => {
                debug_assert_eq!(data.len(), *len as usize, "the parser compares them");
                self.nic.on_out(*endpoint, data)
            }
            Held::Bulk { endpoint, len, .. } => self.bulk_in(*endpoint, *len as usize),
        }
    }

    fn bulk_in(&mut self, endpoint: u8, len: usize) -> Answer {
        let mut data = match self.rest.take() {
            Some(rest) => rest,
            None => match self.nic.on_in(endpoint, len) {
                Answer::Data(data) => data,
                other => return other,
            },
        };
        let rest = data.split_off(data.len().min(len));
        let is_full = !data.is_empty() && data.len().is_multiple_of(self.speed.bulk_packet().into());
        if !rest.is_empty() || is_full && self.nic.ends_with_empty_packet() {
            self.rest = Some(rest);
        }
        Answer::Data(data)
    }

    /// Answers a transfer. `data` is what came from the device.
    fn answer(&mut self, both: Capabilities, held: &Held, status: Status, data: &[u8]) {
        let status = status as u8;
        match held {
            Held::Control { id, setup, data: sent, .. } => {
                let is_in = setup[0] & 0x80 != 0;
                let moved = if is_in { data.len() } else { sent.len() } as u16;
                let [l0, l1] = moved.to_le_bytes();
                let [kind, request, v0, v1, i0, i1, ..] = *setup;
                let header = [setup[0] & 0x80, request, kind, status, v0, v1, i0, i1, l0, l1];
                let data = if is_in { data } else { &[] };
                both.write(&mut self.out, kind::CONTROL_PACKET, *id, &[&header, data]);
            }
            Held::Bulk { id, endpoint, len, .. } => {
                let is_in = endpoint & 0x80 != 0;
                let moved = match (is_in, status == Status::Success as u8) {
                    (true, _) => data.len() as u32,
                    (false, true) => *len,
                    (false, false) => 0,
                };
                let [l0, l1, h0, h1] = moved.to_le_bytes();
                let header = [*endpoint, status, l0, l1, 0, 0, 0, 0, h0, h1];
                let header = &header[..both.bulk_header_len()];
                both.write(&mut self.out, kind::BULK_PACKET, *id, &[header, data]);
            }
        }
    }

    /// Asks the interrupt endpoint. Returns when it has to be asked again.
    fn ask_interrupt(&mut self, both: Capabilities, now_us: u64) -> Option<u64> {
        let interrupt = self.interrupt.as_mut()?;
        // Asked again though nothing changed, it would say the same.
        match self.nic.on_in(interrupt.endpoint, INTERRUPT_LEN) {
            Answer::Nak => {
                interrupt.last.clear();
                None
            }
            Answer::Data(data) => {
                if data != interrupt.last || now_us >= interrupt.repeat_us {
                    let [l0, l1] = (data.len() as u16).to_le_bytes();
                    let header = [interrupt.endpoint, Status::Success as u8, l0, l1];
                    both.write(&mut self.out, kind::INTERRUPT_PACKET, 0, &[&header, &data]);
                    interrupt.last = data;
                    interrupt.repeat_us = now_us + INTERRUPT_REPEAT_US;
                }
                Some(interrupt.repeat_us)
            }
            Answer::Stall => {
                let status = [Status::Stall as u8, interrupt.endpoint];
                both.write(&mut self.out, kind::INTERRUPT_STATUS, 0, &[&status]);
                self.interrupt = None;
                None
            }
        }
    }
}
