//! At most two nodes run on a machine at a time, whatever number of tests and test binaries is started: a virtual node
//! that has to share its core with many others misses deadlines that a real one would keep.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait;

/// Nodes at a time.
pub const SLOTS: usize = 2;
/// Longest that the tests before us may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The right to run one node, returned on drop. The kernel takes it back when the process dies.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "holds the lock")] File);

/// Waits for several free slots, for one test with as many nodes. Only one such test waits at a time: two that had a slot each
/// and wanted another would wait for ever.
///
/// # Errors
/// Like [`take`].
pub fn take_several<const N: usize>() -> Result<[Slot; N]> {
    const { assert!(N <= SLOTS, "there are not so many") };
    let path = std::env::temp_dir().join("minipirack-several");
    let queue = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    wait::until("the turn of a test with several nodes", PATIENCE, || Ok(queue.try_lock().is_ok().then_some(())))?;
    let mut slots = Vec::new();
    for _ in 0..N {
        slots.push(take()?);
    }
    slots.try_into().map_err(|_| anyhow::anyhow!("a slot is missing"))
}

/// Waits for a free slot.
///
/// # Errors
/// When the lock files can't be made, or all slots stay taken.
pub fn take() -> Result<Slot> {
    let folder = std::env::temp_dir().join("minipirack-slots");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    wait::until("a slot for a node", PATIENCE, || {
        for index in 0..SLOTS {
            let path = folder.join(index.to_string());
            let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
            if file.try_lock().is_ok() {
                return Ok(Some(Slot(file)));
            }
        }
        Ok(None)
    })
}
