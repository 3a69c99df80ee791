//! The pages that a node serves over HTTP.

use alloc::string::String;

use net::http::Pages;
use telemetry::sinks::{Sink, page, prometheus};

use crate::node::Node;

/// What is shown where.
static SINKS: [(&str, Sink); 2] = [("/", page::SINK), ("/metrics", prometheus::SINK)];

/// See the module.
pub(crate) struct NodePages(pub(crate) &'static Node);

impl Pages for NodePages {
    fn render(&self, path: &str, out: &mut String) -> Option<&'static str> {
        // For load balancers, and for measuring the server itself.
        if path == "/health" {
            out.push_str("ok\n");
            return Some("text/plain; charset=utf-8");
        }
        let (_, sink) = SINKS.iter().find(|(place, _)| *place == path)?;
        // Writing to a String does not fail.
        let _ = self.0.with_snapshot(|now| (sink.render)(now, out));
        Some(sink.content_type)
    }
}
