//! The Ethernet function of the LAN9512 and LAN9514 (0424:ec00), as on the Raspberry Pi 3 Model B.
//!
//! Written from the data sheet of its sister without a hub (LAN950x, DS00001875A), which has the registers that the LAN9514's
//! own data sheet leaves out, and checked against the drivers of Linux (smsc95xx.c) and FreeBSD (if_smsc.c). Never compared
//! with a chip. Wake-up, GPIO and the EEPROM's contents are not modelled: their registers only keep what is written.

mod receive;
mod registers;
mod transmit;

use std::any::Any;
use std::collections::HashMap;

use self::registers::*;
use crate::device::{Answer, Function};
use crate::nic::{BulkIn, Busy, Core, Mii, NicModel, PhyKind, RxFifo, UsbSpeed, word};

/// FIFO sizes in bytes (5.4).
const RX_FIFO: usize = 20 * 1024;
const TX_FIFO: usize = 8 * 1024;
/// How long resets take. The data sheet only says that the bits clear themselves.
const RESET_US: u64 = 2000;
/// An EEPROM that does not answer is given up after 30 ms (E2P_CMD, EPC time-out).
const EEPROM_US: u64 = 30_000;
/// Wrong duplex settings this long after the link came up are the driver's.
const DUPLEX_US: u64 = 500_000;

/// Statistics (5.3.1.7), received and sent.
#[derive(Clone, Copy, Debug, Default)]
struct Statistics {
    rx: [u32; 8],
    tx: [u32; 10],
}

/// The model.
#[derive(Debug)]
pub struct Lan9514 {
    core: Core,
    registers: HashMap<u16, u32>,
    tx_cfg: u32,
    int_sts: u32,
    lite_reset: Busy,
    phy_reset: Busy,
    eeprom: Busy,
    eeprom_cmd: u32,
    mii: Mii,
    rx: RxFifo,
    tx: transmit::Transmitter,
    statistics: Statistics,
}

impl Lan9514 {
    /// Makes one that has just been switched on, on a port of the given speed, with its cable in a gigabit switch.
    #[must_use]
    pub fn new(speed: UsbSpeed) -> Self {
        let mut new = Self {
            core: Core::new(speed, PhyKind::Fast),
            registers: HashMap::new(),
            tx_cfg: 0,
            int_sts: 0,
            lite_reset: Busy::default(),
            phy_reset: Busy::default(),
            eeprom: Busy::default(),
            eeprom_cmd: 0,
            mii: Mii::default(),
            rx: RxFifo::new(RX_FIFO),
            tx: transmit::Transmitter::default(),
            statistics: Statistics::default(),
        };
        new.reset();
        new
    }

    /// Returns a register as the chip has it, without the side effects of reading.
    #[must_use]
    pub fn register(&self, address: u16) -> u32 {
        self.registers.get(&address).copied().unwrap_or(0)
    }

    /// A lite reset: everything but the PHY and the USB side.
    fn reset(&mut self) {
        self.registers = PLAIN.iter().map(|(address, value, _)| (*address, *value)).collect();
        self.tx_cfg = 0;
        self.int_sts = 0;
        self.eeprom_cmd = 0;
        self.mii = Mii::default();
        self.rx.clear();
        self.tx = transmit::Transmitter::default();
        self.core.faults.is_transmitter_stuck = false;
        self.core.faults.is_receiver_stuck = false;
    }

    fn is(&self, register: u16, bits: u32) -> bool {
        self.register(register) & bits != 0
    }

    fn interrupt_status(&self) -> u32 {
        self.int_sts | if self.core.phy.has_interrupt() { INT_PHY } else { 0 }
    }

    fn read(&mut self, address: u16) -> u32 {
        self.core.seen.register_reads += 1;
        if self.lite_reset.is_on() && address != HW_CFG {
            self.core.mistakes.add(|| format!("register {address:#x} read during a lite reset"));
        }
        let now = self.core.now_us;
        match address {
            // The upper half: Linux ID_REV_CHIP_ID_9512_.
            ID_REV => 0xEC00_0002,
            INT_STS => self.interrupt_status(),
            RX_CFG => 0,
            TX_CFG => self.tx_cfg,
            HW_CFG => {
                let is_resetting = self.lite_reset.poll(now);
                self.register(HW_CFG) | if is_resetting { LRST } else { 0 }
            }
            RX_FIFO_INF => self.rx.used() as u32,
            TX_FIFO_INF => {
                let used = self.tx.len() + self.core.faults.phantom_bytes as usize;
                (TX_FIFO - used.min(TX_FIFO)) as u32
            }
            PM_CTRL => DEV_RDY | if self.phy_reset.poll(now) { PHY_RST } else { 0 },
            E2P_CMD => {
                let is_busy = self.eeprom.poll(now);
                self.eeprom_cmd | if is_busy { EPC_BUSY } else { 0 }
            }
            MII_ADDR => self.mii.read_address(&self.core),
            MII_DATA => self.mii.read_data(&mut self.core),
            _ => match self.registers.get(&address) {
                Some(value) => *value,
                None => {
                    self.core.mistakes.add(|| format!("register {address:#x} read, which does not exist"));
                    0
                }
            },
        }
    }

