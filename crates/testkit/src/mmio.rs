//! Register blocks made of software.
//!
//! [`claim`] gives a driver a pointer to a block whose every access goes to a [`Block`], so reads can take from a FIFO,
//! writes can start something, and the order of writes can be looked at, all on the test's own thread. Pointers to plain
//! memory work as ever.
//!
//! Each read takes a microsecond of virtual time (see [`crate::time`]): a driver that polls meets its deadline. Tests of
//! such drivers run inside [`crate::time::run`].
//!
//! This file is safe-mmio's backend (its feature `custom-mmio`) for every test that links this crate. A crate whose tests
//! touch registers has to do so: `use testkit as _;` is enough.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use embassy_time::Duration;
use safe_mmio::{MmioOps, UniqueMmioPointer, set_mmio_ops};

use crate::time;

/// What a read takes.
const READ_TIME: Duration = Duration::from_micros(1);

/// A model of a block of 32-bit registers. Offsets are in bytes.
pub trait Block: Send + 'static {
    /// Answers a read.
    fn read(&mut self, offset: usize) -> u32;
    /// Takes a write.
    fn write(&mut self, offset: usize, value: u32);
}

/// The test's handle to a model.
pub struct Model<B>(Arc<Mutex<B>>);

impl<B> Model<B> {
    /// Gives access to the model. The driver must not run meanwhile.
    ///
    /// A model may assert: what it finds wrong fails the test there, and does not poison it.
    pub fn lock(&self) -> MutexGuard<'_, B> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Clone for Model<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

type Blocks = BTreeMap<usize, (usize, Arc<Mutex<dyn Block>>)>;

/// Modelled blocks by their first address, with the address behind them.
static BLOCKS: RwLock<Blocks> = RwLock::new(Blocks::new());

/// Makes a block of registers of type `T` that behaves like `model`. Both live as long as the test program.
///
/// # Panics
///
/// When `T` has no registers.
pub fn claim<T, B: Block>(model: B) -> (UniqueMmioPointer<'static, T>, Model<B>) {
    let layout = Layout::new::<T>();
    assert!(layout.size() > 0, "a block without registers");
    // SAFETY: the layout's size is not 0.
    let memory = unsafe { std::alloc::alloc_zeroed(layout) };
    let memory = NonNull::new(memory.cast::<T>()).expect("out of memory");
    let model = Arc::new(Mutex::new(model));
    let start = memory.addr().get();
    let block: Arc<Mutex<dyn Block>> = Arc::<Mutex<B>>::clone(&model);
    BLOCKS.write().unwrap_or_else(PoisonError::into_inner).insert(start, (start + layout.size(), block));
    // SAFETY: 1. the memory is aligned for `T`, valid for as many bytes, and never freed; 2. nobody else knows its
    // address; 3. every access goes to the model instead of the memory.
    let pointer = unsafe { UniqueMmioPointer::new(memory) };
    (pointer, Model(model))
}

/// Registers that keep what is written to them, and remember the writes in order.
#[derive(Debug, Default)]
pub struct Ram {
    /// Values by offset; what is missing is 0.
    pub values: BTreeMap<usize, u32>,
    /// Offset and value of each write.
    pub writes: Vec<(usize, u32)>,
}

impl Block for Ram {
    fn read(&mut self, offset: usize) -> u32 {
        self.values.get(&offset).copied().unwrap_or_default()
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.writes.push((offset, value));
        self.values.insert(offset, value);
    }
}

/// Returns the model that an address belongs to, and the offset in its block.
fn find(address: usize) -> Option<(Arc<Mutex<dyn Block>>, usize)> {
    let blocks = BLOCKS.read().unwrap_or_else(PoisonError::into_inner);
    let (start, (end, model)) = blocks.range(..=address).next_back()?;
    (address < *end).then(|| (Arc::clone(model), address - start))
}

struct Backend;

/// Plain memory, or nothing that a model has.
macro_rules! plain {
    ($read:ident, $write:ident, $word:ty) => {
        unsafe fn $read(from: *const $word) -> $word {
            assert!(find(from.addr()).is_none(), "modelled registers have 32 bits");
            // SAFETY: the caller's pointer is valid and aligned.
            unsafe { from.read_volatile() }
        }

        unsafe fn $write(to: *mut $word, value: $word) {
            assert!(find(to.addr()).is_none(), "modelled registers have 32 bits");
            // SAFETY: the caller's pointer is valid and aligned.
            unsafe { to.write_volatile(value) };
        }
    };
}

impl MmioOps for Backend {
    plain!(read_u8, write_u8, u8);
    plain!(read_u16, write_u16, u16);
    plain!(read_u64, write_u64, u64);

    unsafe fn read_u32(from: *const u32) -> u32 {
        let Some((model, offset)) = find(from.addr()) else {
            // SAFETY: the caller's pointer is valid and aligned.
            return unsafe { from.read_volatile() };
        };
        time::spend(READ_TIME);
        model.lock().unwrap_or_else(PoisonError::into_inner).read(offset)
    }

    unsafe fn write_u32(to: *mut u32, value: u32) {
        match find(to.addr()) {
            Some((model, offset)) => model.lock().unwrap_or_else(PoisonError::into_inner).write(offset, value),
            // SAFETY: the caller's pointer is valid and aligned.
            None => unsafe { to.write_volatile(value) },
        }
    }
}

set_mmio_ops!(Backend);

#[cfg(test)]
mod tests {
    use safe_mmio::field;
    use safe_mmio::fields::{ReadPureWrite, ReadWrite};

    use super::*;

    #[repr(C)]
    struct Registers {
        control: ReadPureWrite<u32>,
        data: ReadWrite<u32>,
    }

    /// Data is a FIFO.
    struct Fifo(Vec<u32>);

    impl Block for Fifo {
        fn read(&mut self, offset: usize) -> u32 {
            if offset == 4 { self.0.remove(0) } else { self.0.len() as u32 }
        }

        fn write(&mut self, offset: usize, value: u32) {
            assert_eq!(offset, 4);
            self.0.push(value);
        }
    }

    #[test]
    fn accesses_go_to_the_model_and_take_time() {
        let (mut registers, model) = claim::<Registers, _>(Fifo(vec![]));
        time::run(async {
            let start = embassy_time::Instant::now();
            field!(registers, data).write(7);
            field!(registers, data).write(8);
            assert_eq!(field!(registers, data).read(), 7);
            assert_eq!(field!(registers, control).read(), 1);
            assert_eq!(model.lock().0, [8]);
            assert_eq!(start.elapsed(), READ_TIME * 2);
        });
    }

    #[test]
    fn blocks_do_not_mix_and_memory_stays_memory() {
        // Alone: an access takes time, which all tests share.
        time::run(async {
            let (mut first, _) = claim::<Registers, _>(Ram::default());
            let (mut second, _) = claim::<Registers, _>(Ram::default());
            let mut plain = Registers { control: ReadPureWrite(3), data: ReadWrite(4) };
            let mut memory = UniqueMmioPointer::from(&mut plain);
            field!(first, control).write(1);
            field!(second, control).write(2);
            assert_eq!((field!(first, control).read(), field!(second, control).read()), (1, 2));
            assert_eq!((field!(memory, control).read(), field!(memory, data).read()), (3, 4));
        });
    }
}
