//! A rack of virtual nodes: started by `up`, kept by a process of its own, asked by `ps` and `console`, ended by `down`.
//!
//! | module | what |
//! |---|---|
//! | `up`, `down`, `ps`, `console` | the commands |
//! | `keys` | the keys that `up` makes for a rack |
//! | `place` | where a rack's files are, and the lock that says whether it lives |
//! | `plan` | what a rack is made of |
//! | `protocol` | what commands and the supervisor say to each other |
//! | `supervisor` | the process that owns network and nodes |
//! | `wiring` | what the nodes are plugged into: a switch in the supervisor, or a bridge of Linux |
//! | `members` | the nodes: started one after the other, watched, ended together |
//! | `activity` | how exact the nodes' timers are |
//! | `probe` | whether a node answers |

mod activity;
mod console;
mod down;
mod keys;
mod members;
pub(crate) mod place;
mod plan;
mod probe;
pub(crate) mod protocol;
mod ps;
mod supervisor;
mod up;
mod wiring;

pub(crate) use self::console::{Options as ConsoleOptions, console};
pub(crate) use self::down::{Options as DownOptions, down};
pub(crate) use self::ps::{Options as PsOptions, ps};
pub(crate) use self::supervisor::{Options as SupervisorOptions, supervise};
pub(crate) use self::up::{Options as UpOptions, up};
