//! JSON at `/api/v1/…`: everything that a node knows about itself, for programs.
//!
//! Names of members are stable and end in their unit: `_us` is microseconds (since boot, unless the name says `unix`),
//! `_bytes`, `_hz`, `_permille` a share in thousandths, `_per_second`. What is not known is `null`. Numbers are whole, except
//! in `metrics`, where they are as Prometheus gets them; a reader whose numbers have 53 bits loses nothing before 2^53.
//!
//! An answer is written in parts, so that a long one needs no long buffer: see [`Resource::write`].

use core::fmt;

use crate::seconds::SECONDS_LEN;
use crate::sinks::Sink;
use crate::snapshot::Snapshot;

pub mod events;
mod faults;
mod live;
mod log;
mod metrics;
mod node;
mod past;
mod sample;
mod seconds;
mod workloads;
pub mod writer;

use writer::{ITEM, Json};

/// Where all of it is.
pub const ROOT: &str = "/api/v1";

/// The entry of this sink in the table: the newest sample.
pub const SINK: Sink = Sink {
    name: "json",
    content_type: "application/json",
    render: |snapshot, out| sample::write_newest(snapshot, ITEM, &mut Json::new(out)),
};

/// Something that can be asked for.
pub struct Resource {
    /// Its name, which comes behind `/api/v1/`.
    pub name: &'static str,
    /// What it is, in one line.
    pub help: &'static str,
    /// How many entries a client gets that does not say how many it wants; 0 where there is no choice.
    pub last: usize,
    /// Writes a part of it.
    pub write: fn(&Snapshot<'_>, Ask, &mut Json<'_>) -> Answered,
}

/// Which part of a resource is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// How many of the newest entries the client wants (`?last=`).
    pub last: usize,
    /// Where this part begins: 0 for the first, then what the last part has answered.
    pub from: u64,
}

/// Where the next part begins; `None` when this was the last. The only error is one of the writer.
pub type Answered = Result<Option<u64>, fmt::Error>;

/// Every resource, in the order of the index.
pub static RESOURCES: &[Resource] = &[
    Resource { name: "node", help: "who the node is, and since when", last: 0, write: |s, _, out| node::write(s, out) },
    Resource {
        name: "health",
        help: "whether the hardware lets measurements be trusted, and what is wrong",
        last: 0, write: |s, _, out| node::write_health(s, out),
    },
    Resource {
        name: "sample",
        help: "the newest sample: counts since boot, and rates since the sample before",
        last: 0, write: |s, _, out| sample::write_newest(s, ITEM, out).map(|()| None),
    },
    Resource { name: "samples", help: "the last samples, oldest first (?last=N)", last: 60, write: sample::write_samples },
    Resource {
        name: "history",
        help: "the last five minutes in few columns, for plots (?last=N)",
        last: 300, write: sample::write_history,
    },
    Resource { name: "metrics", help: "every metric with its meaning, as Prometheus gets it", last: 0, write: metrics::write },
    Resource {
        name: "workloads",
        help: "what the node runs, its figures, and whether they can be trusted",
        last: 0, write: |s, _, out| workloads::write(s, ITEM, out).map(|()| None),
    },
    Resource {
        name: "live",
        help: "what workloads have done up to this moment, and how long their operations took",
        last: 0, write: live::write,
    },
    Resource {
        name: "seconds",
        help: "each of the last 120 seconds of workloads that send requests (load): counts and latencies (?last=N)",
        last: SECONDS_LEN, write: seconds::write,
    },
    Resource { name: "network", help: "link, addresses, lease", last: 0, write: |s, _, out| node::write_network(s, out) },
    Resource {
        name: "faults",
        help: "disturbances on purpose: those that are and those to come, and what they have done to frames",
        last: 0, write: |s, _, out| faults::write(s, out),
    },
    Resource { name: "log", help: "the last log lines, oldest first (?last=N)", last: 50, write: log::write },
    Resource {
        name: "crashes",
        help: "boots, the last reset, the last crash reports and the last log lines before the reset",
        last: 0, write: past::write,
    },
    Resource {
        name: "certify",
        help: "what the last acceptance test of the board has found, or null",
        last: 0, write: |s, _, out| node::write_certificate(s, out),
    },
];

/// Returns the resource at a path; `None` if there is none. The index is not one of them.
#[must_use]
pub fn find(path: &str) -> Option<&'static Resource> {
    let name = path.strip_prefix(ROOT)?.strip_prefix('/')?;
    RESOURCES.iter().find(|resource| resource.name == name)
}

/// Writes the list of all resources.
///
/// # Errors
///
/// Those of the writer.
pub fn write_index(out: &mut dyn fmt::Write) -> fmt::Result {
    let mut json = Json::new(out);
    json.open(ITEM, '{')?;
    json.text("about", "names end in their unit; null is what is not known; nothing can be changed here")?;
    json.open("resources", '[')?;
    let events = ("events", "live: server-sent events sample, workloads and log (?after= is the id of the last that was seen)");
    for (name, help) in RESOURCES.iter().map(|resource| (resource.name, resource.help)).chain([events]) {
        json.open(ITEM, '{')?;
        json.shown("path", &format_args!("{ROOT}/{name}"))?;
        json.text("help", help)?;
        json.close('}')?;
    }
    json.close(']')?;
    json.close('}')
}
