//! From the start of QEMU, and from the kernel's first instruction, to the network.

use std::time::Instant;

use anyhow::Result;
use tests::dhcp::{DhcpServer, Kind, Policy};
use tests::lab::Lab;
use tests::node::{BOOT, TestNode};

use crate::report::{Goal, Report, median};

const BOOTS: usize = 9;

pub(crate) fn boot(report: &mut Report) -> Result<()> {
    let lab = Lab::new()?;
    let (mut bound, mut first) = (Vec::new(), Vec::new());
    for _ in 0..BOOTS {
        let dhcp = DhcpServer::start(Policy::default())?;
        let start = Instant::now();
        let _node = TestNode::start(&lab, "")?;
        // The server answers a request in the moment in which it comes.
        let request = dhcp.wait_for("a DHCPREQUEST", 0, BOOT, |message| message.kind == Kind::Request)?;
        bound.push(request.at.duration_since(start).as_secs_f64());
    }
    for _ in 0..BOOTS {
        let dhcp = DhcpServer::start(Policy::default())?;
        let node = TestNode::start_with(&lab, "", |config| config.is_stopped = true)?;
        let start = Instant::now();
        node.board().resume()?;
        let discover = dhcp.wait_for("a DHCPDISCOVER", 0, BOOT, |message| message.kind == Kind::Discover)?;
        first.push(discover.at.duration_since(start).as_secs_f64());
    }
    report.add("start of QEMU to DHCP bound", "s", median(bound), Goal::AtMost(1.2), "6");
    report.add("kernel entry to first DHCP packet", "s", median(first), Goal::AtMost(0.3), "");
    Ok(())
}
