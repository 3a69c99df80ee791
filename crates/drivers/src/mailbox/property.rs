//! The properties that a node uses.
//!
//! Tags: raspberrypi/firmware wiki, "Mailbox property interface"; those not listed there (throttled, measured clock):
//! Linux include/soc/bcm2835/raspberrypi-firmware.h.

use core::fmt;

use boards::Revision;
use heapless::Vec;

/// Longest command line that can be read, in bytes: as long as Linux's (arm64 asm/setup.h, COMMAND_LINE_SIZE).
pub const COMMAND_LINE_LEN: usize = 2048;

/// The [`FirmwareRevision`] that QEMU makes up (hw/misc/bcm2835_property.c): no board has a firmware of January 1970.
pub const QEMU_FIRMWARE: u32 = 346_337;

/// Something to ask the firmware for, or to tell it.
pub trait Property {
    /// Its number.
    const TAG: u32;
    /// Length of the value's buffer in bytes: the longer of request and answer.
    const VALUE_LEN: usize;
    /// What the answer is turned into.
    type Output;

    /// Returns the request. Only as many words of it are sent as the value's buffer has.
    fn request(&self) -> [u32; 2] {
        [0, 0]
    }

    /// Reads an answer, which may be shorter than the value's buffer. Returns nothing when it has no value in it.
    fn parse(&self, answer: &[u8]) -> Option<Self::Output>;
}

/// Build number of the firmware: seconds since 1970 on boards, a made-up number in QEMU.
#[derive(Clone, Copy, Debug)]
pub struct FirmwareRevision;

/// Board model. The firmware of every board so far answers 0; [`BoardRevision`] is what tells them apart.
#[derive(Clone, Copy, Debug)]
pub struct BoardModel;

/// Board revision code.
#[derive(Clone, Copy, Debug)]
pub struct BoardRevision;

/// Board serial number. QEMU has none.
#[derive(Clone, Copy, Debug)]
pub struct BoardSerial;

/// MAC address of the board's network interface, in the order it is written.
#[derive(Clone, Copy, Debug)]
pub struct BoardMac;

/// RAM of the ARM cores (its first GiB at most).
#[derive(Clone, Copy, Debug)]
pub struct ArmMemory;

/// RAM of the VideoCore.
#[derive(Clone, Copy, Debug)]
pub struct VideoCoreMemory;

/// The SoC's temperature, in thousandths of a degree Celsius.
#[derive(Clone, Copy, Debug)]
pub struct Temperature;

/// The temperature from which on the SoC is slowed down to stay below, in thousandths of a degree Celsius.
#[derive(Clone, Copy, Debug)]
pub struct MaxTemperature;

/// What keeps, or kept, the SoC from running at full speed.
#[derive(Clone, Copy, Debug)]
pub struct GetThrottled {
    /// Whether the firmware is to forget what has happened, once it has told it (linux, raspberrypi-hwmon.c,
    /// rpi_firmware_get_throttled: the bits to be forgotten, shifted down). It notices again what lasts for 100 ms. There is no
    /// second source for this: whether it does forget is for the caller to see.
    pub forget: bool,
}

/// The frequency that a clock is set to, in Hz.
#[derive(Clone, Copy, Debug)]
pub struct ClockRate(pub Clock);

/// The highest frequency that a clock can be set to, in Hz.
#[derive(Clone, Copy, Debug)]
pub struct MaxClockRate(pub Clock);

/// The frequency that a clock really has, in Hz. QEMU has none.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredClockRate(pub Clock);

/// Sets a clock, and with the ARM's whatever its speed needs (voltage, SDRAM). Answers the frequency that it has now, in Hz.
/// QEMU sets none.
#[derive(Clone, Copy, Debug)]
pub struct SetClockRate {
    /// The clock.
    pub clock: Clock,
    /// The frequency in Hz.
    pub hz: u32,
}

/// The kernel's command line.
#[derive(Clone, Copy, Debug)]
pub struct CommandLine;

/// Switches a device's power and waits until it is stable. Answers whether it is on.
#[derive(Clone, Copy, Debug)]
pub struct SetPower {
    /// The device.
    pub device: Device,
    /// Whether it is to be on.
    pub is_on: bool,
}

/// Sets a line of the GPIO expander, which only the firmware can reach. QEMU has none.
#[derive(Clone, Copy, Debug)]
pub struct SetGpio {
    /// The line: 128 and up.
    pub gpio: u32,
    /// Its level.
    pub is_high: bool,
}

/// A range of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// First address.
    pub base: u32,
    /// Length in bytes.
    pub len: u32,
}

