//! Who gets what the node sends by itself: log lines, samples, requests. They run all the time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::defmt::Printer;
use tests::metrics::Metrics;
use tests::mqtt::{Broker, Subscriber};
use tests::node::{PATIENCE, TestNode};
use tests::syslog::SyslogServer;

use crate::COPY_PORT;

pub(crate) const DEFMT_PORT: u16 = 7777;
/// What is written at the end, and has to arrive everywhere.
const LAST: &str = "this is the last line of the soak";
/// Longest that it may take.
const ARRIVAL: Duration = Duration::from_secs(60);

/// The servers and clients, as far as they are installed.
pub(crate) struct Peers {
    syslog: Option<SyslogServer>,
    mqtt: Option<(Broker, Subscriber)>,
    defmt: Option<Printer>,
}

impl Peers {
    /// Starts the servers that the node connects to.
    pub(crate) fn start() -> Result<Self> {
        let mqtt = match Broker::start()? {
            Some(broker) => Some((broker, Subscriber::start("soak", "rack/#")?)),
            None => None,
        };
        Ok(Self { syslog: SyslogServer::start()?, mqtt, defmt: None })
    }

    /// Connects those who ask the node.
    pub(crate) fn connect(self, node: &TestNode) -> Result<Self> {
        Ok(Self { defmt: Printer::connect(node.tcp(DEFMT_PORT)?)?, ..self })
    }

    /// Checks that everything came to everybody, and in order, and that they answered whatever the node has asked since it
    /// said `first`.
    pub(crate) fn check(&mut self, node: &TestNode, first: &Metrics) -> Result<()> {
        node.console().send_line(&format!("note {LAST}"))?;
        if let Some(printer) = &self.defmt {
            printer.wait_for(LAST)?;
            ensure!(!printer.lines().iter().any(|line| line.contains("were lost")), "defmt-print was too slow");
        }
        if let Some(syslog) = &self.syslog {
            syslog.wait_for(LAST, ARRIVAL)?;
            let numbers: Vec<_> = syslog.messages()?.iter().map(|message| message.sequence).collect();
            let is_whole = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
            ensure!(is_whole, "syslog got {} lines, not all or not in order: {numbers:?}", numbers.len());
        }
        if let Some((_, subscriber)) = &self.mqtt {
            subscriber.wait_for("the last line by MQTT", ARRIVAL, |message| message.payload.contains(LAST))?;
            let (mut count, mut newest) = (0, 0);
            for message in subscriber.messages() {
                if message.topic.ends_with("/status") || message.topic.ends_with("/birth") {
                    continue;
                }
                let json = message.json()?;
                let (seq, lost) = (json["seq"].as_u64().unwrap_or(0), json["lost"].as_u64());
                ensure!(lost == Some(0) && seq == newest + 1, "MQTT: {seq} came after {newest}, {lost:?} were lost");
                (count, newest) = (count + 1, seq);
            }
            tests::lab::say(&format!("soak: {count} MQTT messages, all in order, none twice"));
        }
        works(node, first, "load", "minipirack_load_completed_total")?;
        works(node, first, "memory", "minipirack_workload_operations_total")?;
        works(node, first, "cpu", "minipirack_workload_operations_total")?;
        works(node, first, "ping", "minipirack_workload_operations_total")?;
        works(node, first, "pipeline", "minipirack_pipeline_delivered_total")?;
        pipeline_is_whole(node)?;
        copy_follows(node)
    }
}

/// Checks that nothing was lost, damaged or delivered twice on the way through the stages.
fn pipeline_is_whole(node: &TestNode) -> Result<()> {
    let metrics = node.fresh_metrics()?;
    let sink = |name: &str| metrics.one(&format!("minipirack_pipeline_{name}_total"), &[("id", "sink")]);
    tests::lab::say(&format!("soak: the pipeline has delivered {} messages", sink("delivered")?));
    for name in ["lost", "duplicates", "corrupted"] {
        let count = sink(name)?;
        ensure!(count == 0.0, "{count} messages of the pipeline: {name}");
    }
    Ok(())
}

/// Checks that the store that follows the other has never had to begin anew, and has what is written last.
fn copy_follows(node: &TestNode) -> Result<()> {
    let labels = [("id", "copy")];
    let copies = node.metric("minipirack_kv_copies_total", &labels)?;
    ensure!(copies == 1.0, "the copy of the store was made {copies} times");
    ask(node.tcp(6379)?, b"SET last of-all\r\n", b"+OK\r\n")?;
    tests::wait::until("the last value in the copy", PATIENCE, || {
        Ok(ask(node.tcp(COPY_PORT)?, b"GET last\r\n", b"$6\r\nof-all\r\n").ok())
    })
}

fn ask(address: SocketAddr, request: &[u8], wanted: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = vec![0; wanted.len()];
    stream.read_exact(&mut answer)?;
    ensure!(answer == wanted, "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Checks that a workload of the node that asks others is still answered.
fn works(node: &TestNode, first: &Metrics, workload: &str, metric: &str) -> Result<()> {
    let labels = [("workload", workload)];
    let before = node.metrics()?.sum(metric, &labels);
    node.wait_for_metric(&format!("more answers for {workload}"), PATIENCE, |metrics| {
        let now = metrics.sum(metric, &labels);
        Ok((now > before).then_some(now))
    })?;
    let errors = |metrics: &Metrics| metrics.sum("minipirack_workload_errors_total", &labels);
    let errors = errors(&node.metrics()?) - errors(first);
    ensure!(errors == 0.0, "{errors} requests of {workload} were not answered");
    Ok(())
}

/// Returns everything that is sent to it; on a port of its own, which is returned.
pub(crate) fn echo_server() -> Result<u16> {
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut stream = stream;
                stream.set_nodelay(true)?;
                let mut buffer = [0; 2048];
                loop {
                    match stream.read(&mut buffer)? {
                        0 => return Ok(()),
                        len => stream.write_all(buffer.get(..len).unwrap_or_default())?,
                    }
                }
            });
        }
    });
    Ok(port)
}
