//! One direction's DMA: descriptors, the default ring, what runs. The rules that a driver must keep are checked here.

use embassy_time::{Duration, Instant};
use hal::dma::PhysAddr;

use crate::dma::FakeDma;

/// Descriptors, and words of all of them.
pub(super) const SIZE: u16 = 256;
const WORDS: u32 = 3 * SIZE as u32;
/// How long a DMA takes to stop.
const STOP: Duration = Duration::from_micros(40);
/// Bits of control and status.
const MASK: u32 = 0x3_ffff;
const ENABLE: u32 = 1;
const RING_16: u32 = 1 << 17;

/// Which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Receive,
    Transmit,
}

/// A descriptor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Descriptor {
    pub(super) length_status: u32,
    low: u32,
    high: u32,
}

impl Descriptor {
    pub(super) fn address(self) -> PhysAddr {
        PhysAddr(u64::from(self.high) << 32 | u64::from(self.low))
    }
}

/// The state.
pub(super) struct Direction {
    kind: Kind,
    descriptors: [Descriptor; SIZE as usize],
    /// The controller's count and word.
    pub(super) hw_index: u16,
    hw_ptr: u32,
    /// Frames without a buffer.
    pub(super) discards: u16,
    /// The driver's count.
    pub(super) sw_index: u16,
    sw_ptr: u32,
    buf_size: u32,
    start: u32,
    end: u32,
    threshold: u32,
    flow: u32,
    ring_cfg: u32,
    ctrl: u32,
    stopped_at: Instant,
    burst: u32,
    /// Done since the last interrupt.
    done: u32,
    /// The controller's count and pointer do not take what is written to them.
    pub(super) is_sticky: bool,
    /// It never stops.
    pub(super) is_unstoppable: bool,
    pub(super) errors: Vec<String>,
}

