//! Interrupts: find out who it was, acknowledge, wake. Nothing else happens here.

use core::sync::atomic::{AtomicU64, Ordering};
