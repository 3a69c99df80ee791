//! What the firmware hands over in memory: a device tree, and an initramfs that it tells of.
//!
//! Both lie wherever the firmware put them. The Pi's firmware loads them behind the kernel and then moves them to "a high
//! address that is safe" (raspberrypi/documentation, pull request 829; raspberrypi/firmware, issue 869), U-Boot and old
//! firmware put them lower, and nobody knows where our heap is. So before the heap and the DMA pool exist, what lies there is
//! moved into memory that the linker keeps for it right behind the image's file, where an initramfs that follows the kernel
//! byte by byte would be already. What lay in bss or on the stacks is lost, and told.

use core::ops::Range;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};

use drivers::atags;
use drivers::device_tree::{self, DeviceTree};
use thiserror::Error;

/// Bytes at the end of the memory kept for this that belong to a device tree; the rest is the initramfs's. The Pi's device
/// trees have about 60 KiB with their overlays.
const TREE_LEN_MAX: usize = 0x2_0000;
/// Where RAM may end on boards with 1 GiB or more: above it are the firmware's own part and, on BCM2837, the peripherals.
const RAM_END: usize = 0x3c00_0000;

/// What was handed over.
pub(crate) struct Handover {
    /// The device tree.
    pub(crate) device_tree: Option<&'static [u8]>,
    /// The initramfs, if there is one.
    pub(crate) initramfs: Result<&'static [u8], Missing>,
}

/// Why there is no initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Missing {
    /// The firmware tells of none.
    #[error("there is no initramfs")]
    None,
    /// It is too long.
    #[error("the initramfs has {len} bytes, at most {max} are taken; it is ignored")]
    TooLong {
        /// Its length.
        len: usize,
        /// What there is room for.
        max: usize,
    },
    /// It lies where the image has its own memory, and is overwritten by now; or where no RAM is.
    #[error("the initramfs at {start:#x} is lost; load it elsewhere: initramfs node.cpio 0x08000000 in config.txt")]
    Lost {
        /// Where it was.
        start: u64,
    },
}

/// Finds what the firmware left at `address`, the value of x0 at the image's entry, and what that tells of.
///
/// Works once. Call it before heap, DMA pool and scratch memory have owners, and before page 0 is unmapped.
pub(crate) fn take(address: usize) -> Handover {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    if IS_TAKEN.swap(true, Ordering::Relaxed) {
        return Handover { device_tree: None, initramfs: Err(Missing::None) };
    }
    let blob = device_tree_at(address);
    let found = match blob {
        Some(blob) => DeviceTree::parse(blob).ok().and_then(|tree| tree.initramfs),
        None => readable(address, atags::MAX_LEN).and_then(atags::initramfs),
    };
    let home = boot::handover();
    let (for_initramfs, for_tree) = (home.start..home.end - TREE_LEN_MAX, home.end - TREE_LEN_MAX..home.end);
    // What the initramfs is has to be known before anything moves, because it may lie where the device tree goes.
    let source = found.map(|range| intact(&range, for_initramfs.len()));
    let is_in_the_way =
        source.is_some_and(|source| source.is_ok_and(|source| overlap(&address_range(source), &for_tree)));
    let device_tree = blob.and_then(|blob| {
        if !has_other_owner(&address_range(blob)) {
            return Some(blob);
        }
        (!is_in_the_way).then(|| move_to(&for_tree, blob)).flatten()
    });
    let initramfs = match source {
        None => Err(Missing::None),
        Some(Err(missing)) => Err(missing),
        Some(Ok(source)) => move_to(&for_initramfs, source).ok_or(Missing::None),
    };
    Handover { device_tree, initramfs }
}

fn device_tree_at(address: usize) -> Option<&'static [u8]> {
    let len = device_tree::blob_len(readable(address, device_tree::HEADER_LEN)?.first_chunk()?)?;
    readable(address, len)
}

/// Returns the initramfs where the firmware left it, if it is still whole there.
fn intact(range: &Range<u64>, max: usize) -> Result<&'static [u8], Missing> {
    let lost = Missing::Lost { start: range.start };
    let start = usize::try_from(range.start).map_err(|_| lost)?;
    let len = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| lost)?;
    if len > max {
        return Err(Missing::TooLong { len, max });
    }
    readable(start, len).ok_or(lost)
}

/// Returns memory that the firmware may have written and that nobody has overwritten; `None` where there is none.
fn readable(address: usize, len: usize) -> Option<&'static [u8]> {
    let range = address..address.checked_add(len)?;
    let (image, home, black_box) = (boot::image(), boot::handover(), boot::black_box());
    // The file of the image; bss, page tables, stacks with their guard pages, and the black box.
    let is_overwritten = overlap(&range, &(image.start..home.start)) || overlap(&range, &(home.end..black_box.end));
    // SAFETY: 1. RAM as far as the firmware's own word goes, which put it there; 2. no device was told to write anywhere yet.
    if address == 0 || is_overwritten || !unsafe { boot::map_read_only(range, RAM_END) } {
        return None;
    }
    // SAFETY: mapped, by boot or just now; nobody writes there until `take` is done: neither heap nor DMA pool exist yet.
    Some(unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(address), len) })
}

/// Returns whether the memory will be given to somebody: devices, the heap, workloads (all RAM behind it), or what is handed over.
fn has_other_owner(range: &Range<usize>) -> bool {
    overlap(range, &boot::handover()) || range.end > boot::black_box().end
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

fn address_range(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr().addr();
    start..start + bytes.len()
}

/// Moves bytes to the start of a part of [`boot::handover`], from where they may overlap it; `None` if they do not fit.
fn move_to(home: &Range<usize>, source: &'static [u8]) -> Option<&'static [u8]> {
    if source.len() > home.len() {
        return None;
    }
    let to: *mut u8 = ptr::with_exposed_provenance_mut(home.start);
    // SAFETY: 1. the linker keeps this memory for what is handed over, mapped read-write, and only `take` writes it, once for
    // each part; 2. `source` is readable and as long; 3. `copy` allows for overlap, and `source` is not used again.
    unsafe { ptr::copy(source.as_ptr(), to, source.len()) };
    // SAFETY: as above; just written, and never again.
    Some(unsafe { slice::from_raw_parts(to, source.len()) })
}