    fn write(&mut self, address: u16, value: u32) {
        self.core.seen.register_writes += 1;
        let is_reset = address == HW_CFG && value & (LRST | SRST) != 0;
        if self.lite_reset.is_on() && !is_reset {
            self.core.mistakes.add(|| format!("register {address:#x} written during a lite reset"));
            return;
        }
        let now = self.core.now_us;
        match address {
            INT_STS => self.int_sts &= !value,
            RX_CFG if value & 1 != 0 => self.rx.clear(),
            RX_CFG => {}
            TX_CFG => self.write_tx_cfg(value),
            HW_CFG if is_reset => {
                self.core.seen.resets += 1;
                let is_stuck = self.core.faults.is_reset_stuck;
                self.reset();
                self.lite_reset.start(now, if is_stuck { u64::MAX - now } else { RESET_US });
            }
            PM_CTRL => {
                if value & PHY_RST != 0 {
                    self.core.phy.reset();
                    self.phy_reset.start(now, RESET_US);
                }
            }
            // There is no EEPROM.
            E2P_CMD => {
                self.eeprom_cmd = value & 0x7000_01FF | EPC_TIMEOUT;
                self.eeprom.start(now, EEPROM_US);
            }
            MII_ADDR | MII_DATA if self.phy_reset.is_on() => {
                self.core.mistakes.add(|| format!("register {address:#x} written while the PHY is in reset"));
            }
            MII_ADDR => self.mii.write_address(value, &mut self.core),
            MII_DATA => self.mii.write_data(value, &mut self.core),
            _ => match PLAIN.iter().find(|(found, ..)| *found == address) {
                Some((_, fixed, mask)) if *mask != 0 => {
                    self.registers.insert(address, value & mask | fixed & !mask);
                }
                _ => self.core.mistakes.add(|| format!("register {address:#x} written, which can't be")),
            },
        }
        // A transmitter that was off may have been switched on.
        self.transmit();
    }

    fn write_tx_cfg(&mut self, value: u32) {
        if value & 1 != 0 {
            self.tx = transmit::Transmitter::default();
        }
        if value & TX_STOP != 0 {
            self.int_sts |= INT_TX_STOP;
        }
        self.tx_cfg = if value & TX_STOP != 0 { 0 } else { value & TX_ON };
    }

    fn bulk_in(&self) -> BulkIn {
        let unit = usize::from(self.core.speed.bulk_packet());
        let cap = self.register(BURST_CAP) as usize * unit;
        BulkIn {
            has_several_frames: self.is(HW_CFG, MEF),
            is_nak_when_empty: self.is(HW_CFG, BIR),
            burst_len_max: (self.is(HW_CFG, BCE) && cap > 0).then_some(cap),
            // Units of 16.667 ns.
            delay_us: u64::from(self.register(BULK_IN_DLY)) / 60,
        }
    }

    /// Both ends must agree on the duplex mode, or there are collisions.
    fn check_duplex(&mut self) {
        let Some(link) = self.core.phy.link() else { return };
        let is_old = self.core.now_us.saturating_sub(link.since_us) > DUPLEX_US;
        if is_old && link.is_full_duplex != self.is(MAC_CR, FDPX) {
            self.core.mistakes.add(|| format!("a frame passes, but MAC_CR's duplex mode is not the link's ({link:?})"));
        }
    }

    fn statistics(&mut self, setup: [u8; 8]) -> Answer {
        let [_, _, _, _, index, _, len0, len1] = setup;
        let counters: &[u32] = if index == 0 { &self.statistics.rx } else { &self.statistics.tx };
        let bytes: Vec<u8> = counters.iter().flat_map(|count| count.to_le_bytes()).collect();
        if index > 1 || usize::from(u16::from_le_bytes([len0, len1])) != bytes.len() {
            self.core.mistakes.add(|| format!("statistics asked for by {setup:02x?}"));
            return Answer::Stall;
        }
        Answer::Data(bytes)
    }
}

