//! Load from the node against services of the test, which know what they did.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::lab::{HOST, Lab};
use tests::metrics::Metrics;
use tests::node::Rig;

/// Boot, ten seconds of load, and a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(90);
/// How long the TCP service answers nothing, once.
const STALL: Duration = Duration::from_secs(1);

#[test]
fn latency_counts_from_when_a_request_was_due() -> Result<()> {
    let Some(lab) = Lab::private("load")? else { return Ok(()) };
    let tcp = TcpListener::bind("0.0.0.0:7001")?;
    let udp = UdpSocket::bind("0.0.0.0:7002")?;
    let http = TcpListener::bind("0.0.0.0:7003")?;
    let (echoed, stalled) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    serve(tcp, {
        let (echoed, stalled) = (Arc::clone(&echoed), Arc::clone(&stalled));
        let stall_end = std::sync::Mutex::new(None::<Instant>);
        move |bytes| {
            // The 300th request begins the stall, which all connections share.
            if echoed.fetch_add(1, Ordering::Relaxed) == 300 && !stalled.swap(true, Ordering::Relaxed) {
                *stall_end.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now() + STALL);
            }
            let end = *stall_end.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(end) = end {
                std::thread::sleep(end.saturating_duration_since(Instant::now()));
            }
            Some(bytes.to_vec())
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        for number in 0u64.. {
            let Ok((len, from)) = udp.recv_from(&mut buffer) else { return };
            // Every tenth is lost.
            if !number.is_multiple_of(10) {
                let _ = udp.send_to(&buffer[..len], from);
            }
        }
    });
    serve(http, |bytes| {
        std::thread::sleep(Duration::from_millis(30));
        bytes
            .starts_with(b"GET /hello HTTP/1.1\r\n")
            .then(|| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())
    });
    let command_line = format!(
        "workload=load:id=tcp,peer={HOST}:7001,rate=100,connections=4,duration=10s,timeout=5s,cores=1 \
         workload=load:id=udp,peer={HOST}:7002,proto=udp,rate=50,arrivals=poisson,duration=10s,timeout=2s,cores=2 \
         workload=load:id=http,peer={HOST}:7003,proto=http,path=/hello,rate=20,connections=4,duration=10s,timeout=5s,cores=3"
    );
    let rig = Rig::boot_in(lab, &command_line, |_| ())?;
    let of = |metrics: &Metrics, id: &str, name: &str| metrics.one(&format!("minipirack_load_{name}"), &[("id", id)]);
    for (id, offered) in [("tcp", 1000.0), ("http", 200.0), ("udp", 400.0)] {
        rig.node.wait_for_metric(&format!("the end of the load over {id}"), LONG, |metrics| {
            let is_idle = of(metrics, id, "under_way")? == 0.0;
            Ok((is_idle && of(metrics, id, "offered_total")? >= offered).then_some(0.0))
        })?;
    }
    // What the figures say at the end is what they say in the last sample.
    std::thread::sleep(Duration::from_secs(3));
    let metrics = rig.node.fresh_metrics()?;
    let of = |id: &str, name: &str| of(&metrics, id, name);
    ensure!(of("tcp", "completed_total")? == 1000.0 && of("tcp", "timeouts_total")? == 0.0, "{metrics:#?}");
    ensure!(echoed.load(Ordering::Relaxed) >= 1000, "{echoed:?} requests came");
    // Second by second it is the same: ten seconds and more, as they begin in the middle of the node's.
    let page: Value = serde_json::from_slice(&rig.node.get("/api/v1/seconds")?.body)?;
    let tcp = page["workloads"].as_array().into_iter().flatten().find(|load| load["id"] == "tcp").context("no tcp")?;
    let (columns, rows) = (tcp["columns"].as_array().context("columns")?, tcp["rows"].as_array().context("rows")?);
    let sum = |name: &str| {
        let at = columns.iter().position(|column| column == name);
        at.map(|at| rows.iter().filter_map(|row| row[at].as_u64()).sum::<u64>())
    };
    let sums = ["offered", "sent", "completed"].map(sum);
    ensure!(sums == [Some(1000); 3] && rows.len() >= 10, "{sums:?} in {} seconds", rows.len());
    // A hundred requests of a thousand were due during the stall. A generator that waits for answers would have had four
    // slow ones, one on each connection, and a 99th percentile that knows nothing of it.
    let (p99, longest) = (of("tcp", "p99_seconds")?, of("tcp", "longest_seconds")?);
    ensure!((0.7..3.0).contains(&p99) && (0.9..4.0).contains(&longest), "p99 {p99}, longest {longest}");
    let (http, bad) = (of("http", "completed_total")?, of("http", "bad_answers_total")?);
    ensure!(http == 200.0 && bad == 0.0, "{http} pages, {bad} bad ones");
    let p50 = of("http", "p50_seconds")?;
    ensure!((0.03..0.5).contains(&p50), "half of the pages took up to {p50} s");
    let (sent, came, lost) = (of("udp", "sent_total")?, of("udp", "completed_total")?, of("udp", "timeouts_total")?);
    ensure!(sent == came + lost && (0.05..0.2).contains(&(lost / sent)), "{sent} sent, {came} came, {lost} did not");
    Ok(())
}

/// Answers what comes with what `answer` says, each connection in a thread of its own; `None` closes it.
fn serve(listener: TcpListener, answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) {
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), answer) = (stream, Arc::clone(&answer)) else { return };
            std::thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    let Some(bytes) = answer(&buffer[..len]) else { return };
                    if stream.write_all(&bytes).is_err() {
                        return;
                    }
                }
            });
        }
    });
}
