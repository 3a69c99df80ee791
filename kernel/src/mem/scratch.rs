//! The RAM that neither the image nor the heap has, for workloads that want much of it: a third for each of cores 1-3.

use core::cell::Cell;
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};

use alloc::vec::Vec;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use hal::dma::CACHE_LINE;

use crate::facts::{BoardFacts, RAM_RANGES};

/// Cores that run workloads.
const SHARES: usize = 3;
const WORD: usize = size_of::<u64>();

/// The ranges that are mapped; empty ones are not.
static MAPPED: Mutex<CriticalSectionRawMutex, Cell<[(usize, usize); RAM_RANGES]>> =
    Mutex::new(Cell::new([(0, 0); RAM_RANGES]));

/// Maps what RAM of the board lies behind the image's own memory. Works once; call it before the other cores start.
pub(crate) fn map(board: &BoardFacts) {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if IS_DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut mapped = [(0, 0); RAM_RANGES];
    for (range, mapped) in board.memory.iter().zip(&mut mapped) {
        let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end)) else { continue };
        // SAFETY: 1. RAM that the firmware says the ARM cores have; 2. nobody refers to it: `handover::take`, without which there
        // are no facts about a board, has moved what the firmware had left there; 3. on core 0, at boot.
        let part = unsafe { boot::map_memory(start.max(boot::ram_end())..end) };
        *mapped = (part.start, part.end);
    }
    MAPPED.lock(|cell| cell.set(mapped));
}

/// Takes the share of `core`, which is one of cores 1-3, in each range of RAM; empty for others, and the second time.
pub(crate) fn take(core: usize) -> Vec<&'static mut [u64]> {
    static IS_TAKEN: [AtomicBool; SHARES] = [const { AtomicBool::new(false) }; SHARES];
    let Some(index) = core.checked_sub(1) else { return Vec::new() };
    if IS_TAKEN.get(index).is_none_or(|taken| taken.swap(true, Ordering::Relaxed)) {
        return Vec::new();
    }
    let ranges = MAPPED.lock(Cell::get).into_iter().filter(|(start, end)| start < end);
    ranges
        .map(|(start, end)| {
            let len = (end - start) / SHARES / CACHE_LINE * CACHE_LINE;
            let start: *mut u64 = core::ptr::with_exposed_provenance_mut(start + index * len);
            // SAFETY: 1. mapped read-write by `map`, for this, and aligned to a cache line; 2. each core's share is handed out
            // once (checked above); 3. any bytes are valid words.
            unsafe { slice::from_raw_parts_mut(start, len / WORD) }
        })
        .collect()
}