impl Function for Lan9514 {
    /// As `lsusb -v` shows it on a Raspberry Pi 3B: no strings.
    fn device_descriptor(&self) -> Vec<u8> {
        vec![18, 1, 0, 2, 0xFF, 0, 1, 64, 0x24, 0x04, 0x00, 0xEC, 0, 2, 0, 0, 0, 1]
    }

    fn configurations(&self) -> Vec<Vec<u8>> {
        let [m0, m1] = self.core.speed.bulk_packet().to_le_bytes();
        // Every millisecond: bInterval is in microframes to the power of two at high speed.
        let interval = if self.core.speed == UsbSpeed::High { 4 } else { 1 };
        let bytes = vec![
            9, 2, 39, 0, 1, 1, 0, 0xE0, 1, // configuration 1
            9, 4, 0, 0, 3, 0xFF, 0, 0xFF, 0, // interface 0
            7, 5, 0x81, 2, m0, m1, 0, // bulk in
            7, 5, 0x02, 2, m0, m1, 0, // bulk out
            7, 5, 0x83, 3, 16, 0, interval, // interrupt
        ];
        vec![self.core.configuration(bytes)]
    }

    fn string(&self, _index: u8) -> Option<String> {
        None
    }

    fn on_time(&mut self, now_us: u64) -> Option<u64> {
        self.core.now_us = now_us;
        let phy = self.core.phy.on_time(now_us);
        self.transmit();
        let burst = self.rx.due(&self.bulk_in());
        [phy, burst].into_iter().flatten().min()
    }

    fn on_reset(&mut self) {
        self.reset();
        self.lite_reset = Busy::default();
        self.core.clear_halts();
    }

    fn on_configured(&mut self, _value: u8) {
        self.core.clear_halts();
    }

    fn on_request(&mut self, setup: [u8; 8], data: &[u8]) -> Answer {
        if self.core.faults.is_silent {
            return Answer::Nak;
        }
        let [kind, request, value0, value1, index0, index1, len0, len1] = setup;
        let (value, address) = (u16::from_le_bytes([value0, value1]), u16::from_le_bytes([index0, index1]));
        let len = u16::from_le_bytes([len0, len1]);
        match (kind, request) {
            // GET_STATUS: self-powered.
            (0x80, 0) => Answer::Data(vec![1, 0]),
            (2, 1) => {
                self.core.clear_halt(index0);
                Answer::Data(Vec::new())
            }
            (0x40, 0xA0) if value == 0 && len == 4 && data.len() == 4 => {
                self.write(address, word(data, 0));
                Answer::Data(Vec::new())
            }
            (0xC0, 0xA1) if value == 0 && len == 4 => Answer::Data(self.read(address).to_le_bytes().to_vec()),
            (0xC0, 0xA2) if self.core.faults.has_no_statistics => Answer::Nak,
            (0xC0, 0xA2) => self.statistics(setup),
            _ => {
                self.core.mistakes.add(|| format!("request {setup:02x?}, which does not exist"));
                Answer::Stall
            }
        }
    }

    fn on_in(&mut self, endpoint: u8, _max: usize) -> Answer {
        if self.core.faults.is_silent {
            return Answer::Nak;
        }
        if self.core.is_halted(endpoint) {
            return Answer::Stall;
        }
        if endpoint == 0x81 && self.core.faults.is_receiver_stuck {
            return Answer::Nak;
        }
        if endpoint == 0x81 {
            let rules = self.bulk_in();
            return self.rx.burst(&rules, &mut self.core);
        }
        let enabled = self.register(INT_EP_CTL);
        let mut bits = self.interrupt_status();
        if self.rx.used() > 0 {
            bits |= INT_EP_RX_FIFO;
        }
        if bits & enabled == 0 && enabled & INT_EP_ALWAYS == 0 {
            return Answer::Nak;
        }
        self.core.seen.interrupts += 1;
        Answer::Data((bits & enabled).to_le_bytes().to_vec())
    }

    fn on_out(&mut self, _endpoint: u8, data: &[u8]) -> Answer {
        self.take_packet(data)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

impl NicModel for Lan9514 {
    fn receive(&mut self, frame: &[u8]) {
        self.receive_frame(frame);
    }

    fn has_room(&self) -> bool {
        // One that hangs sends no pause frames either.
        self.rx.has_room() || self.core.faults.is_receiver_stuck
    }

    fn core(&mut self) -> &mut Core {
        &mut self.core
    }
}
