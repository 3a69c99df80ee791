//! One reading of everything that changes: raw counts, fixed size, no text.

use crate::health::Health;

/// Cores of every board.
pub const CORES: usize = 4;
/// Workloads that a core can run at the same time.
pub const SLOTS_PER_CORE: usize = 4;
/// Workloads that a node can run at the same time; one on several cores counts for each. Core 0 runs none.
pub const WORKLOAD_SLOTS: usize = (CORES - 1) * SLOTS_PER_CORE;

/// What was read at one moment. Counts are since boot. `None` is a value that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub struct Sample {
    /// When it was taken, in µs since boot.
    pub at_us: u64,
    /// The same moment in µs since 1970, once a time server has told.
    pub unix_us: Option<u64>,
    /// How far `unix_us` may be off, in µs.
    pub clock_error_us: Option<u64>,
    /// What each core did; `None` for a core that never came up.
    pub cores: [Option<CoreTime>; CORES],
    /// Memory.
    pub memory: Memory,
    /// The network interface.
    pub nic: NicCounts,
    /// Interrupts taken by all cores.
    pub interrupts: Option<u64>,
    /// Temperature of the SoC in thousandths of a degree Celsius.
    pub temperature_mc: Option<i32>,
    /// What the firmware holds back and why.
    pub throttled: Option<Throttled>,
    /// Whether the hardware was well since the sample before.
    pub health: Health,
    /// Rate of each clock in Hz, by [`Clock`].
    pub clocks_hz: [Option<u32>; Clock::ALL.len()],
    /// Figures of each workload, by its slot.
    pub workloads: [WorkloadCounts; WORKLOAD_SLOTS],
    /// Log lines written.
    pub log_lines: u64,
    /// Log lines that the serial console had no room for.
    pub log_lines_dropped: u64,
}

impl Sample {
    /// A reading of nothing.
    pub const EMPTY: Self = Self {
        at_us: 0,
        unix_us: None,
        clock_error_us: None,
        cores: [None; CORES],
        memory: Memory::EMPTY,
        nic: NicCounts::EMPTY,
        interrupts: None,
        temperature_mc: None,
        throttled: None,
        health: Health::UNKNOWN,
        clocks_hz: [None; Clock::ALL.len()],
        workloads: [WorkloadCounts::EMPTY; WORKLOAD_SLOTS],
        log_lines: 0,
        log_lines_dropped: 0,
    };

    /// Returns the rate of `clock` in Hz.
    #[must_use]
    pub fn clock_hz(&self, clock: Clock) -> Option<u32> {
        Clock::ALL.iter().zip(self.clocks_hz).find_map(|(c, hz)| if *c == clock { hz } else { None })
    }

    /// Returns the node's start in µs since 1970.
    #[must_use]
    pub fn boot_unix_us(&self) -> Option<u64> {
        self.unix_us?.checked_sub(self.at_us)
    }
}

impl Default for Sample {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// How a core spent its time since boot.
///
/// Idle is time asleep in WFI, busy is everything else. Core 0 runs drivers and network, so its busy time is shown as
/// mode `system`; the other cores run workloads, so theirs is shown as `user`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub struct CoreTime {
    /// Time asleep, in µs.
    pub idle_us: u64,
    /// Time awake, in µs.
    pub busy_us: u64,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub struct Memory {
    /// What the board gives the ARM cores.
    pub total: u64,
    /// What nothing was given of it.
    pub free: u64,
    /// Code and data of the image.
    pub image: u64,
    /// The heap.
    pub heap: Area,
    /// Memory that controllers can reach.
    pub dma: Area,
    /// The stack of each core; how much is in use at the moment is not known.
    pub stacks: [Area; CORES],
}

impl Memory {
    /// No memory.
    pub const EMPTY: Self =
        Self { total: 0, free: 0, image: 0, heap: Area::EMPTY, dma: Area::EMPTY, stacks: [Area::EMPTY; CORES] };

    /// Returns what could still be had: memory given to nobody and the unused part of the heap.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.free.saturating_add(self.heap.size.saturating_sub(self.heap.used))
    }

    /// Returns what is in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.total.saturating_sub(self.available())
    }
}

/// A part of memory with a use of its own, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub struct Area {
    /// How large it is.
    pub size: u64,
    /// How much is in use now; 0 for stacks.
    pub used: u64,
    /// The most that ever was in use.
    pub peak: u64,
}

impl Area {
    /// No memory.
    pub const EMPTY: Self = Self { size: 0, used: 0, peak: 0 };
}

/// Frames and bytes through the network interface, and what went wrong. Bytes are without FCS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub struct NicCounts {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes of these frames.
    pub rx_bytes: u64,
    /// Received frames that were damaged.
    pub rx_errors: u64,
    /// Received frames that there was no room for.
    pub rx_dropped: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes of these frames.
    pub tx_bytes: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
    /// Frames that were dropped before they were sent.
    pub tx_dropped: u64,
    /// Times that the link came up or went down.
    pub carrier_changes: u64,
    /// Times that a driver started its controller anew.
    pub restarts: u64,
    /// Received frames with a wrong checksum (FCS), as far as the controller tells.
    pub crc_errors: u64,
    /// Times that the controller sent nothing for too long.
    pub tx_stalls: u64,
    /// Times that the link was down for a moment between two looks.
    pub link_flaps: u64,
    /// Frames that the node has sent and that came back.
    pub looped_frames: u64,
}

