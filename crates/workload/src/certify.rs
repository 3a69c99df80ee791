//! The acceptance test of a board, of which the workload `certify` is the face.
//!
//! | module | what |
//! |---|---|
//! | `compute` | computations whose answers are known |
//! | `memory` | patterns in memory |
//! | `board` | what is seen of the board while it works: link, temperature, power, clock |
//! | `judge` | what to make of all that |
//! | `record` | what the cores tell each other, and the certificate |

pub(crate) mod board;
pub(crate) mod compute;
pub(crate) mod judge;
pub(crate) mod memory;
pub(crate) mod record;
