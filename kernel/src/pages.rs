//! The pages that a node serves over HTTP.

use alloc::string::String;
use core::cell::{Cell, RefCell};
use core::fmt;

use config::Config;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::{CriticalSectionRawMutex, NoopRawMutex};
use embassy_sync::watch::Receiver;
use net::http::{Found, Pages, Parts, Wanted};
use telemetry::Snapshot;
use telemetry::log_ring::{Cursor, LogLines};
use telemetry::metrics::Names;
use telemetry::sinks::json::writer::Json;
use telemetry::sinks::json::{self, Ask, Resource, events};
use telemetry::sinks::{certificate, page, prometheus};

use crate::logger::{self, LogReader};
use crate::node::{self, Node};

/// Clients that get live events at once: few, so that there are always servers left for pages.
pub(crate) const EVENT_CLIENTS: usize = 4;
/// Seconds after which another one may try again.
const RETRY_S: u32 = 5;
/// Log lines that an event client gets at once.
const LINES: usize = 16;

/// A page: how it is made, and what was made last. It shows the newest sample, so it is made once for each, however many
/// ask for it.
struct Page {
    content_type: &'static str,
    render: fn(&Snapshot<'_>, &mut String) -> fmt::Result,
    made: RefCell<Made>,
}

#[derive(Default)]
struct Made {
    /// When the sample was taken that it shows; `None` before the first time.
    at_us: Option<u64>,
    text: String,
}

impl Page {
    fn new(content_type: &'static str, render: fn(&Snapshot<'_>, &mut String) -> fmt::Result) -> Self {
        Self { content_type, render, made: RefCell::default() }
    }

    fn write(&self, node: &Node, out: &mut String) {
        let mut made = self.made.borrow_mut();
        node.with_snapshot(|now| {
            if made.at_us != Some(now.sample.at_us) {
                made.at_us = Some(now.sample.at_us);
                made.text.clear();
                // Writing to a String does not fail.
                let _ = (self.render)(now, &mut made.text);
            }
        });
        out.push_str(&made.text);
    }
}

/// See the module.
pub(crate) struct NodePages {
    node: &'static Node,
    /// Whether there is telemetry for Prometheus.
    has_metrics: bool,
    /// Whether there is telemetry as JSON and events.
    has_api: bool,
    status: Page,
    metrics: Page,
    all_metrics: Page,
    events: Page,
    event_clients: Cell<usize>,
}

impl NodePages {
    /// Makes the pages of `node` that `config` asks for.
    pub(crate) fn new(node: &'static Node, config: &Config) -> Self {
        let text = prometheus::SINK.content_type;
        Self {
            node,
            has_metrics: config.metrics,
            has_api: config.api,
            status: Page::new(page::SINK.content_type, |now, out| page::render(now, out)),
            metrics: Page::new(text, |now, out| prometheus::render(now, Names::Strict, out)),
            all_metrics: Page::new(text, |now, out| prometheus::render(now, Names::NodeExporter, out)),
            events: Page::new(events::CONTENT_TYPE, |now, out| events::write_sample(now, out)),
            event_clients: Cell::new(0),
        }
    }

    fn page(&self, page: &Page, out: &mut String) -> Found<NodeParts> {
        page.write(self.node, out);
        Found::Whole(page.content_type)
    }
}

