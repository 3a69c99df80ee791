//! The LAN7800 (0424:7800), which is also inside of the LAN7515 of the Raspberry Pi 3 Model B+.
//!
//! Written from its data sheet (DS00001992) where it could be had, and from where the drivers of Linux (lan78xx.c), FreeBSD
//! (if_muge.c) and NetBSD (if_mue.c) agree. Never compared with a chip. Wake-up, GPIO, energy efficient Ethernet and latency
//! messages are not modelled: their registers only keep what is written. There is no EEPROM, and the one-time
//! programmable memory is blank, as on a Pi.

mod receive;
mod registers;
mod statistics;
mod transmit;

use std::any::Any;
use std::collections::HashMap;

use self::registers::*;
use self::statistics::Statistics;
use crate::device::{Answer, Function};
use crate::nic::{BulkIn, Busy, Core, Mii, NicModel, PhyKind, RxFifo, UsbSpeed, word};

/// FIFO sizes in bytes (Linux MAX_RX_FIFO_SIZE, MAX_TX_FIFO_SIZE; FreeBSD MUGE_MAX_RX_FIFO_SIZE).
const RX_FIFO: usize = 12 * 1024;
const TX_FIFO: usize = 12 * 1024;
/// How long resets take. The data sheet only says that the bits clear themselves.
const RESET_US: u64 = 2000;
/// A byte of an EEPROM by its serial bus.
const EEPROM_US: u64 = 100;
/// An access to internal RAM.
const DATA_PORT_US: u64 = 10;
/// Wrong speed or duplex settings this long after the link came up are the driver's.
const SETTING_US: u64 = 500_000;

/// The model.
#[derive(Debug)]
pub struct Lan7800 {
    core: Core,
    registers: HashMap<u16, u32>,
    int_sts: u32,
    lite_reset: Busy,
    phy_reset: Busy,
    eeprom: Busy,
    eeprom_cmd: u32,
    data_port: Busy,
    dp_sel: u32,
    /// The RAM with the hash table, in words.
    filter_ram: Vec<u32>,
    mii: Mii,
    rx: RxFifo,
    tx: transmit::Transmitter,
    statistics: Statistics,
}

