//! The heap: one list of free blocks behind the lock between cores. For set-up and slow paths; nothing per packet.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::RefCell;
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

use critical_section::Mutex;
use linked_list_allocator::Heap;

struct LockedHeap(Mutex<RefCell<Heap>>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(Mutex::new(RefCell::new(Heap::empty())));

static USED_MOST: AtomicUsize = AtomicUsize::new(0);

/// Bytes of the heap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeapUse {
    /// In use now.
    pub(crate) used: usize,
    /// In use at most, since boot.
    pub(crate) used_most: usize,
    /// All there are.
    pub(crate) size: usize,
}

/// # Safety
///
/// Called once; the range is mapped read-write and belongs to nobody else.
pub(super) unsafe fn init(range: Range<usize>) {
    critical_section::with(|cs| {
        let start: *mut u8 = ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the caller's promise.
        unsafe { HEAP.0.borrow(cs).borrow_mut().init(start, range.len()) };
    });
}

/// Returns how much of the heap is used.
pub(crate) fn usage() -> HeapUse {
    critical_section::with(|cs| {
        let heap = HEAP.0.borrow(cs).borrow();
        HeapUse { used: heap.used(), used_most: USED_MOST.load(Ordering::Relaxed), size: heap.size() }
    })
}

// SAFETY: the list allocator keeps blocks apart and aligned as asked; the critical section keeps cores apart.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        critical_section::with(|cs| {
            let mut heap = self.0.borrow(cs).borrow_mut();
            let block = heap.allocate_first_fit(layout).map_or(ptr::null_mut(), NonNull::as_ptr);
            USED_MOST.fetch_max(heap.used(), Ordering::Relaxed);
            block
        })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else { return };
        critical_section::with(|cs| {
            // SAFETY: the block came from `alloc` with this layout (the caller's promise).
            unsafe { self.0.borrow(cs).borrow_mut().deallocate(block, layout) };
        });
    }
}
