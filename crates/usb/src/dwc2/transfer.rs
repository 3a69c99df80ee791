//! How one transfer goes on a channel: what to program, and what each halt means. No registers are touched here.
//!
//! The order in which the bits of a halt are looked at is that of Linux `dwc2_hc_chhltd_intr_dma`, but for what ends a transfer:
//! that comes before what is tried again.

use embassy_time::Duration;
use rpi_pac::dwc2::{Hcchar, Hcint};

use super::identity::Identity;
use super::split::{Split, Step};
use crate::host::{Direction, Endpoint, Kind, Pid, Speed, TransferError};

/// Attempts without a valid answer after which a transfer fails (USB 2.0, 5.8.5: three).
const STRIKES: u8 = 3;
/// Rest after an attempt without a valid answer: a frame, so that a device that is being unplugged is noticed first.
const STRIKE_REST: Duration = Duration::from_millis(1);
/// A microframe.
const MICROFRAME: Duration = Duration::from_micros(125);
/// The largest values of HCTSIZ.XFERSIZE and PKTCNT (19 and 10 bits: GHWCFG3 of the BCM2835; Linux `dwc2_set_bcm_params`
/// uses 65,535 and 511, which is more than any buffer here).
const XFERSIZE_MAX: usize = 65_535;
const PKTCNT_MAX: usize = 511;
/// The largest value of HCCHAR.MPS.
const MPS_MAX: usize = 0x7FF;

/// What to write into a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// HCCHAR without the enable bits.
    pub hcchar: Hcchar,
    /// HCTSIZ.
    pub hctsiz: u32,
    /// HCSPLT.
    pub hcsplt: u32,
    /// Where in the buffer the data is.
    pub offset: usize,
    /// Whether it belongs to one frame.
    pub is_periodic: bool,
}

/// What comes after a halt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The transfer is over.
    Done(Result<usize, TransferError>),
    /// Program and enable again, at once.
    Again,
    /// The same after a rest.
    AgainAfter(Duration),
    /// The device has nothing, or no room: ask again when [`super::pace`] says so.
    AgainWhenDue,
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    endpoint: Endpoint,
    pid: Pid,
    /// Bytes to move in all.
    len: usize,
    /// Bytes moved.
    done: usize,
    /// Bytes and packets that the channel was last programmed for.
    programmed: (usize, usize),
    /// Packet size that the channel is told.
    max_packet: usize,
    strikes: u8,
    /// The device asked to be pinged before it gets more (high speed, OUT).
    is_ping_due: bool,
    split: Option<Split>,
    is_emulator: bool,
}

impl Progress {
    /// Begins a transfer of `len` bytes.
    #[must_use]
    pub fn new(endpoint: Endpoint, pid: Pid, len: usize, identity: Identity) -> Self {
        // This is where speed, class and controller decide the shape of transfers:
        // - the emulator moves whole transfers, whatever the packets of the device (see `Identity::is_emulator`);
        // - a slower device behind a high-speed hub gets one split transaction per packet;
        // - otherwise the channel gets the whole transfer and the core cuts it into packets.
        let max_packet =
            if identity.is_emulator { MPS_MAX } else { usize::from(endpoint.max_packet).clamp(1, MPS_MAX) };
        let split = if identity.is_emulator {
            None
        } else {
            endpoint.translator.map(|translator| Split::new(translator, endpoint.kind))
        };
        Self {
            endpoint,
            pid,
            len,
            done: 0,
            programmed: (0, 0),
            max_packet,
            strikes: 0,
            is_ping_due: false,
            split,
            is_emulator: identity.is_emulator,
        }
    }