impl Lan7800 {
    /// Makes one that has just been switched on, on a port of the given speed, with its cable in a gigabit switch.
    #[must_use]
    pub fn new(speed: UsbSpeed) -> Self {
        let mut new = Self {
            core: Core::new(speed, PhyKind::Gigabit),
            registers: HashMap::new(),
            int_sts: 0,
            lite_reset: Busy::default(),
            phy_reset: Busy::default(),
            eeprom: Busy::default(),
            eeprom_cmd: 0,
            data_port: Busy::default(),
            dp_sel: 0,
            filter_ram: Vec::new(),
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
        self.registers = RESET_VALUES.into_iter().collect();
        self.int_sts = 0;
        self.eeprom_cmd = 0;
        self.dp_sel = 0;
        self.data_port = Busy::default();
        self.filter_ram = vec![0; 144];
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
        if self.lite_reset.is_on() && ![HW_CFG, PMT_CTL].contains(&address) {
            self.core.mistakes.add(|| format!("register {address:#x} read during a lite reset"));
        }
        let now = self.core.now_us;
        match address {
            // The upper half: Linux ID_REV_CHIP_ID_7800_.
            ID_REV => 0x7800_0002,
            INT_STS => self.interrupt_status(),
            HW_CFG => self.register(HW_CFG) | if self.lite_reset.poll(now) { LRST } else { 0 },
            PMT_CTL => match (self.phy_reset.poll(now), self.lite_reset.is_on()) {
                (true, _) => PHY_RST,
                (false, true) => 0,
                (false, false) => READY,
            },
            DP_SEL => self.dp_sel | if self.data_port.poll(now) { 0 } else { DPRDY },
            E2P_CMD => self.eeprom_cmd | if self.eeprom.poll(now) { EPC_BUSY } else { 0 },
            FCT_RX_CTL => self.register(FCT_RX_CTL) | fifo_state(self.rx.used()),
            FCT_TX_CTL => {
                self.register(FCT_TX_CTL) | fifo_state(self.tx.len() + self.core.faults.phantom_bytes as usize)
            }
            ERR_STS | MAC_RX | MAC_TX | DP_CMD | OTP_STATUS => self.register(address),
            MII_ACC => self.mii.read_address(&self.core),
            MII_DATA => self.mii.read_data(&mut self.core),
            _ => {
                if !is_plain(address) {
                    self.core.mistakes.add(|| format!("register {address:#x} read, which does not exist"));
                }
                self.register(address)
            }
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
            ERR_STS => *self.registers.entry(ERR_STS).or_default() &= !value,
            HW_CFG if is_reset => {
                self.core.seen.resets += 1;
                let is_stuck = self.core.faults.is_reset_stuck;
                self.reset();
                self.lite_reset.start(now, if is_stuck { u64::MAX - now } else { RESET_US });
            }
            PMT_CTL => {
                if value & PHY_RST != 0 {
                    self.core.phy.reset();
                    self.phy_reset.start(now, RESET_US);
                }
            }
            DP_SEL | DP_CMD | DP_ADDR | DP_DATA => self.write_data_port(address, value),
            // There is no EEPROM: nothing but ones is read, and no time-out tells of it (Linux says "No External EEPROM" of a
            // Pi 3B+ for the byte that it reads, lan78xx.c `lan78xx_reset`).
            E2P_CMD => {
                self.eeprom_cmd = value & 0x7000_01FF;
                self.registers.insert(E2P_DATA, 0xFF);
                self.eeprom.start(now, EEPROM_US);
            }
            FCT_RX_CTL => {
                if self.write_fifo_control(address, value, INT_RX_DIS) {
                    self.rx.clear();
                }
            }
            FCT_TX_CTL => {
                if self.write_fifo_control(address, value, INT_TX_DIS) {
                    self.tx = transmit::Transmitter::default();
                }
            }
            MAC_RX | MAC_TX => self.write_mac_control(address, value),
            // Their reset bits clear themselves.
            RFE_CTL => drop(self.registers.insert(RFE_CTL, value & !RFE_RST)),
            MAC_CR => drop(self.registers.insert(MAC_CR, value & !MAC_RST)),
            MII_ACC | MII_DATA if self.phy_reset.is_on() => {
                self.core.mistakes.add(|| format!("register {address:#x} written while the PHY is in reset"));
            }
            MII_ACC => self.mii.write_address(value, &mut self.core),
            MII_DATA => self.mii.write_data(value, &mut self.core),
            _ if is_plain(address) => drop(self.registers.insert(address, value)),
            _ => self.core.mistakes.add(|| format!("register {address:#x} written, which can't be")),
        }
        // A transmitter that was off may have been switched on.
        self.transmit();
    }

    /// Switches a FIFO on or off. Returns whether it was emptied.
    fn write_fifo_control(&mut self, address: u16, value: u32, disabled: u32) -> bool {
        let old = self.register(address);
        let was_on = old & FCT_EN != 0;
        if address == FCT_TX_CTL && !was_on && value & FCT_EN != 0 && !self.is(MAC_TX, MAC_EN) {
            self.core.mistakes.add(|| "FCT_TX_CTL: on before the MAC that takes what is in it".into());
        }
        if value & FCT_RST != 0 && was_on {
            self.core.mistakes.add(|| format!("FIFO {address:#x} reset while it is on"));
        }
        // Disabled and overflow are cleared by writing ones.
        let mut new = value & (FCT_EN | FCT_SBF) | old & (FCT_DIS | FCT_OVFL) & !value;
        if was_on && value & FCT_EN == 0 {
            new |= FCT_DIS;
            self.int_sts |= disabled;
        }
        self.registers.insert(address, new);
        value & FCT_RST != 0
    }

    /// Switches a half of the MAC on or off.
    fn write_mac_control(&mut self, address: u16, value: u32) {
        let old = self.register(address);
        let was_on = old & MAC_EN != 0;
        if address == MAC_RX && was_on && (old ^ value) >> 16 != 0 {
            self.core.mistakes.add(|| "MAC_RX: the frame size changes while the receiver is on".into());
        }
        // Linux lan78xx.c, `lan78xx_start_rx_path` and `lan78xx_start_tx_path`.
        if address == MAC_RX && !was_on && value & MAC_EN != 0 && !self.is(FCT_RX_CTL, FCT_EN) {
            self.core.mistakes.add(|| "MAC_RX: on before its FIFO, which then gets a part of a frame".into());
        }
        let mut new = value & !MAC_DISABLED | old & MAC_DISABLED & !value;
        if was_on && value & MAC_EN == 0 {
            new |= MAC_DISABLED;
        }
        if value & MAC_EN != 0 {
            new &= !MAC_DISABLED;
        }
        self.registers.insert(address, new);
    }

    fn write_data_port(&mut self, address: u16, value: u32) {
        if self.data_port.is_on() {
            self.core.mistakes.add(|| format!("data port {address:#x} written while it is not ready"));
            return;
        }
        match address {
            DP_SEL => self.dp_sel = value & 0xF,
            DP_CMD => {
                let at = self.register(DP_ADDR) as usize;
                let is_filter = self.dp_sel == RAM_FILTER;
                match self.filter_ram.get_mut(at).filter(|_| is_filter) {
                    Some(slot) if value & DP_WRITE != 0 => *slot = self.registers.get(&DP_DATA).copied().unwrap_or(0),
                    Some(slot) => drop(self.registers.insert(DP_DATA, *slot)),
                    None => self.core.mistakes.add(|| format!("data port: RAM {} has no word {at}", self.dp_sel)),
                }
                self.data_port.start(self.core.now_us, DATA_PORT_US);
            }
            _ => drop(self.registers.insert(address, value)),
        }
    }

    fn bulk_in(&self) -> BulkIn {
        let unit = usize::from(self.core.speed.bulk_packet());
        let cap = (self.register(BURST_CAP) & 0xFF) as usize * unit;
        BulkIn {
            has_several_frames: self.is(HW_CFG, MEF),
            is_nak_when_empty: self.is(USB_CFG0, BIR),
            burst_len_max: (self.is(USB_CFG0, BCE) && cap > 0).then_some(cap),
            // Units of 16.667 ns.
            delay_us: u64::from(self.register(BULK_IN_DLY) & 0xFFFF) / 60,
        }
    }

    /// The MAC must run at the speed and duplex mode of the link, or nothing passes. Returns whether it does.
    fn is_mac_right(&mut self) -> bool {
        let Some(link) = self.core.phy.link() else { return true };
        let mac_cr = self.register(MAC_CR);
        let speed = [10, 100, 1000, 1000][(mac_cr >> 1 & 3) as usize];
        let is_speed_right = mac_cr & AUTO_SPEED != 0 || speed == link.speed_mbps;
        let is_duplex_right = mac_cr & AUTO_DUPLEX != 0 || (mac_cr & FULL_DUPLEX != 0) == link.is_full_duplex;
        let is_right = is_speed_right && is_duplex_right;
        if !is_right && self.core.now_us.saturating_sub(link.since_us) > SETTING_US {
            self.core.mistakes.add(|| format!("a frame is lost: MAC_CR {mac_cr:#x} does not fit the link ({link:?})"));
        }
        is_right
    }
}

/// The bits of FCT_RX_CTL and FCT_TX_CTL that tell how full a FIFO is.
fn fifo_state(used: usize) -> u32 {
    (if used == 0 { FCT_EMPTY } else { FCT_NOT_EMPTY }) | (used as u32 & 0xFFFF)
}

fn is_plain(address: u16) -> bool {
    address.is_multiple_of(4) && PLAIN.iter().any(|range| range.contains(&address))
}

impl Function for Lan7800 {
    /// As `lsusb -v` shows it on a Raspberry Pi 3B+: no strings.
    fn device_descriptor(&self) -> Vec<u8> {
        vec![18, 1, 0x10, 2, 0xFF, 0, 0xFF, 64, 0x24, 0x04, 0x00, 0x78, 0, 3, 0, 0, 0, 1]
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
            (0xC0, 0xA2) if value == 0 && address == 0 && usize::from(len) == statistics::LEN => {
                Answer::Data(self.statistics.bytes())
            }
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
        let bits = self.interrupt_status() & enabled;
        if bits == 0 && enabled & INT_EP_ALWAYS == 0 {
            return Answer::Nak;
        }
        self.core.seen.interrupts += 1;
        Answer::Data(bits.to_le_bytes().to_vec())
    }

    fn on_out(&mut self, _endpoint: u8, data: &[u8]) -> Answer {
        self.take_packet(data)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

impl NicModel for Lan7800 {
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
