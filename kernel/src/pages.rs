//! The pages that a node serves over HTTP.

use alloc::string::String;
use core::cell::RefCell;
use core::fmt;

use net::http::Pages;
use telemetry::Snapshot;
use telemetry::metrics::Names;
use telemetry::sinks::{Sink, certificate, page, prometheus};

use crate::node::Node;

/// A page: which sink makes it, and what it made last. It shows the newest sample, so it is made once for each, however
/// many ask for it.
struct Page {
    sink: Sink,
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
    fn new(sink: Sink, render: fn(&Snapshot<'_>, &mut String) -> fmt::Result) -> Self {
        Self { sink, render, made: RefCell::default() }
    }

    fn write(&self, node: &Node, out: &mut String) -> &'static str {
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
        self.sink.content_type
    }
}

/// See the module.
pub(crate) struct NodePages {
    node: &'static Node,
    status: Page,
    metrics: Page,
    all_metrics: Page,
}

impl NodePages {
    /// Makes the pages of `node`.
    pub(crate) fn new(node: &'static Node) -> Self {
        Self {
            node,
            status: Page::new(page::SINK, |now, out| page::render(now, out)),
            metrics: Page::new(prometheus::SINK, |now, out| prometheus::render(now, Names::Strict, out)),
            all_metrics: Page::new(prometheus::SINK, |now, out| prometheus::render(now, Names::NodeExporter, out)),
        }
    }
}

impl Pages for NodePages {
    fn render(&self, path: &str, user_agent: Option<&str>, out: &mut String) -> Option<&'static str> {
        match path {
            "/" => Some(self.status.write(self.node, out)),
            "/metrics" => Some(match Names::wanted_by(user_agent) {
                Names::Strict => self.metrics.write(self.node, out),
                Names::NodeExporter => self.all_metrics.write(self.node, out),
            }),
            "/certify" => {
                // Writing to a String does not fail.
                self.node.with_snapshot(|now| _ = certificate::render(now, out));
                Some(certificate::SINK.content_type)
            }
            // For load balancers, and for measuring the server itself.
            "/health" => {
                out.push_str("ok\n");
                Some("text/plain; charset=utf-8")
            }
            _ => None,
        }
    }
}