impl NicCounts {
    /// Nothing yet.
    pub const EMPTY: Self = Self {
        rx_frames: 0,
        rx_bytes: 0,
        rx_errors: 0,
        rx_dropped: 0,
        tx_frames: 0,
        tx_bytes: 0,
        tx_errors: 0,
        tx_dropped: 0,
        carrier_changes: 0,
        restarts: 0,
        crc_errors: 0,
        tx_stalls: 0,
        link_flaps: 0,
        looped_frames: 0,
    };
}

/// Clocks that are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The ARM cores.
    Arm,
    /// The VideoCore and the buses.
    Core,
    /// The memory.
    Sdram,
    /// The first UART.
    Uart,
    /// The SD card's controller.
    Emmc,
}

impl Clock {
    /// Every clock, in the order of [`Sample::clocks_hz`].
    pub const ALL: [Self; 5] = [Self::Arm, Self::Core, Self::Sdram, Self::Uart, Self::Emmc];

    /// Returns the name of the clock.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Arm => "arm",
            Self::Core => "core",
            Self::Sdram => "sdram",
            Self::Uart => "uart",
            Self::Emmc => "emmc",
        }
    }
}

/// The firmware's answer to "get throttled" (mailbox tag 0x00030046): bits 0–3 are now, bits 16–19 since boot.
///
/// Source: raspberrypi/documentation, os/vcgencmd, "get_throttled".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub struct Throttled(pub u32);

impl Throttled {
    /// What the four bits of each half mean, from bit 0 up.
    pub const NAMES: [&'static str; 4] = ["under_voltage", "frequency_capped", "throttled", "soft_temperature_limit"];

    /// Returns for each name whether it is so now and whether it was so since boot.
    pub fn conditions(self) -> impl Iterator<Item = (&'static str, bool, bool)> {
        Self::NAMES
            .into_iter()
            .enumerate()
            .map(move |(bit, name)| (name, self.0 & (1 << bit) != 0, self.0 & (0x1_0000 << bit) != 0))
    }

    /// Returns whether anything is held back now.
    #[must_use]
    pub fn is_now(self) -> bool {
        self.0 & 0xF != 0
    }

    /// Returns whether anything was held back since boot.
    #[must_use]
    pub fn is_since_boot(self) -> bool {
        self.0 & 0xF_0000 != 0
    }
}

/// Figures of a workload on a core; they start at zero when it is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub struct WorkloadCounts {
    /// Times that a workload was started in this slot since boot.
    pub runs: u64,
    /// Operations done; what one is, the workload's help says.
    pub operations: u64,
    /// Bytes that it moved.
    pub bytes: u64,
    /// Operations that gave a wrong result or none.
    pub errors: u64,
    /// Time that it worked, in µs.
    pub busy_us: u64,
    /// Changes whenever the workload gets on.
    pub progress: u64,
}

impl WorkloadCounts {
    /// Nothing yet.
    pub const EMPTY: Self = Self { runs: 0, operations: 0, bytes: 0, errors: 0, busy_us: 0, progress: 0 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_stays_small_enough_to_keep_five_minutes_of_them() {
        assert!(size_of::<Sample>() <= 1536, "{} bytes", size_of::<Sample>());
    }

    #[test]
    fn throttled_bits_are_told_apart() {
        // 0x50005 is the classic weak power supply: under-voltage and throttled, now and since boot.
        let bits = Throttled(0x5_0005);
        let all: Vec<_> = bits.conditions().collect();
        assert_eq!(all[0], ("under_voltage", true, true));
        assert_eq!(all[1], ("frequency_capped", false, false));
        assert_eq!(all[2], ("throttled", true, true));
        assert_eq!(all[3], ("soft_temperature_limit", false, false));
        assert!(bits.is_now() && bits.is_since_boot());
        assert!(!Throttled(0x8_0000).is_now());
        assert!(Throttled(0x8_0000).is_since_boot());
    }

    #[test]
    fn unused_heap_counts_as_available() {
        let memory = Memory { total: 1000, free: 600, heap: Area { size: 100, used: 40, peak: 50 }, ..Memory::EMPTY };
        assert_eq!(memory.available(), 660);
        assert_eq!(memory.used(), 340);
    }

    #[test]
    fn clocks_are_found_by_name() {
        let mut sample = Sample::EMPTY;
        sample.clocks_hz[1] = Some(400_000_000);
        assert_eq!(sample.clock_hz(Clock::Core), Some(400_000_000));
        assert_eq!(sample.clock_hz(Clock::Arm), None);
    }
}
