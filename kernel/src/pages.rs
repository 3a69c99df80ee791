//! The pages that a node serves over HTTP.

use alloc::string::String;

use net::http::Pages;
use telemetry::metrics::Names;
use telemetry::sinks::{page, prometheus};

use crate::node::Node;

/// See the module.
pub(crate) struct NodePages(pub(crate) &'static Node);

impl Pages for NodePages {
    fn render(&self, path: &str, user_agent: Option<&str>, out: &mut String) -> Option<&'static str> {
        // Writing to a String does not fail.
        match path {
            "/" => {
                let _ = self.0.with_snapshot(|now| page::render(now, out));
                Some(page::SINK.content_type)
            }
            "/metrics" => {
                let _ = self.0.with_snapshot(|now| prometheus::render(now, Names::wanted_by(user_agent), out));
                Some(prometheus::SINK.content_type)
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
