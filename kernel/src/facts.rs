//! What the node finds out about its board at boot: from the core itself, the mailbox and, when there is one, the device
//! tree.

use core::fmt::Write;
use core::ops::Range;

use boards::revision::Revision;
use boards::soc::Soc;
use boards::{Ethernet, Led};
use drivers::device_tree::DeviceTree;
use drivers::mailbox::{
    ArmMemory, BoardMac, BoardRevision, BoardSerial, COMMAND_LINE_LEN, CommandLine, FirmwareRevision, Mailbox,
    Property, QEMU_FIRMWARE,
};
use heapless::{String, Vec};
use log::warn;

/// Ranges of RAM at most: in the first GiB, up to the peripherals, and behind them.
pub(crate) const RAM_RANGES: usize = 3;
/// Where the peripherals are in the first GiB, or end it (bcm2837 ARM Peripherals 1.2.3, BCM2711 ARM Peripherals 1.2.4).
const FIRST_GIB: Range<u64> = 0..0x3f00_0000;
/// Where a BCM2711 has more RAM: up to its peripherals, and behind the fourth GiB (BCM2711 ARM Peripherals 1.2.4).
const MORE_OF_2711: [Range<u64>; 2] = [0x4000_0000..0xfc00_0000, 0x1_0000_0000..0x4_0000_0000];

/// What is known about the board.
pub(crate) struct BoardFacts {
    /// The SoC.
    pub(crate) soc: Soc,
    /// The board's name.
    pub(crate) model: String<63>,
    /// Its revision code, or 0.
    pub(crate) revision: u32,
    /// Its serial number, or 0.
    pub(crate) serial: u64,
    /// Its LED.
    pub(crate) led: Option<Led>,
    /// The MAC address that the firmware has for it.
    pub(crate) mac: Option<[u8; 6]>,
    /// Bytes of RAM that the ARM cores have.
    pub(crate) memory_bytes: u64,
    /// Where it is, as far as the firmware tells: above the first GiB only in the device tree.
    pub(crate) memory: Vec<Range<u64>, RAM_RANGES>,
    /// The command line; empty when there is none.
    pub(crate) command_line: Vec<u8, COMMAND_LINE_LEN>,
    /// Whether this is QEMU: its watchdog resets at once instead of counting.
    pub(crate) is_emulated: bool,
}

impl BoardFacts {
    /// Asks the firmware; what it does not tell comes from the device tree.
    pub(crate) fn find(soc: Soc, mailbox: &mut Mailbox<'_>, device_tree: Option<&[u8]>) -> Self {
        let mut ask = Asker { mailbox };
        let revision = ask.get(&BoardRevision);
        // The firmware tells of the first GiB only.
        let low_memory = ask.get(&ArmMemory).map(|memory| {
            let start = u64::from(memory.base);
            start..start + u64::from(memory.len)
        });
        let mut facts = Self {
            soc,
            model: String::new(),
            revision: revision.map_or(0, |revision| revision.0),
            serial: ask.get(&BoardSerial).unwrap_or(0),
            led: revision.and_then(Revision::board).and_then(|board| board.led),
            mac: ask.get(&BoardMac),
            memory_bytes: low_memory.as_ref().map_or(0, |range| range.end - range.start)
                + revision.map_or(0, Revision::memory_above_1_gib),
            memory: low_memory.iter().filter_map(|range| common(range, &FIRST_GIB)).collect(),
            command_line: Vec::new(),
            is_emulated: ask.get(&FirmwareRevision) == Some(QEMU_FIRMWARE),
        };
        if let Some(line) = ask.get(&CommandLine) {
            facts.set_command_line(&line);
        }
        if let Some(tree) = device_tree.and_then(read) {
            facts.complete(&tree);
        }
        if facts.model.is_empty() {
            let shown = revision.unwrap_or(Revision(0));
            // Cut off when it is longer than any known name.
            let _ = write!(facts.model, "{shown}");
        }
        facts
    }

    /// Returns whether the board has a GENET Ethernet controller that can be accessed.
    pub(crate) fn has_genet(&self) -> bool {
        let ethernet = Revision(self.revision).board().and_then(|board| board.ethernet);
        !self.is_emulated && ethernet == Some(Ethernet::Genet)
    }

    fn complete(&mut self, tree: &DeviceTree<'_>) {
        if let Some(model) = tree.model {
            self.model = model.chars().take(63).filter(char::is_ascii).collect();
        }
        if self.serial == 0 {
            self.serial = tree.serial.and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
        }
        self.mac = self.mac.or(tree.mac);
        self.memory_bytes = self.memory_bytes.max(tree.memory.iter().map(|range| range.end - range.start).sum());
        let more: &[_] = if self.soc == Soc::Bcm2711 { &MORE_OF_2711 } else { &[] };
        for known in more {
            // One range fits for each of them.
            let _ = tree.memory.iter().find_map(|range| common(range, known)).map(|range| self.memory.push(range));
        }
        if self.command_line.is_empty() {
            self.set_command_line(tree.bootargs.unwrap_or_default());
        }
    }

    fn set_command_line(&mut self, line: &[u8]) {
        self.command_line.clear();
        if line.len() > COMMAND_LINE_LEN {
            warn!("the command line has {} bytes; what is behind the first {COMMAND_LINE_LEN} is ignored", line.len());
        }
        let line = line.get(..COMMAND_LINE_LEN).unwrap_or(line);
        // Fits: just cut.
        let _ = self.command_line.extend_from_slice(line);
    }
}

/// Returns what two ranges have in common, if anything.
fn common(a: &Range<u64>, b: &Range<u64>) -> Option<Range<u64>> {
    let both = a.start.max(b.start)..a.end.min(b.end);
    (!both.is_empty()).then_some(both)
}

struct Asker<'a, 'b> {
    mailbox: &'a mut Mailbox<'b>,
}

impl Asker<'_, '_> {
    fn get<P: Property>(&mut self, property: &P) -> Option<P::Output> {
        match self.mailbox.get(property) {
            Ok(value) => Some(value),
            // Many boards lack one or the other: the device tree may have it.
            Err(drivers::mailbox::Error::NoValue { .. }) => None,
            Err(error) => {
                warn!("mailbox: {error}");
                None
            }
        }
    }
}

fn read(blob: &[u8]) -> Option<DeviceTree<'_>> {
    match DeviceTree::parse(blob) {
        Ok(tree) => Some(tree),
        Err(error) => {
            warn!("{error}");
            None
        }
    }
}
