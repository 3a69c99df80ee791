//! Publishes samples, log lines, events and crashes at the MQTT broker of the configuration.
//!
//! What happens becomes messages at once, whether there is a connection or not, and is kept until the broker has it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::net::SocketAddr;

use config::{Host, Mqtt, Peer};
use embassy_futures::select::select;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use log::{error, info, warn};
use net::Stack;
use net::mqtt::outbox::Outbox;
use net::mqtt::{PAYLOAD_LEN_MAX, Publisher, Queue, Settings};
use telemetry::log_ring::{Cursor, LogLines};
use telemetry::sinks::mqtt::{self, Changes, Header};

use crate::logger::{self, LogReader};
use crate::node::Node;
use crate::workloads::NETWORK;

/// Messages that are kept for a broker that is away, and their bytes in all.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 1024 * 1024;

/// Publishes at `broker`. Never returns.
pub(crate) async fn run(node: &'static Node, stack: &'static Stack, broker: Peer, config: Mqtt, boot: u32) -> ! {
    let mail = Mail { node, boot, outbox: RefCell::new(Outbox::new(KEPT, KEPT_BYTES)), news: Signal::new() };
    select(collect(&mail), publish(&mail, stack, broker, config)).await;
    core::future::pending().await
}

/// What has been written, and who wrote it.
struct Mail {
    node: &'static Node,
    boot: u32,
    outbox: RefCell<Outbox>,
    news: Signal<NoopRawMutex, ()>,
}

impl Mail {
    /// Adds a message; `text` is used for it.
    fn write(
        &self,
        topic: &'static str,
        text: &mut String,
        write: impl FnOnce(Header, &mut dyn fmt::Write) -> fmt::Result,
    ) {
        let mut outbox = self.outbox.borrow_mut();
        text.clear();
        // Writing to a String does not fail.
        let _ = write(Header { seq: outbox.next_number(), boot: self.boot, lost: outbox.lost() }, text);
        outbox.push(topic, text.as_bytes());
        self.news.signal(());
    }
}

/// Makes messages of what happens, for ever.
async fn collect(mail: &Mail) {
    let (Some(mut lines), Some(mut samples)) = (logger::WRITTEN.receiver(), mail.node.sample_news.receiver()) else {
        return error!("mqtt: too many readers of log and samples: raise READERS");
    };
    let (mut cursor, mut changes, mut sampled_us) = (Cursor::default(), Changes::default(), 0);
    let mut text = String::with_capacity(PAYLOAD_LEN_MAX);
    // First of all: whoever has lost a node wants to know why.
    mail.node.with_snapshot(|now| {
        for kept in now.past.crashes {
            mail.write("crash", &mut text, |header, out| mqtt::write_crash(header, now.sample.at_us, kept, out));
        }
    });
    loop {
        while let Some((missed, line)) = LogReader.next_line(&mut cursor) {
            mail.write("log", &mut text, |header, out| mqtt::write_line(header, missed, &line, out));
        }
        mail.node.with_snapshot(|now| {
            let at_us = now.sample.at_us;
            if at_us == sampled_us {
                return;
            }
            sampled_us = at_us;
            changes.look(now, |event| {
                mail.write("event", &mut text, |header, out| mqtt::write_event(header, at_us, event, out));
            });
            mail.write("sample", &mut text, |header, out| mqtt::write_sample(header, now, out));
        });
        select(lines.changed(), samples.changed()).await;
    }
}

/// Brings messages to the broker, for ever.
async fn publish(mail: &Mail, stack: &'static Stack, broker: Peer, config: Mqtt) {
    while stack.name().is_empty() {
        stack.wait_epoch(stack.epoch()).await;
    }
    let root = format!("{}/{}", config.topic, stack.name());
    let user = config.user.as_ref().map(|user| (user.to_string(), config.password.unwrap_or_default().to_string()));
    let mut publisher = match Publisher::new(stack, Settings { client: stack.name().to_string(), user, root }) {
        Ok(publisher) => publisher,
        Err(trouble) => return error!("mqtt: {trouble}"),
    };
    // What was told last: a broker that is away for long is told of once.
    let mut told = None;
    loop {
        let trouble = match find(&broker).await {
            None => None,
            Some(address) => Some(match publisher.connect(address).await {
                Ok(connection) => {
                    info!("mqtt: connected to {address}");
                    told = None;
                    connection.publish(&mut Letters(mail)).await
                }
                Err(trouble) => trouble,
            }),
        };
        if told != Some(trouble) {
            told = Some(trouble);
            match trouble {
                Some(trouble) => warn!("mqtt: {trouble}"),
                None => warn!("mqtt: nobody answers for the broker's name"),
            }
        }
        publisher.wait().await;
    }
}

/// Returns the broker's address, if it is known or somebody knows its name.
async fn find(broker: &Peer) -> Option<SocketAddr> {
    let address = match &broker.host {
        Host::Address(address) => *address,
        Host::Name(name) => NETWORK.resolve(name).await.ok()?,
    };
    Some(SocketAddr::new(address, broker.port))
}

struct Letters<'a>(&'a Mail);

impl Queue for Letters<'_> {
    fn read(&mut self, number: u64, payload: &mut Vec<u8>) -> Option<(u64, &'static str)> {
        self.0.outbox.borrow().read(number, payload)
    }

    fn acknowledge(&mut self, number: u64) {
        self.0.outbox.borrow_mut().acknowledge(number);
    }

    async fn wait(&mut self) {
        self.0.news.wait().await;
    }

    fn greet(&mut self, number: usize, payload: &mut Vec<u8>) -> Option<&'static str> {
        let mut text = String::new();
        // Writing to a String does not fail.
        self.0.node.with_snapshot(|now| _ = mqtt::write_birth(self.0.boot, now, &mut text));
        payload.clear();
        payload.extend_from_slice(text.as_bytes());
        (number == 0).then_some("birth")
    }
}
