//! A bench with a chip on it: register access, time, and the settings with which frames flow.

use usb_models::device::Answer;
use usb_models::lan7800::Lan7800;
use usb_models::lan9514::Lan9514;
use usb_models::nic::{NicModel, UsbSpeed};

/// The address that the benches' chips are given.
pub(crate) const OWN: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

pub(crate) struct Bench<N: NicModel> {
    pub(crate) nic: N,
    now_us: u64,
}

impl<N: NicModel> Bench<N> {
    fn with(nic: N) -> Self {
        let mut bench = Self { nic, now_us: 0 };
        bench.pass(0);
        bench
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time_us: u64) {
        self.now_us += time_us;
        self.nic.on_time(self.now_us);
    }

    pub(crate) fn request(&mut self, kind: u8, request: u8, index: u16, len: u16, data: &[u8]) -> Answer {
        let ([i0, i1], [l0, l1]) = (index.to_le_bytes(), len.to_le_bytes());
        self.nic.on_request([kind, request, 0, 0, i0, i1, l0, l1], data)
    }

    pub(crate) fn read(&mut self, register: u16) -> u32 {
        match self.request(0xC0, 0xA1, register, 4, &[]) {
            Answer::Data(data) => u32::from_le_bytes(data.try_into().unwrap()),
            other => panic!("reading {register:#x}: {other:?}"),
        }
    }

    pub(crate) fn write(&mut self, register: u16, value: u32) {
        let answer = self.request(0x40, 0xA0, register, 4, &value.to_le_bytes());
        assert_eq!(answer, Answer::Data(Vec::new()), "writing {register:#x}");
    }

    pub(crate) fn set(&mut self, register: u16, bits: u32) {
        let value = self.read(register);
        self.write(register, value | bits);
    }

    /// Waits for bits to clear themselves; returns how often they were seen.
    pub(crate) fn wait_clear(&mut self, register: u16, bits: u32) -> u32 {
        for polls in 0..1000 {
            if self.read(register) & bits == 0 {
                return polls;
            }
            self.pass(100);
        }
        panic!("register {register:#x} keeps {bits:#x}")
    }

    /// Reads a PHY register through the MII at `address`; its data register is the next one.
    pub(crate) fn read_phy(&mut self, address: u16, register: u32) -> u32 {
        self.write(address, 1 << 11 | register << 6 | 1);
        self.wait_clear(address, 1);
        self.read(address + 4)
    }

    pub(crate) fn write_phy(&mut self, address: u16, register: u32, value: u32) {
        self.write(address + 4, value);
        self.write(address, 1 << 11 | register << 6 | 3);
        self.wait_clear(address, 1);
    }

    /// Returns the next burst, after the delay for small ones.
    pub(crate) fn burst(&mut self) -> Vec<u8> {
        self.pass(200);
        match self.nic.on_in(0x81, usize::MAX) {
            Answer::Data(data) => data,
            other => panic!("a burst is expected: {other:?}"),
        }
    }

    pub(crate) fn send(&mut self, data: &[u8]) {
        assert_eq!(self.nic.on_out(2, data), Answer::Data(Vec::new()));
    }

    /// Returns the frames that left on the cable.
    pub(crate) fn sent(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.nic.take_sent()).collect()
    }

    pub(crate) fn assert_no_mistakes(&mut self) {
        let mistakes = self.nic.core().mistakes();
        assert_eq!(mistakes.count(), 0, "{:#?}", mistakes.first());
    }

    pub(crate) fn assert_mistake(&mut self, text: &str) {
        let mistakes = self.nic.core().mistakes();
        assert!(
            mistakes.first().iter().any(|mistake| mistake.contains(text)),
            "no {text:?} in {:#?}",
            mistakes.first()
        );
    }
}

/// A LAN9514 that has just been switched on.
pub(crate) fn lan9514() -> Bench<Lan9514> {
    Bench::with(Lan9514::new(UsbSpeed::High))
}

/// A LAN7800 that has just been switched on.
pub(crate) fn lan7800() -> Bench<Lan7800> {
    Bench::with(Lan7800::new(UsbSpeed::High))
}

/// One through which frames flow: several per burst, NAK when empty, link up.
pub(crate) fn running_lan9514() -> Bench<Lan9514> {
    let mut bench = lan9514();
    bench.write(0x14, 1 << 3);
    bench.wait_clear(0x14, 1 << 3);
    bench.write(0x108, u32::from_le_bytes([OWN[0], OWN[1], OWN[2], OWN[3]]));
    bench.write(0x104, u32::from_le_bytes([OWN[4], OWN[5], 0, 0]));
    // BIR, MEF, BCE; 37 packets of 512 bytes.
    bench.write(0x38, 37);
    bench.write(0x14, 1 << 12 | 1 << 5 | 1 << 1);
    bench.write(0x10, 1 << 2);
    bench.write(0x100, 1 << 20 | 1 << 3 | 1 << 2);
    bench.pass(2_000_000);
    bench
}

/// One through which frames flow: several per burst, NAK when empty, link up.
pub(crate) fn running_lan7800() -> Bench<Lan7800> {
    let mut bench = lan7800();
    bench.write(0x10, 1 << 1);
    bench.wait_clear(0x10, 1 << 1);
    // Perfect filter 0.
    bench.write(0x404, u32::from_le_bytes([OWN[0], OWN[1], OWN[2], OWN[3]]));
    bench.write(0x400, 1 << 31 | u32::from_le_bytes([OWN[4], OWN[5], 0, 0]));
    bench.write(0x90, 37);
    bench.write(0x80, 1 << 6 | 1 << 5);
    bench.write(0x10, 1 << 4);
    // Broadcasts and the perfect filter.
    bench.write(0xB0, 1 << 10 | 1 << 1);
    bench.write(0x100, 1 << 12 | 1 << 11);
    bench.write(0x108, 1);
    bench.write(0xC4, 1 << 31);
    bench.write(0x104, 1518 << 16);
    bench.write(0xC0, 1 << 31);
    bench.write(0x104, 1518 << 16 | 1);
    bench.pass(2_000_000);
    bench
}

/// A frame of `len` bytes to `to`, told apart by `seed`.
pub(crate) fn frame(to: [u8; 6], len: usize, seed: u8) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xB5]);
    frame.extend((frame.len()..len).map(|at| (at as u8).wrapping_mul(7).wrapping_add(seed)));
    frame
}