/// A clock, by the firmware's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// SD card.
    Emmc = 1,
    /// PL011.
    Uart = 2,
    /// ARM cores.
    Arm = 3,
    /// VideoCore, which the mini UART runs from.
    Core = 4,
    /// 3D unit.
    V3d = 5,
    /// SDRAM.
    Sdram = 8,
}

/// A device with its own power switch, by the firmware's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// SD card.
    SdCard = 0,
    /// PL011.
    Uart0 = 1,
    /// DWC2 USB controller.
    UsbHcd = 3,
}

/// Answer to [`GetThrottled`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttled(pub u32);

/// One thing that slows the SoC down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The supply is below 4.63 V.
    UnderVoltage = 0,
    /// The ARM clock is capped.
    FrequencyCapped = 1,
    /// The SoC is throttled.
    Throttled = 2,
    /// The soft temperature limit is reached.
    SoftTemperature = 3,
}

/// How far the bits "has happened since boot" are above those for "now" (raspberrypi documentation, vcgencmd
/// get_throttled).
const SINCE_BOOT_SHIFT: u32 = 16;

impl Limit {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 4] = [Self::UnderVoltage, Self::FrequencyCapped, Self::Throttled, Self::SoftTemperature];

    /// Returns its name in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnderVoltage => "under-voltage",
            Self::FrequencyCapped => "frequency capped",
            Self::Throttled => "throttled",
            Self::SoftTemperature => "soft temperature limit",
        }
    }
}

impl Throttled {
    /// Returns whether a limit is in force now.
    #[must_use]
    pub const fn is_now(self, limit: Limit) -> bool {
        self.0 >> limit as u32 & 1 != 0
    }

    /// Returns whether a limit has been in force since the board was switched on.
    #[must_use]
    pub const fn has_been(self, limit: Limit) -> bool {
        self.0 >> (limit as u32 + SINCE_BOOT_SHIFT) & 1 != 0
    }
}

/// In words: "under-voltage now, throttled since boot", or "none".
impl fmt::Display for Throttled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for limit in Limit::ALL {
            let when = match (self.is_now(limit), self.has_been(limit)) {
                (true, _) => "now",
                (false, true) => "since boot",
                (false, false) => continue,
            };
            write!(f, "{separator}{} {when}", limit.name())?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

impl Property for FirmwareRevision {
    const TAG: u32 = 0x1;
    const VALUE_LEN: usize = 4;
    type Output = u32;

    fn parse(&self, answer: &[u8]) -> Option<u32> {
        word(answer, 0)
    }
}

impl Property for BoardModel {
    const TAG: u32 = 0x1_0001;
    const VALUE_LEN: usize = 4;
    type Output = u32;

    fn parse(&self, answer: &[u8]) -> Option<u32> {
        word(answer, 0)
    }
}

impl Property for BoardRevision {
    const TAG: u32 = 0x1_0002;
    const VALUE_LEN: usize = 4;
    type Output = Revision;

    fn parse(&self, answer: &[u8]) -> Option<Revision> {
        word(answer, 0).map(Revision)
    }
}

impl Property for BoardMac {
    const TAG: u32 = 0x1_0003;
    const VALUE_LEN: usize = 6;
    type Output = [u8; 6];

    fn parse(&self, answer: &[u8]) -> Option<[u8; 6]> {
        answer.first_chunk().copied().filter(|mac| *mac != [0; 6])
    }
}

impl Property for BoardSerial {
    const TAG: u32 = 0x1_0004;
    const VALUE_LEN: usize = 8;
    type Output = u64;

    fn parse(&self, answer: &[u8]) -> Option<u64> {
        answer.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).filter(|&serial| serial != 0)
    }
}

impl Property for ArmMemory {
    const TAG: u32 = 0x1_0005;
    const VALUE_LEN: usize = 8;
    type Output = Memory;

    fn parse(&self, answer: &[u8]) -> Option<Memory> {
        memory(answer)
    }
}

impl Property for VideoCoreMemory {
    const TAG: u32 = 0x1_0006;
    const VALUE_LEN: usize = 8;
    type Output = Memory;

    fn parse(&self, answer: &[u8]) -> Option<Memory> {
        memory(answer)
    }
}

impl Property for SetPower {
    const TAG: u32 = 0x2_8001;
    const VALUE_LEN: usize = 8;
    type Output = bool;

    fn request(&self) -> [u32; 2] {
        const WAIT: u32 = 1 << 1;
        [self.device as u32, u32::from(self.is_on) | WAIT]
    }

    fn parse(&self, answer: &[u8]) -> Option<bool> {
        const ON: u32 = 1 << 0;
        const NO_SUCH_DEVICE: u32 = 1 << 1;
        let state = of(answer, self.device as u32)?;
        (state & NO_SUCH_DEVICE == 0).then_some(state & ON != 0)
    }
}