impl Direction {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            descriptors: [Descriptor::default(); SIZE as usize],
            hw_index: 0,
            hw_ptr: 0,
            discards: 0,
            sw_index: 0,
            sw_ptr: 0,
            buf_size: 0,
            start: 0,
            end: 0,
            threshold: 0,
            flow: 0,
            ring_cfg: 0,
            ctrl: 0,
            stopped_at: Instant::MIN,
            burst: 0x10,
            done: 0,
            is_sticky: false,
            is_unstoppable: false,
            errors: vec![],
        }
    }

    /// Leaves it running, as a boot loader does: somewhere in the count, with some discards.
    pub(super) fn leave_running(&mut self, index: u16, descriptor: u16, discards: u16) {
        (self.hw_index, self.sw_index, self.discards) = (index, index, discards);
        self.hw_ptr = u32::from(descriptor) * 3;
        (self.start, self.end, self.buf_size) = (0, WORDS - 1, 256 << 16 | 2048);
        (self.ring_cfg, self.ctrl, self.burst) = (1 << 16, ENABLE | RING_16, 8);
    }

    pub(super) fn is_running(&self) -> bool {
        self.ctrl & (ENABLE | RING_16) == ENABLE | RING_16 && self.ring_cfg == 1 << 16
    }

    /// Returns the descriptor that the controller is at.
    pub(super) fn current(&mut self) -> &mut Descriptor {
        &mut self.descriptors[(self.hw_ptr / 3) as usize]
    }

    pub(super) fn buffer_len(&self) -> usize {
        (self.buf_size & 0xffff) as usize
    }

    /// Returns whether the controller has a descriptor to work on.
    pub(super) fn has_work(&self) -> bool {
        match self.kind {
            Kind::Receive => self.hw_index.wrapping_sub(self.sw_index) < SIZE,
            Kind::Transmit => self.hw_index != self.sw_index,
        }
    }

    /// Ends with the current descriptor. Returns whether that is worth an interrupt.
    pub(super) fn advance(&mut self) -> bool {
        self.hw_index = self.hw_index.wrapping_add(1);
        self.hw_ptr = (self.hw_ptr + 3) % WORDS;
        self.done += 1;
        let is_due = self.done >= self.threshold;
        if is_due {
            self.done = 0;
        }
        is_due
    }

    /// Returns whether the controller may look at this descriptor now.
    fn is_hardwares(&self, descriptor: u16) -> bool {
        // How far ahead of the controller's place it is.
        let ahead = (descriptor + SIZE - (self.hw_ptr / 3) as u16) % SIZE;
        let owned = match self.kind {
            Kind::Receive => SIZE - self.hw_index.wrapping_sub(self.sw_index).min(SIZE),
            Kind::Transmit => self.sw_index.wrapping_sub(self.hw_index),
        };
        self.is_running() && ahead < owned
    }

    pub(super) fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0..0xc00 => {
                let descriptor = &self.descriptors[offset / 12];
                [descriptor.length_status, descriptor.low, descriptor.high][offset % 12 / 4]
            }
            0x1000 => self.hw_ptr,
            0x1008 => u32::from(self.discards) << 16 | u32::from(self.hw_index),
            0x100c => self.sw_index.into(),
            0x1010 => self.buf_size,
            0x1040 => self.ring_cfg,
            0x1044 => self.ctrl,
            0x1048 if self.is_unstoppable || Instant::now() < self.stopped_at => 0,
            0x1048 => !self.ctrl & MASK,
            0x104c => self.burst,
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, offset: usize, value: u32, dma: &FakeDma) {
        let is_running = self.ctrl & RING_16 != 0 || self.is_unstoppable || Instant::now() < self.stopped_at;
        match offset {
            0..0xc00 => {
                if self.is_hardwares((offset / 12) as u16) {
                    self.error(format!("write to descriptor {} while the controller has it", offset / 12));
                }
                let descriptor = &mut self.descriptors[offset / 12];
                *[&mut descriptor.length_status, &mut descriptor.low, &mut descriptor.high][offset % 12 / 4] = value;
            }
            0x1008 if is_running && value == 0 => self.discards = 0,
            0x100c => self.write_sw_index(value, dma),
            0x1000..0x1034 if is_running => {
                self.error(format!("ring register {:#x} is changed while the ring runs", offset - 0x1000));
            }
            0x1000 if !self.is_sticky => self.hw_ptr = value,
            0x1008 if !self.is_sticky => (self.discards, self.hw_index) = ((value >> 16) as u16, value as u16),
            0x1000 | 0x1008 => {}
            0x1010 => self.buf_size = value,
            0x1014 => self.start = value,
            0x101c => self.end = value,
            0x1024 => self.threshold = value,
            0x1028 => self.flow = value,
            0x102c => self.sw_ptr = value,
            0x1004 | 0x1018 | 0x1020 | 0x1030 if value == 0 => {}
            0x1040 => {
                if self.ctrl & ENABLE != 0 {
                    self.error("the rings are changed while the DMA runs".to_owned());
                }
                self.ring_cfg = value;
            }
            0x1044 => self.write_ctrl(value, dma),
            0x104c if value == 8 && self.ctrl & ENABLE == 0 => self.burst = value,
            0x10ac if self.kind == Kind::Receive && value <= 0xffff => {}
            _ => self.error(format!("write of {value:#x} to {offset:#x}")),
        }
    }

    fn write_sw_index(&mut self, value: u32, dma: &FakeDma) {
        let Ok(new) = u16::try_from(value) else {
            return self.error(format!("index {value:#x} has more than 16 bits"));
        };
        let old = std::mem::replace(&mut self.sw_index, new);
        let is_possible = match self.kind {
            Kind::Receive => self.hw_index.wrapping_sub(new) <= SIZE,
            Kind::Transmit => new.wrapping_sub(self.hw_index) <= SIZE,
        };
        if !is_possible {
            self.error(format!("index {new:#x} is too far from the controller's {:#x}", self.hw_index));
        } else if self.is_running() && self.kind == Kind::Receive {
            let first = self.slot_of(old);
            self.check_buffers(first, new.wrapping_sub(old), dma);
        }
    }

    /// Returns the descriptor of a count.
    fn slot_of(&self, index: u16) -> u16 {
        ((self.hw_ptr / 3) as u16).wrapping_add(index.wrapping_sub(self.hw_index)) % SIZE
    }

    /// Checks that buffers that are handed over are the controller's.
    fn check_buffers(&mut self, first: u16, count: u16, dma: &FakeDma) {
        for slot in (0..count).map(|n| (first + n) % SIZE) {
            let address = self.descriptors[usize::from(slot)].address();
            if !dma.is_shared(address, self.buffer_len()) {
                self.error(format!("descriptor {slot} is given {address:?}, which the driver owns itself"));
            }
        }
    }

    fn write_ctrl(&mut self, value: u32, dma: &FakeDma) {
        let was_running = self.ctrl & ENABLE != 0;
        self.ctrl = value & MASK;
        if value & !(ENABLE | RING_16) != 0 {
            self.error(format!("control {value:#x} has bits of other rings"));
        }
        if was_running && value & ENABLE == 0 {
            self.stopped_at = Instant::now() + STOP;
        }
        if was_running || value & ENABLE == 0 {
            return;
        }
        if Instant::now() < self.stopped_at || self.is_unstoppable {
            self.error("started before it stood still".to_owned());
        }
        if (self.start, self.end, self.buf_size >> 16) != (0, WORDS - 1, SIZE.into()) || self.ring_cfg != 1 << 16 {
            self.error("started without a ring of all descriptors".to_owned());
        }
        if self.burst != 8 {
            self.error("started with bursts that the bus of BCM2711 does not take".to_owned());
        }
        if self.sw_ptr != self.hw_ptr {
            self.error("started with pointers apart".to_owned());
        }
        if self.threshold == 0 {
            self.error("started with an interrupt threshold of 0".to_owned());
        }
        self.done = 0;
        match self.kind {
            Kind::Receive => {
                let count = SIZE - self.hw_index.wrapping_sub(self.sw_index).min(SIZE);
                self.check_buffers((self.hw_ptr / 3) as u16, count, dma);
            }
            Kind::Transmit if self.sw_index != self.hw_index => self.error("started with frames in it".to_owned()),
            Kind::Transmit => {}
        }
    }

    fn error(&mut self, text: String) {
        self.errors.push(format!("{:?}: {text}", self.kind));
    }
}
