//! What the device tree says about the board, when the firmware passes one.
//!
//! The blob is validated as a whole first; what can't be read after that is left out, so a node with a strange device tree
//! comes up without these facts rather than not at all.
//!
//! Sources: Devicetree Specification 0.4; the properties that the firmware fills in: raspberrypi documentation,
//! "Device trees, overlays and parameters".

use core::ops::Range;

use dtoolkit::error::FdtParseError;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use heapless::Vec;
use thiserror::Error;

/// Ranges of RAM that are kept. The largest boards have four.
const MAX_MEMORY_RANGES: usize = 8;
/// Largest blob that is looked at. The firmware's are about 60 KB with overlays.
pub const MAX_LEN: usize = 0x10_0000;
/// First word of a blob (Devicetree Specification, section 5.2).
const MAGIC: u32 = 0xd00d_feed;
/// Bytes of the header that [`blob_len`] wants.
pub const HEADER_LEN: usize = 8;

/// Why a device tree can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// There is none, or it is damaged.
    #[error("no device tree: {0}")]
    Malformed(#[from] FdtParseError),
}

/// What the device tree says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceTree<'a> {
    /// The board, as people call it: "Raspberry Pi 3 Model B Rev 1.2".
    pub model: Option<&'a str>,
    /// Its serial number: 16 hexadecimal digits.
    pub serial: Option<&'a str>,
    /// The kernel's command line.
    pub bootargs: Option<&'a [u8]>,
    /// Where the firmware left an initramfs, as physical addresses.
    pub initramfs: Option<Range<u64>>,
    /// MAC address of the board's network interface.
    pub mac: Option<[u8; 6]>,
    /// RAM, as far as the firmware has filled it in.
    pub memory: Vec<Range<u64>, MAX_MEMORY_RANGES>,
}

/// Returns how long the blob that starts with `header` is, if it is one of reasonable length.
///
/// A boot loader leaves just an address in a register: this is what to ask before making a slice of it.
#[must_use]
pub fn blob_len(header: &[u8; HEADER_LEN]) -> Option<usize> {
    let ([magic, len], []) = header.as_chunks() else { return None };
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    (u32::from_be_bytes(*magic) == MAGIC && (HEADER_LEN..=MAX_LEN).contains(&len)).then_some(len)
}

impl<'a> DeviceTree<'a> {
    /// Reads a blob.
    ///
    /// # Errors
    ///
    /// When it is damaged.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Error> {
        let fdt = Fdt::new(blob)?;
        let root = fdt.root();
        let chosen = root.child("chosen");
        Ok(Self {
            model: text(root, "model"),
            serial: text(root, "serial-number"),
            bootargs: chosen.and_then(|chosen| bytes(chosen, "bootargs")).map(trim_nul),
            initramfs: chosen.and_then(initramfs),
            mac: mac(fdt),
            memory: memory(root),
        })
    }
}

fn bytes<'a>(node: FdtNode<'a>, name: &str) -> Option<&'a [u8]> {
    let property = node.properties().find(|property| property.name() == name)?;
    property.value_as().ok()
}

fn text<'a>(node: FdtNode<'a>, name: &str) -> Option<&'a str> {
    str::from_utf8(trim_nul(bytes(node, name)?)).ok()
}

fn trim_nul(value: &[u8]) -> &[u8] {
    value.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The addresses have one cell or two (devicetree-specification, schema chosen.yaml, linux,initrd-start).
fn initramfs(chosen: FdtNode<'_>) -> Option<Range<u64>> {
    let address = |name| bytes(chosen, name).and_then(number);
    let range = address("linux,initrd-start")?..address("linux,initrd-end")?;
    (!range.is_empty()).then_some(range)
}

/// The address that the firmware puts into the node of the board's network interface, which an alias leads to.
fn mac(fdt: Fdt<'_>) -> Option<[u8; 6]> {
    let aliases = fdt.root().child("aliases")?;
    ["ethernet0", "ethernet"].iter().find_map(|alias| {
        let interface = fdt.find_node(text(aliases, alias)?)?;
        let mac = <[u8; 6]>::try_from(bytes(interface, "local-mac-address")?).ok()?;
        (mac != [0; 6]).then_some(mac)
    })
}

fn memory(root: FdtNode<'_>) -> Vec<Range<u64>, MAX_MEMORY_RANGES> {
    let cells = |name, default| bytes(root, name).and_then(number).unwrap_or(default);
    // Defaults: Devicetree Specification, section 2.3.5.
    let (address_cells, size_cells) = (cells("#address-cells", 2), cells("#size-cells", 1));
    let mut ranges = Vec::new();
    // More than two cells are no address of ours.
    if !(1..=2).contains(&address_cells) || !(1..=2).contains(&size_cells) {
        return ranges;
    }
    let (address_len, size_len) = (address_cells as usize * CELL, size_cells as usize * CELL);
    for node in root.children().filter(|node| node.name_without_address() == "memory") {
        for entry in bytes(node, "reg").unwrap_or_default().chunks_exact(address_len + size_len) {
            let (base, size) = entry.split_at_checked(address_len).unwrap_or_default();
            let (Some(base), Some(size)) = (number(base), number(size)) else { continue };
            if let Some(end) = base.checked_add(size).filter(|_| size != 0) {
                // The ninth range of RAM is left unused.
                let _ = ranges.push(base..end);
            }
        }
    }
    ranges
}

const CELL: usize = 4;

/// Reads one or two cells.
fn number(cells: &[u8]) -> Option<u64> {
    match cells.len() {
        4 => cells.first_chunk().map(|bytes| u32::from_be_bytes(*bytes).into()),
        8 => cells.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