impl Property for SetGpio {
    const TAG: u32 = 0x3_8041;
    const VALUE_LEN: usize = 8;
    type Output = ();

    fn request(&self) -> [u32; 2] {
        [self.gpio, u32::from(self.is_high)]
    }

    /// The firmware puts 0 in the line's place when it has done it (Linux drivers/gpio/gpio-raspberrypi-exp.c).
    fn parse(&self, answer: &[u8]) -> Option<()> {
        (word(answer, 0)? == 0).then_some(())
    }
}

impl Property for SetClockRate {
    const TAG: u32 = 0x3_8002;
    // Clock, frequency, and 0 for "with all that belongs to turbo".
    const VALUE_LEN: usize = 12;
    type Output = u32;

    fn request(&self) -> [u32; 2] {
        [self.clock as u32, self.hz]
    }

    fn parse(&self, answer: &[u8]) -> Option<u32> {
        rate(answer, self.clock)
    }
}

impl Property for ClockRate {
    const TAG: u32 = 0x3_0002;
    const VALUE_LEN: usize = 8;
    type Output = u32;

    fn request(&self) -> [u32; 2] {
        [self.0 as u32, 0]
    }

    fn parse(&self, answer: &[u8]) -> Option<u32> {
        rate(answer, self.0)
    }
}

impl Property for MaxClockRate {
    const TAG: u32 = 0x3_0004;
    const VALUE_LEN: usize = 8;
    type Output = u32;

    fn request(&self) -> [u32; 2] {
        [self.0 as u32, 0]
    }

    fn parse(&self, answer: &[u8]) -> Option<u32> {
        rate(answer, self.0)
    }
}

impl Property for MeasuredClockRate {
    const TAG: u32 = 0x3_0047;
    const VALUE_LEN: usize = 8;
    type Output = u32;

    fn request(&self) -> [u32; 2] {
        [self.0 as u32, 0]
    }

    fn parse(&self, answer: &[u8]) -> Option<u32> {
        rate(answer, self.0)
    }
}

/// The only temperature sensor.
const SENSOR: u32 = 0;

impl Property for Temperature {
    const TAG: u32 = 0x3_0006;
    const VALUE_LEN: usize = 8;
    type Output = u32;

    fn request(&self) -> [u32; 2] {
        [SENSOR, 0]
    }

    fn parse(&self, answer: &[u8]) -> Option<u32> {
        of(answer, SENSOR)
    }
}

impl Property for MaxTemperature {
    const TAG: u32 = 0x3_000a;
    const VALUE_LEN: usize = 8;
    type Output = u32;

    fn request(&self) -> [u32; 2] {
        [SENSOR, 0]
    }

    fn parse(&self, answer: &[u8]) -> Option<u32> {
        of(answer, SENSOR)
    }
}

impl Property for GetThrottled {
    const TAG: u32 = 0x3_0046;
    const VALUE_LEN: usize = 4;
    type Output = Throttled;

    fn request(&self) -> [u32; 2] {
        const EVERYTHING: u32 = 0xffff;
        [if self.forget { EVERYTHING } else { 0 }, 0]
    }

    fn parse(&self, answer: &[u8]) -> Option<Throttled> {
        word(answer, 0).map(Throttled)
    }
}

impl Property for CommandLine {
    const TAG: u32 = 0x5_0001;
    const VALUE_LEN: usize = COMMAND_LINE_LEN;
    type Output = Vec<u8, COMMAND_LINE_LEN>;

    /// The text, up to the first NUL. An empty line is a value too.
    fn parse(&self, answer: &[u8]) -> Option<Self::Output> {
        let text = answer.split(|&byte| byte == 0).next().unwrap_or_default();
        Vec::from_slice(text).ok()
    }
}

fn word(answer: &[u8], index: usize) -> Option<u32> {
    let (words, _) = answer.as_chunks();
    words.get(index).map(|word| u32::from_le_bytes(*word))
}

/// Reads an answer that starts with what was asked about. A firmware that does not know it answers about something else.
fn of(answer: &[u8], what: u32) -> Option<u32> {
    if word(answer, 0)? == what { word(answer, 1) } else { None }
}

/// Reads a clock's frequency, which is 0 for clocks that the SoC does not have.
fn rate(answer: &[u8], clock: Clock) -> Option<u32> {
    of(answer, clock as u32).filter(|&hz| hz != 0)
}

fn memory(answer: &[u8]) -> Option<Memory> {
    Some(Memory { base: word(answer, 0)?, len: word(answer, 1)? }).filter(|memory| memory.len != 0)
}
