//! What a rack's nodes are plugged into: a switch in this process, or a bridge of Linux; and the ways between this machine and them.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use qemu::switch::Capture;
use qemu::switch::dhcp::Leases;
use qemu::{Bridge, Gateway, Network, NodeConfig, Switch, Target, bridge};

use super::place::Place;
use super::plan::{GATEWAY, PREFIX_LEN, Plan};

/// See the module.
#[derive(Debug)]
pub(super) enum Wiring {
    /// Needs no root.
    Switch {
        /// The switch.
        switch: Switch,
        /// Its DHCP server.
        leases: Leases,
        /// The way between this machine and the nodes.
        gateway: Gateway,
    },
    /// In a network namespace of its own.
    Bridge(Bridge),
}

impl Wiring {
    /// Makes what the plan wants, with a port for each node. The calling thread, and those that it starts, are in the namespace of
    /// a bridge from then on.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn new(place: &Place, plan: &Plan) -> Result<Self> {
        let subnet = Plan::subnet();
        let wiring = if plan.is_bridged {
            let nodes: Vec<_> =
                plan.numbers().map(|number| (number, Plan::mac(number), Plan::address(number))).collect();
            Self::Bridge(Bridge::start(&place.bridge(), &subnet, &nodes)?)
        } else {
            let switch = Switch::listen(&place.switch())?;
            if let Some(directory) = &plan.pcap {
                let file = directory.join("all.pcap");
                let capture = Capture::create(&file).with_context(|| format!("{} can't be made", file.display()))?;
                switch.record(Some(capture));
            }
            let leases = Leases::serve(&switch, subnet)?;
            plan.numbers().for_each(|number| leases.reserve(Plan::mac(number), Plan::address(number)));
            let gateway = Gateway::start(&switch, GATEWAY, PREFIX_LEN)?;
            Self::Switch { switch, leases, gateway }
        };
        for port in &plan.expose {
            let host = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            match &wiring {
                Self::Switch { gateway, .. } => gateway.expose(*port, host)?,
                Self::Bridge(bridge) => bridge.expose((GATEWAY, *port).into(), host)?,
            }
        }
        Ok(wiring)
    }

    /// Plugs in a node that is about to be started: only once.
    ///
    /// # Errors
    /// When its traffic can't be recorded.
    pub(super) fn plug(&self, number: u8, config: &mut NodeConfig, place: &Place, plan: &Plan) -> Result<()> {
        let pcap = plan.pcap.as_ref().map(|directory| directory.join(format!("{}.pcap", plan.name(number))));
        config.network = match self {
            Self::Switch { switch, .. } => {
                let mut path = switch.path().to_owned();
                if let Some(file) = pcap {
                    let capture =
                        Capture::create(&file).with_context(|| format!("{} can't be made", file.display()))?;
                    path = place.directory().join(format!("port-{number}"));
                    switch.plug(&path, capture)?;
                }
                Network::Stream { path }
            }
            Self::Bridge(_) => {
                config.pcap = pcap;
                Network::Tap { ifname: bridge::tap(number) }
            }
        };
        Ok(())
    }

    /// Returns whether a node has taken its address, within `timeout`.
    ///
    /// # Errors
    /// When the DHCP server has ended.
    pub(super) fn wait_for_address(&self, number: u8, timeout: Duration) -> Result<bool> {
        let mac = Plan::mac(number);
        match self {
            Self::Switch { leases, .. } => Ok(leases.wait(mac, timeout).is_some()),
            Self::Bridge(bridge) => Ok(bridge.wait(mac, timeout)?.is_some()),
        }
    }

    /// Returns how many frames there have been at each node's port, in both directions.
    pub(super) fn frames(&self) -> impl Fn(u8) -> u64 + use<'_> {
        let (mut ports, mut taps) = Default::default();
        match self {
            Self::Switch { switch, .. } => ports = switch.counts(),
            Self::Bridge(bridge) => taps = bridge.frames(),
        }
        move |number| match self {
            Self::Switch { switch, .. } => {
                let counts = switch.port_of(Plan::mac(number)).and_then(|port| ports.get(&port));
                counts.map_or(0, |counts| counts.rx_frames + counts.tx_frames)
            }
            Self::Bridge(_) => taps.get(&bridge::tap(number)).copied().unwrap_or(0),
        }
    }

    /// Has a free port of 127.0.0.1 lead to a port of a node, and returns it.
    ///
    /// # Errors
    /// When the system has no more ports.
    pub(super) fn forward(&self, target: Target) -> Result<SocketAddr> {
        match self {
            Self::Switch { gateway, .. } => gateway.forward(0, target),
            Self::Bridge(bridge) => bridge.forward(target),
        }
    }

    /// Connects to a port of a node. Whether the node accepts shows when the stream is used: it ends if not.
    ///
    /// # Errors
    /// When the system has no more sockets.
    pub(super) fn connect(&self, target: Target) -> Result<UnixStream> {
        match self {
            Self::Switch { gateway, .. } => gateway.connect(target),
            Self::Bridge(bridge) => bridge.connect(target),
        }
    }

    /// As [`connect`](Self::connect), for a stream that somebody has the other end of.
    ///
    /// # Errors
    /// As there.
    pub(super) fn join(&self, stream: UnixStream, target: Target) -> Result<()> {
        match self {
            Self::Switch { gateway, .. } => gateway.join(stream, target),
            Self::Bridge(bridge) => bridge.join(stream, target),
        }
    }
}