    /// Returns how long the buffer must be: what is received is received in whole packets.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        let is_whole_packets = self.is_in() && !self.is_emulator;
        if is_whole_packets { self.len.next_multiple_of(self.max_packet) } else { self.len }
    }

    /// Returns the device's address.
    #[must_use]
    pub fn address(&self) -> u8 {
        self.endpoint.address
    }

    /// Returns whether data comes from the device.
    #[must_use]
    pub fn is_in(&self) -> bool {
        self.endpoint.direction == Direction::In
    }

    /// Returns which way the data of a bulk transfer goes.
    #[must_use]
    pub fn bulk_direction(&self) -> Option<Direction> {
        (self.endpoint.kind == Kind::Bulk).then_some(self.endpoint.direction)
    }

    /// Returns the PID of the endpoint's next packet.
    #[must_use]
    pub fn next_pid(&self) -> Pid {
        self.pid
    }

    /// Returns what to write into the channel for what is left.
    pub fn program(&mut self) -> Program {
        let left = self.len - self.done;
        let (size, packets) = if self.split.is_some() {
            (left.min(self.max_packet), 1)
        } else {
            let packets = left.div_ceil(self.max_packet).clamp(1, PKTCNT_MAX);
            (left.min(packets * self.max_packet), packets)
        };
        // Receiving needs room for whole packets; the buffer has it.
        let size = if self.is_in() && !self.is_emulator { packets * self.max_packet } else { size };
        let size = size.min(XFERSIZE_MAX);
        self.programmed = (size, packets);
        // The data of a complete-split has gone with its start-split: what is told a size waits for data that never comes
        // (Linux `dwc2_hc_start_transfer`; what has moved is the start-split's: `dwc2_get_actual_xfer_length`).
        let is_complete_split = self.split.is_some_and(|split| split.is_complete());
        let size = if is_complete_split && !self.is_in() { 0 } else { size };
        let ping = if self.is_ping_due && !self.is_in() { 1 << 31 } else { 0 };
        #[expect(clippy::cast_possible_truncation, reason = "both are limited by the constants above")]
        let hctsiz = size as u32 | (packets as u32) << 19 | pid_bits(self.pid) << 29 | ping;
        Program {
            hcchar: self.hcchar(),
            hctsiz,
            hcsplt: self.split.map_or(0, |split| split.hcsplt()),
            offset: self.done,
            is_periodic: matches!(self.endpoint.kind, Kind::Interrupt | Kind::Isochronous),
        }
    }

    /// Returns whether [`on_halt`](Self::on_halt) will look at HCTSIZ.
    ///
    /// The emulator has no data toggles and sends all or nothing, so that a sent frame costs one access less.
    #[must_use]
    pub fn needs_hctsiz(&self, hcint: Hcint) -> bool {
        let is_plain = hcint == Hcint::HALTED | Hcint::COMPLETE || hcint == Hcint::HALTED | Hcint::NAK;
        !(self.is_emulator && is_plain && (!self.is_in() || hcint.contains(Hcint::NAK) && !self.can_have_more_rounds()))
    }

    /// Takes in how the channel halted, and what is left in HCTSIZ.
    pub fn on_halt(&mut self, hcint: Hcint, hctsiz: u32) -> Next {
        if let Some(split) = &mut self.split {
            match split.on_halt(hcint) {
                Step::Next => return Next::Again,
                Step::NextMicroframe => return Next::AgainAfter(MICROFRAME),
                Step::Lost => return self.strike(hcint),
                Step::Over => {}
            }
        }
        if hcint.contains(Hcint::COMPLETE) {
            return self.on_complete(hctsiz);
        }
        if hcint.contains(Hcint::STALL) {
            return Next::Done(Err(TransferError::Stall));
        }
        if hcint.contains(Hcint::BABBLE) {
            return Next::Done(Err(TransferError::Babble));
        }
        if hcint.contains(Hcint::AHB_ERROR) {
            return Next::Done(Err(TransferError::Dma { hcint: hcint.bits() }));
        }
        if hcint.intersects(Hcint::TRANSACTION_ERROR | Hcint::TOGGLE_ERROR) {
            self.note_moved(hcint, hctsiz);
            if self.split.is_none() && hcint.intersects(Hcint::ACK | Hcint::NAK | Hcint::NYET) {
                // The device has answered since the channel was enabled, perhaps for hours, as an idle one does: these
                // errors do not add up (Linux `dwc2_hc_chhltd_intr_dma`, `dwc2_hc_nak_intr`: error_count = 0).
                self.strikes = 0;
            }
            return self.strike(hcint);
        }
        let is_unexplained = !hcint.intersects(Hcint::ACK | Hcint::NAK | Hcint::NYET);
        let is_unsplit_interrupt = self.endpoint.kind == Kind::Interrupt && self.split.is_none();
        if is_unsplit_interrupt && (is_unexplained || hcint.contains(Hcint::FRAME_OVERRUN)) {
            // It did not fit its frame. The core says so, or nothing at all (Linux `dwc2_hc_chhltd_intr_dma`: "assume
            // incomplete periodic transfer"). Nothing has moved: it is asked again at its interval.
            return Next::Done(Err(TransferError::Nak));
        }
        if hcint.intersects(Hcint::NYET | Hcint::NAK) {
            return self.on_flow_control(hcint, hctsiz);
        }
        if hcint.contains(Hcint::FRAME_OVERRUN) {
            return Next::AgainAfter(MICROFRAME);
        }
        // Halted for no reason that is known: Linux has seen that, too, and tries again.
        self.strike(hcint)
    }

    fn on_complete(&mut self, hctsiz: u32) -> Next {
        self.strikes = 0;
        self.is_ping_due = false;
        let moved = if self.is_in() { self.programmed.0.saturating_sub(xfersize(hctsiz)) } else { self.programmed.0 };
        let is_short = self.is_in() && moved < self.programmed.0;
        self.take_pid(hctsiz);
        self.done = (self.done + moved).min(self.len);
        if is_short || self.done >= self.len { Next::Done(Ok(self.done)) } else { Next::Again }
    }

    /// NAK or NYET.
    fn on_flow_control(&mut self, hcint: Hcint, hctsiz: u32) -> Next {
        self.note_moved(hcint, hctsiz);
        self.strikes = 0;
        if self.is_in() && self.done > 0 && self.split.is_none() {
            // The emulator ends a transfer of several rounds like this when the device has no more. On silicon the core
            // does not halt a bulk transfer for a NAK.
            return Next::Done(Ok(self.done));
        }
        if !self.is_in() && self.done >= self.len && self.len > 0 {
            // NYET took the last packet and asks to be pinged before the next one.
            return Next::Done(Ok(self.done));
        }
        if self.endpoint.kind == Kind::Interrupt {
            return Next::Done(Err(TransferError::Nak));
        }
        self.is_ping_due = !self.is_in() && self.endpoint.speed == Speed::High && self.pid != Pid::Setup;
        Next::AgainWhenDue
    }

    /// Counts what moved before a halt that is not the end.
    fn note_moved(&mut self, hcint: Hcint, hctsiz: u32) {
        let (size, packets) = self.programmed;
        let moved = if self.is_emulator && !self.is_in() {
            0
        } else if self.is_in() {
            if self.needs_hctsiz(hcint) { size.saturating_sub(xfersize(hctsiz)) } else { 0 }
        } else {
            // XFERSIZE counts what left memory, PKTCNT what the device took (Linux `dwc2_get_actual_xfer_length`).
            let taken = packets.saturating_sub((hctsiz >> 19 & 0x3FF) as usize);
            (taken * self.max_packet).min(size)
        };
        if moved > 0 {
            self.strikes = 0;
            self.take_pid(hctsiz);
            self.done = (self.done + moved).min(self.len);
        }
    }

    /// The core keeps the toggle in HCTSIZ: after a halt it is that of the next packet.
    fn take_pid(&mut self, hctsiz: u32) {
        if self.is_emulator || self.pid == Pid::Setup {
            return;
        }
        self.pid = if hctsiz >> 29 & 3 == pid_bits(Pid::Data1) { Pid::Data1 } else { Pid::Data0 };
    }

    fn strike(&mut self, hcint: Hcint) -> Next {
        self.strikes += 1;
        if let Some(split) = &mut self.split {
            split.restart();
        }
        if self.strikes >= STRIKES {
            return Next::Done(Err(TransferError::Transaction { hcint: hcint.bits() }));
        }
        Next::AgainAfter(STRIKE_REST)
    }

    /// On the emulator: whether a NAK may end a transfer of which a part was already received, which takes a round that
    /// filled whole packets of `MPS_MAX` without filling the buffer.
    fn can_have_more_rounds(&self) -> bool {
        self.len > MPS_MAX
    }

    fn hcchar(&self) -> Hcchar {
        let Endpoint { address, number, kind, speed, .. } = self.endpoint;
        // To the emulator everything but a setup packet is an interrupt endpoint: see `Identity::is_emulator`.
        let kind = if self.is_emulator && self.pid != Pid::Setup { Kind::Interrupt } else { kind };
        #[expect(clippy::cast_possible_truncation, reason = "at most 0x7FF")]
        let fields = self.max_packet as u32
            | u32::from(number & 15) << 11
            | (kind as u32) << 18
            | u32::from(address & 0x7F) << 22;
        let mut hcchar = Hcchar::from_bits_retain(fields) | Hcchar::MULTI_1;
        hcchar.set(Hcchar::IN, self.is_in());
        // Tells the core to send a preamble or, in a split, the hub what to expect.
        hcchar.set(Hcchar::LOW_SPEED, speed == Speed::Low);
        hcchar
    }
}