impl Pages for &'static NodePages {
    type Parts = NodeParts;

    fn find(&self, wanted: &Wanted<'_>, out: &mut String) -> Found<NodeParts> {
        match wanted.path {
            "/metrics" if !self.has_metrics => Found::Off("metrics=off"),
            path if !self.has_api && path.starts_with(json::ROOT) => Found::Off("api=off"),
            "/" => {
                self.status.write(self.node, out);
                Found::Document(self.status.content_type, page::HEADERS)
            }
            "/metrics" => match Names::wanted_by(wanted.user_agent) {
                Names::Strict => self.page(&self.metrics, out),
                Names::NodeExporter => self.page(&self.all_metrics, out),
            },
            "/certify" => {
                // Writing to a String does not fail.
                self.node.with_snapshot(|now| _ = certificate::render(now, out));
                Found::Whole(certificate::SINK.content_type)
            }
            // For load balancers, and for measuring the server itself.
            "/health" => {
                out.push_str("ok\n");
                Found::Whole("text/plain; charset=utf-8")
            }
            json::ROOT | "/api/v1/" => {
                // As above.
                let _ = json::write_index(out);
                Found::Whole(json::SINK.content_type)
            }
            "/api/v1/events" => match Events::begin(self, wanted) {
                Some(events) => Found::Parts(events::CONTENT_TYPE, NodeParts::Events(events)),
                None => Found::Busy(RETRY_S),
            },
            path => match json::find(path) {
                Some(resource) => {
                    let last = wanted.parameter("last").and_then(|last| last.parse().ok()).unwrap_or(resource.last);
                    let answer = Answer { node: self.node, resource, last, from: Some(0), needs_comma: false };
                    Found::Parts(json::SINK.content_type, NodeParts::Answer(answer))
                }
                None => Found::Nothing,
            },
        }
    }
}

/// A page that comes in parts.
pub(crate) enum NodeParts {
    Answer(Answer),
    Events(Events),
}

impl Parts for NodeParts {
    async fn next(&mut self, out: &mut String) {
        match self {
            Self::Answer(answer) => answer.next(out),
            Self::Events(events) => events.next(out).await,
        }
    }
}

/// A JSON resource on its way.
pub(crate) struct Answer {
    node: &'static Node,
    resource: &'static Resource,
    last: usize,
    from: Option<u64>,
    needs_comma: bool,
}

impl Answer {
    fn next(&mut self, out: &mut String) {
        // An empty part would be taken for the end.
        while let (Some(from), true) = (self.from, out.is_empty()) {
            self.node.with_snapshot(|now| {
                let mut json = Json::resume(out, self.needs_comma);
                // Writing to a String does not fail.
                self.from = (self.resource.write)(now, Ask { last: self.last, from }, &mut json).unwrap_or(None);
                self.needs_comma = json.needs_comma();
            });
        }
    }
}

/// Live events for one client.
pub(crate) struct Events {
    pages: &'static NodePages,
    samples: Receiver<'static, NoopRawMutex, u64, { node::READERS }>,
    lines: Receiver<'static, CriticalSectionRawMutex, u64, { logger::READERS }>,
    cursor: Cursor,
    has_begun: bool,
}

impl Events {
    /// Takes one of the few places; `None` if they are all taken.
    fn begin(pages: &'static NodePages, wanted: &Wanted<'_>) -> Option<Self> {
        let clients = pages.event_clients.get();
        if clients >= EVENT_CLIENTS {
            return None;
        }
        let (samples, lines) = (pages.node.sample_news.receiver()?, logger::WRITTEN.receiver()?);
        // A browser that comes back says which event it saw last; the page says in the address where its own log ends.
        let after = wanted.last_event_id.or_else(|| wanted.parameter("after")).and_then(|id| id.parse().ok());
        let cursor = after.map_or_else(|| LogReader.cursor_at_last(0), |number| LogReader.cursor_at(number));
        pages.event_clients.set(clients + 1);
        Some(Self { pages, samples, lines, cursor, has_begun: false })
    }

    /// Waits for a sample or for lines.
    async fn next(&mut self, out: &mut String) {
        if !self.has_begun {
            self.has_begun = true;
            // Writing to a String does not fail, here and below.
            let _ = events::write_begin(out);
        }
        while out.is_empty() {
            let _ = events::write_log(&LogReader, &mut self.cursor, LINES, out);
            // Also when there are lines: however many come, they must not hold up samples.
            let mut has_sample = self.samples.try_changed().is_some();
            if out.is_empty() && !has_sample {
                has_sample = matches!(select(self.samples.changed(), self.lines.changed()).await, Either::First(_));
            }
            if has_sample {
                self.pages.events.write(self.pages.node, out);
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.pages.event_clients.update(|clients| clients - 1);
    }
}
