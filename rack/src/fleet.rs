//! Nodes, real and virtual ones alike: found, asked, told.
//!
//! | module | what |
//! |---|---|
//! | `node` | one node, and the ways to it: a connection, a page, a command |
//! | `stream` | a connection, to whichever kind of node |
//! | `http` | one page asked for, within a time |
//! | `ssh` | one command over SSH, within a time |
//! | `session` | a login that stays, for many commands |
//! | `look` | what a node says of itself |
//! | `ls`, `top`, `run`, `logs`, `blink`, `targets` | the commands |
//! | `events` | what a node says without being asked again |
//! | `parallel`, `interrupt` | many nodes at once; Ctrl-C |
//! | `dial` | the hidden command that takes OpenSSH to a virtual node |
//! | `selection` | which nodes a command is about |
//! | `lan` | nodes of this machine's network, by mDNS |

mod blink;
mod dial;
mod events;
mod http;
mod interrupt;
mod lan;
mod logs;
mod look;
mod ls;
mod node;
mod parallel;
mod run;
mod selection;
mod session;
mod ssh;
mod stream;
mod targets;
mod top;

pub(crate) use self::blink::{Options as BlinkOptions, blink};
pub(crate) use self::dial::{Options as DialOptions, dial};
pub(crate) use self::interrupt::{Interrupt, STATUS as INTERRUPTED};
pub(crate) use self::lan::plain;
pub(crate) use self::logs::{Options as LogsOptions, logs};
pub(crate) use self::look::Look;
pub(crate) use self::ls::{Options as LsOptions, ls};
pub(crate) use self::node::Node;
pub(crate) use self::parallel::map as in_parallel;
pub(crate) use self::run::{Options as RunOptions, run};
pub(crate) use self::selection::{Login, Selection};
pub(crate) use self::session::Session;
pub(crate) use self::stream::Stream;
pub(crate) use self::targets::{Options as TargetsOptions, targets};
pub(crate) use self::top::{Options as TopOptions, top};

#[cfg(test)]
pub(crate) mod tests {
    //! Nodes for tests of others.

    pub(crate) use super::look::tests::look;
    pub(crate) use super::node::Origin;
    pub(crate) use super::node::tests::node;
}