/// The PID in bits 30:29 of HCTSIZ (Linux `hw.h`: TSIZ_SC_MC_PID).
fn pid_bits(pid: Pid) -> u32 {
    match pid {
        Pid::Data0 => 0,
        Pid::Data1 => 2,
        Pid::Setup => 3,
    }
}

fn xfersize(hctsiz: u32) -> usize {
    (hctsiz & 0x7_FFFF) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Translator;

    const SILICON: Identity = Identity { channels: 8, has_dma: true, is_emulator: false };
    const EMULATOR: Identity = Identity { channels: 8, has_dma: true, is_emulator: true };

    fn endpoint(kind: Kind, direction: Direction, max_packet: u16) -> Endpoint {
        Endpoint { address: 5, number: 2, direction, kind, max_packet, speed: Speed::High, translator: None }
    }

    /// What HCTSIZ holds when `size` bytes and `packets` are left and the next packet has this PID.
    fn left(size: u32, packets: u32, pid: Pid) -> u32 {
        size | packets << 19 | pid_bits(pid) << 29
    }

    #[test]
    fn a_receive_is_programmed_in_whole_packets() {
        let mut progress = Progress::new(endpoint(Kind::Bulk, Direction::In, 512), Pid::Data1, 1600, SILICON);
        assert_eq!(progress.buffer_len(), 2048);
        let program = progress.program();
        assert_eq!(program.hctsiz, left(2048, 4, Pid::Data1));
        assert_eq!(program.hcchar.bits(), 512 | 2 << 11 | 1 << 15 | 2 << 18 | 1 << 20 | 5 << 22);
        assert_eq!(program.hcsplt, 0);
    }

    #[test]
    fn a_short_packet_ends_a_receive_and_the_toggle_is_the_cores() {
        let mut progress = Progress::new(endpoint(Kind::Bulk, Direction::In, 512), Pid::Data0, 2048, SILICON);
        let _ = progress.program();
        let next = progress.on_halt(Hcint::HALTED | Hcint::COMPLETE | Hcint::ACK, left(2048 - 600, 2, Pid::Data0));
        assert_eq!(next, Next::Done(Ok(600)));
        assert_eq!(progress.next_pid(), Pid::Data0);
    }

    #[test]
    fn a_send_without_data_is_one_packet() {
        let mut progress = Progress::new(endpoint(Kind::Control, Direction::Out, 64), Pid::Data1, 0, SILICON);
        assert_eq!(progress.program().hctsiz, left(0, 1, Pid::Data1));
        assert_eq!(progress.on_halt(Hcint::HALTED | Hcint::COMPLETE, left(0, 0, Pid::Data0)), Next::Done(Ok(0)));
    }

    #[test]
    fn three_strikes_fail_a_transfer_and_progress_forgives_them() {
        let error = Hcint::HALTED | Hcint::TRANSACTION_ERROR;
        let mut progress = Progress::new(endpoint(Kind::Bulk, Direction::Out, 512), Pid::Data0, 1024, SILICON);
        for _ in 0..2 {
            let _ = progress.program();
            assert_eq!(progress.on_halt(error, left(1024, 2, Pid::Data0)), Next::AgainAfter(STRIKE_REST));
        }
        // One packet gets through: the count starts again, behind that packet and with its toggle.
        let _ = progress.program();
        assert_eq!(progress.on_halt(error, left(512, 1, Pid::Data1)), Next::AgainAfter(STRIKE_REST));
        let program = progress.program();
        assert_eq!((program.offset, program.hctsiz), (512, left(512, 1, Pid::Data1)));
        assert_eq!(progress.on_halt(error, left(512, 1, Pid::Data1)), Next::AgainAfter(STRIKE_REST));
        let _ = progress.program();
        let failed = TransferError::Transaction { hcint: error.bits() };
        assert_eq!(progress.on_halt(error, left(512, 1, Pid::Data1)), Next::Done(Err(failed)));
    }

    #[test]
    fn each_error_has_its_name() {
        for (bit, error) in [
            (Hcint::STALL, TransferError::Stall),
            (Hcint::BABBLE, TransferError::Babble),
            (Hcint::AHB_ERROR, TransferError::Dma { hcint: 6 }),
        ] {
            let mut progress = Progress::new(endpoint(Kind::Bulk, Direction::In, 512), Pid::Data0, 512, SILICON);
            let _ = progress.program();
            assert_eq!(progress.on_halt(Hcint::HALTED | bit, 0), Next::Done(Err(error)));
        }
    }

    #[test]
    fn a_nyet_on_the_last_packet_is_success_and_before_it_asks_for_a_ping() {
        let mut progress = Progress::new(endpoint(Kind::Bulk, Direction::Out, 512), Pid::Data0, 1024, SILICON);
        let _ = progress.program();
        let nyet = Hcint::HALTED | Hcint::NYET;
        assert_eq!(progress.on_halt(nyet, left(512, 1, Pid::Data1)), Next::AgainWhenDue);
        let program = progress.program();
        assert_eq!(program.hctsiz, 1 << 31 | left(512, 1, Pid::Data1), "DOPNG is set");
        assert_eq!(progress.on_halt(nyet, left(0, 0, Pid::Data0)), Next::Done(Ok(1024)));
    }

    #[test]
    fn an_interrupt_endpoint_with_nothing_to_say_is_not_asked_again_here() {
        let mut progress = Progress::new(endpoint(Kind::Interrupt, Direction::In, 16), Pid::Data0, 16, SILICON);
        assert!(progress.program().is_periodic);
        let next = progress.on_halt(Hcint::HALTED | Hcint::NAK, left(16, 1, Pid::Data0));
        assert_eq!(next, Next::Done(Err(TransferError::Nak)));
    }

    #[test]
    fn an_interrupt_transfer_that_missed_its_frame_is_asked_again_at_its_interval() {
        let missed = Next::Done(Err(TransferError::Nak));
        for hcint in [Hcint::empty(), Hcint::FRAME_OVERRUN, Hcint::FRAME_OVERRUN | Hcint::NAK] {
            let mut progress = Progress::new(endpoint(Kind::Interrupt, Direction::In, 16), Pid::Data1, 16, SILICON);
            let _ = progress.program();
            assert_eq!(progress.on_halt(Hcint::HALTED | hcint, left(16, 1, Pid::Data1)), missed);
            assert_eq!(progress.next_pid(), Pid::Data1);
        }
        // Others have no frame to miss.
        let mut progress = Progress::new(endpoint(Kind::Bulk, Direction::In, 512), Pid::Data0, 512, SILICON);
        let _ = progress.program();
        assert_eq!(progress.on_halt(Hcint::HALTED, left(512, 1, Pid::Data0)), Next::AgainAfter(STRIKE_REST));
    }

    #[test]
    fn errors_of_a_device_that_answers_in_between_do_not_add_up() {
        let error = Hcint::HALTED | Hcint::TRANSACTION_ERROR;
        let idle = left(512, 1, Pid::Data0);
        let mut progress = Progress::new(endpoint(Kind::Bulk, Direction::In, 512), Pid::Data0, 512, SILICON);
        for _ in 0..100 {
            let _ = progress.program();
            assert_eq!(progress.on_halt(error | Hcint::NAK, idle), Next::AgainAfter(STRIKE_REST));
        }
        let _ = progress.program();
        assert_eq!(progress.on_halt(error, idle), Next::AgainAfter(STRIKE_REST));
        let _ = progress.program();
        let failed = TransferError::Transaction { hcint: error.bits() };
        assert_eq!(progress.on_halt(error, idle), Next::Done(Err(failed)));
    }

    #[test]
    fn a_split_send_gives_its_data_to_the_start_split() {
        let translator = Some(Translator { hub: 1, port: 2 });
        let slow = Endpoint { speed: Speed::Full, translator, ..endpoint(Kind::Bulk, Direction::Out, 64) };
        let mut progress = Progress::new(slow, Pid::Data0, 100, SILICON);
        for (size, pid, next_pid) in [(64, Pid::Data0, Pid::Data1), (36, Pid::Data1, Pid::Data0)] {
            assert_eq!(progress.program().hctsiz, left(size, 1, pid));
            let _ = progress.on_halt(Hcint::HALTED | Hcint::ACK, left(size, 1, pid));
            assert_eq!(progress.program().hctsiz, left(0, 1, pid), "nothing for the complete-split");
            let next = progress.on_halt(Hcint::HALTED | Hcint::ACK | Hcint::COMPLETE, left(0, 0, next_pid));
            assert_eq!(next, if size == 64 { Next::Again } else { Next::Done(Ok(100)) });
        }
    }

    #[test]
    fn a_split_receive_moves_packet_by_packet() {
        let translator = Some(Translator { hub: 1, port: 2 });
        let slow = Endpoint { speed: Speed::Full, translator, ..endpoint(Kind::Bulk, Direction::In, 64) };
        let mut progress = Progress::new(slow, Pid::Data0, 128, SILICON);
        let start = Hcint::HALTED | Hcint::ACK;
        let complete = Hcint::HALTED | Hcint::ACK | Hcint::COMPLETE;
        assert_eq!(progress.program().hctsiz, left(64, 1, Pid::Data0));
        assert_eq!(progress.on_halt(start, left(64, 1, Pid::Data0)), Next::Again);
        assert_ne!(progress.program().hcsplt & 1 << 16, 0, "a complete-split");
        assert_eq!(progress.on_halt(complete, left(0, 0, Pid::Data1)), Next::Again);
        let program = progress.program();
        assert_eq!((program.offset, program.hctsiz), (64, left(64, 1, Pid::Data1)));
        assert_eq!(program.hcsplt & 1 << 16, 0, "a start-split");
        assert_eq!(progress.on_halt(start, left(64, 1, Pid::Data1)), Next::Again);
        let _ = progress.program();
        assert_eq!(progress.on_halt(complete, left(54, 0, Pid::Data0)), Next::Done(Ok(74)));
    }

    #[test]
    fn a_split_that_is_naked_begins_again_with_a_start() {
        let translator = Some(Translator { hub: 1, port: 2 });
        let slow = Endpoint { speed: Speed::Full, translator, ..endpoint(Kind::Bulk, Direction::In, 64) };
        let mut progress = Progress::new(slow, Pid::Data0, 64, SILICON);
        let _ = progress.program();
        let _ = progress.on_halt(Hcint::HALTED | Hcint::ACK, left(64, 1, Pid::Data0));
        let _ = progress.program();
        assert_eq!(progress.on_halt(Hcint::HALTED | Hcint::NAK, left(64, 1, Pid::Data0)), Next::AgainWhenDue);
        assert_eq!(progress.program().hcsplt & 1 << 16, 0);
    }

    #[test]
    fn the_emulator_gets_whole_transfers_of_a_type_whose_nak_halts() {
        let mut progress = Progress::new(endpoint(Kind::Bulk, Direction::Out, 64), Pid::Data0, 1514, EMULATOR);
        let program = progress.program();
        assert_eq!(program.hctsiz, left(1514, 1, Pid::Data0));
        assert_eq!(program.hcchar.bits() & 0x7FF, 0x7FF);
        assert_eq!(program.hcchar & Hcchar::KIND, Hcchar::KIND, "interrupt");
        let setup = Progress::new(endpoint(Kind::Control, Direction::Out, 64), Pid::Setup, 8, EMULATOR).program();
        assert_eq!((setup.hcchar & Hcchar::KIND).bits(), 0, "control");
        let mut receive = Progress::new(endpoint(Kind::Bulk, Direction::In, 64), Pid::Data0, 2048, EMULATOR);
        let _ = receive.program();
        let nak = Hcint::HALTED | Hcint::NAK;
        assert_eq!(receive.on_halt(nak, left(2048, 2, Pid::Data0)), Next::AgainWhenDue);
        // Exactly one round of whole packets, and then the device has no more.
        assert!(receive.needs_hctsiz(nak));
        assert_eq!(receive.on_halt(nak, left(1, 1, Pid::Data0)), Next::Done(Ok(2047)));
    }
}
