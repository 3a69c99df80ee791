//! The same done with many nodes at once.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Nodes at a time: each may have a process of OpenSSH.
const WORKERS_MAX: usize = 32;

/// Does it with each item and returns the results in the items' order.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], action: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        // The counter is all that the threads share, and they are joined.
        while let Some((index, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, items.get(i)?)))
        {
            done.push((index, action(item)));
        }
        done
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..WORKERS_MAX.min(items.len())).map(|_| scope.spawn(work)).collect();
        // Without the results of one thread, those of others would be taken for other items'.
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_its_result() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(map(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert!(map(&[0; 0], |item| *item).is_empty());
    }

    #[test]
    #[should_panic(expected = "the second")]
    fn no_result_is_taken_for_that_of_another_item_when_one_panics() {
        map(&["first", "second"], |item| assert_ne!(*item, "second", "the second"));
    }
}
