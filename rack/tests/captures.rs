//! Faults on purpose as a stock tshark sees them, in the capture that `up --pcap` makes of a node's port: how many frames have which
//! fate, and when.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tests::lab::say;
use tests::metrics::Metrics;
use tests::packet::{self, ARP, BROADCAST, ICMP, IPV4, Mac};
use tests::tool::{PATIENCE, Racks, until};

/// Frames from which a share is measured.
const FRAMES: u16 = 10_000;
/// Sent before their answers are waited for.
const BATCH: u16 = 16;
/// Ours.
const MAC: Mac = [2, 0, 0, 0, 0, 0x77];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 200);
const NODE_MAC: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
/// After which a node has all its addresses and has said what it announces, in seconds.
const SETTLED_S: f64 = 6.0;
/// What the node's clock is exact to.
const TICK: Duration = Duration::from_millis(1);

/// A station at the rack's switch: frames, each behind its length.
struct Station(UnixStream);

impl Station {
    fn plug_in(switch: &Path) -> Self {
        let stream = UnixStream::connect(switch).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn send(&mut self, frame: &[u8]) {
        let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&len, frame].concat()).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut len = [0; 4];
        self.0.read_exact(&mut len).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        self.0.read_exact(&mut frame).unwrap();
        frame
    }

    /// Sends an echo request of a series.
    fn request(&mut self, series: u8, number: u16, len: usize) {
        let request = packet::icmp_echo_request(identifier(series), number, &vec![0x55; len]);
        self.send(&packet::ethernet(NODE_MAC, MAC, IPV4, &packet::ipv4(ADDRESS, NODE, ICMP, &request)));
    }

    /// Waits until the node has answered a question that no fault is about: then it has looked at all that was sent before.
    fn wait_for_arp(&mut self) {
        self.send(&packet::ethernet(BROADCAST, MAC, ARP, &packet::arp_request(MAC, ADDRESS, NODE)));
        while !is_arp_reply(&self.receive()) {}
    }

    /// Sends a series of echo requests, and returns when the node has looked at all of them.
    fn series(&mut self, series: u8, count: u16) {
        for first in (0..count).step_by(BATCH.into()) {
            (first..count.min(first + BATCH)).for_each(|number| self.request(series, number, 8));
            self.wait_for_arp();
        }
    }

    /// Waits until so many answers to a series have come.
    fn wait_for_answers(&mut self, series: u8, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut left = count;
        while left > 0 {
            assert!(Instant::now() < deadline, "{left} answers of {count} do not come");
            let frame = self.receive();
            let is_answer = frame.len() >= 42 && frame[6..12] == NODE_MAC && frame[23] == ICMP && frame[34] == 0;
            left -= usize::from(is_answer && frame[38..40] == [series; 2]);
        }
    }
}

/// Returns the identifier of a series. One damaged byte makes none of another.
fn identifier(series: u8) -> u16 {
    u16::from_be_bytes([series; 2])
}

fn is_arp_reply(frame: &[u8]) -> bool {
    frame[6..12] == NODE_MAC && frame[12..14] == ARP.to_be_bytes() && frame[20..22] == [0, 2]
}

/// An echo message as tshark shows it.
#[derive(Debug)]
struct Echo {
    at: Duration,
    is_answer: bool,
    number: u16,
    is_checksum_good: bool,
    len: f64,
}

/// Has tshark read a capture, and returns the lines that it prints.
fn tshark(file: &Path, arguments: &[&str]) -> Vec<String> {
    let output = Command::new("tshark").arg("-n").arg("-r").arg(file).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    // As root it warns of that.
    let is_clean = errors.lines().all(|line| line.contains("root") || line.is_empty());
    assert!(output.status.success() && is_clean, "{errors}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Returns the echo messages of a capture by their series, in the order of their times; those that have lost it as of series 0.
fn echoes(file: &Path) -> BTreeMap<u8, Vec<Echo>> {
    let fields = ["frame.time_epoch", "icmp.type", "icmp.ident", "icmp.seq", "icmp.checksum.status", "frame.len"];
    let mut arguments = vec!["-Y", "icmp.type == 0 || icmp.type == 8", "-T", "fields", "-E", "occurrence=f"];
    fields.iter().for_each(|field| arguments.extend(["-e", field]));
    let mut all: BTreeMap<u8, Vec<Echo>> = BTreeMap::new();
    for line in tshark(file, &arguments) {
        let words: Vec<&str> = line.split('\t').collect();
        let [at, kind, series, number, status, len] = <[&str; 6]>::try_from(words).unwrap();
        let number_of = |word: &str| match word.strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16).unwrap(),
            None => word.parse().unwrap(),
        };
        let [series, again] = number_of(series).to_be_bytes();
        all.entry(if series == again { series } else { 0 }).or_default().push(Echo {
            at: Duration::from_secs_f64(at.parse().unwrap()),
            is_answer: kind == "0",
            number: number_of(number),
            is_checksum_good: status == "1" || status == "Good",
            len: len.parse().unwrap(),
        });
    }
    all
}

/// Returns how many are requests, and how many are answers.
fn counts(echoes: &[Echo]) -> (usize, usize) {
    let answers = echoes.iter().filter(|echo| echo.is_answer).count();
    (echoes.len() - answers, answers)
}

/// Returns how long each answer took, by its number; the shortest first.
fn times(echoes: &[Echo]) -> Vec<Duration> {
    let asked: BTreeMap<u16, Duration> =
        echoes.iter().filter(|echo| !echo.is_answer).map(|echo| (echo.number, echo.at)).collect();
    let mut times: Vec<Duration> =
        echoes.iter().filter(|echo| echo.is_answer).map(|echo| echo.at - asked[&echo.number]).collect();
    times.sort();
    times
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// A node of a rack, and us at its switch.
struct Bench {
    racks: Racks,
    station: Station,
}

impl Bench {
    fn command(&self, words: &[&str]) {
        self.racks.succeed(&[&["run", "--rack", "c", "1"], words].concat());
    }

    fn add(&self, fault: &str) {
        self.command(&[&["fault", "add"][..], &fault.split(' ').collect::<Vec<_>>()].concat());
    }

    /// Ends all faults, and returns how many frames those of a kind have hit in their time.
    fn clear(&self, kind: &str) -> usize {
        let hits = self.hits(kind);
        self.command(&["fault", "clear"]);
        hits
    }

    /// Returns that figure of a sample that was taken after this call.
    fn hits(&self, kind: &str) -> usize {
        let before = uptime(&self.metrics());
        until("two samples", || (uptime(&self.metrics()) >= before + 2.0).then_some(()));
        self.metrics().one("minipirack_fault_hits_total", &[("kind", kind)]).unwrap() as usize
    }

    fn metrics(&self) -> Metrics {
        let node = self.racks.nodes("c")[0].clone();
        let forwards = node["forwards"].as_array().unwrap();
        let web = forwards.iter().find(|forward| forward["node_port"] == 80).unwrap();
        let address = web["host"].as_str().unwrap().parse().unwrap();
        Metrics::parse(&tests::http::get(address, "/metrics").unwrap().text()).unwrap()
    }
}

fn uptime(metrics: &Metrics) -> f64 {
    metrics.one("minipirack_uptime_seconds", &[]).unwrap()
}

#[test]
fn every_fault_is_in_the_capture_as_it_was_ordered() {
    if Command::new("tshark").arg("--version").output().is_err() {
        return say("NOT TESTED (needs tshark): faults in the captures of a rack");
    }
    let racks = Racks::new(env!("CARGO_BIN_EXE_rack"));
    let pcap = racks.path("pcap");
    racks.succeed(&["up", "1", "--rack", "c", "--precise", "--no-build", "--pcap", pcap.to_str().unwrap()]);
    let station = Station::plug_in(&racks.place("c").join("switch"));
    let mut bench = Bench { racks, station };

    until("a node that has settled", || (uptime(&bench.metrics()) >= SETTLED_S).then_some(()));
    let begin = now();
    // The node knows us from then on.
    bench.station.wait_for_arp();
    bench.station.series(1, 1_000);
    for number in 0..100 {
        bench.station.request(2, number, 8);
        bench.station.wait_for_answers(2, 1);
    }

    bench.add("drop share=10% dir=in proto=icmp seed=7 for=5m");
    bench.station.series(3, FRAMES);
    let dropped = bench.clear("drop");

    bench.add("partition for=5m");
    bench.station.series(4, 1_000);
    bench.command(&["fault", "clear"]);
    bench.station.series(5, 100);

    bench.add("delay time=20ms dir=out proto=icmp for=5m");
    for number in 0..100 {
        bench.station.request(6, number, 8);
        bench.station.wait_for_answers(6, 1);
    }
    bench.command(&["fault", "clear"]);

    bench.add("duplicate share=20% dir=out proto=icmp seed=7 for=5m");
    bench.station.series(7, FRAMES);
    let duplicated = bench.clear("duplicate");

    bench.add("corrupt share=20% dir=out proto=icmp seed=7 for=5m");
    bench.station.series(8, FRAMES);
    let damaged = bench.clear("corrupt");

    // A hundred at once: each that waits is overtaken, except perhaps the last ones.
    bench.add("reorder share=10% time=10ms dir=out proto=icmp seed=7 for=5m");
    for first in (0..1_000).step_by(100) {
        (first..first + 100).for_each(|number| bench.station.request(9, number, 8));
        bench.station.wait_for_arp();
    }
    let reordered = bench.clear("reorder");

    // Two and a half seconds' worth of long frames at once.
    bench.add("rate rate=1Mbit/s burst=1514 queue=5s dir=out proto=icmp for=5m");
    (0..300).for_each(|number| bench.station.request(10, number, 1_000));
    bench.station.wait_for_answers(10, 300);
    bench.command(&["fault", "clear"]);
    let end = now();

    bench.racks.succeed(&["down", "--rack", "c"]);
    let file = pcap.join("pi-123456.pcap");
    // Nothing is damaged but what was so on purpose, and time goes forwards.
    let malformed = tshark(&file, &["-Y", "_ws.malformed || _ws.short"]);
    assert!(malformed.is_empty(), "{malformed:?}");
    let of_time = tshark(&file, &["-T", "fields", "-e", "frame.time_epoch"]);
    let of_time: Vec<f64> = of_time.iter().map(|time| time.parse().unwrap()).collect();
    assert!(of_time.is_sorted(), "times go backwards");
    let echoes = echoes(&file);
    let slack = Duration::from_millis(1);
    let is_ours = |echo: &Echo| (begin - slack..=end + slack).contains(&echo.at);
    assert!(echoes.values().flatten().all(is_ours), "times are not those of this machine");

    let share = |count: usize| count as f64 / f64::from(FRAMES);
    let sent = usize::from(FRAMES);
    assert_eq!((counts(&echoes[&1]), counts(&echoes[&2])), ((1_000, 1_000), (100, 100)), "without a fault");
    let usual = times(&echoes[&2])[0];

    let (asked, answered) = counts(&echoes[&3]);
    let lost = asked - answered;
    say(&format!("captures: {lost} of {asked} frames are lost when 10 % should be"));
    assert_eq!((asked, lost), (sent, dropped), "the node has dropped others than are missing");
    assert!((share(lost) - 0.1).abs() <= 0.01, "{lost} of {asked} are lost");

    assert_eq!(counts(&echoes[&4]), (1_000, 0), "in a partition");
    assert_eq!(counts(&echoes[&5]), (100, 100), "after it");

    let delays = times(&echoes[&6]);
    let (shortest, median) = (delays[0], delays[delays.len() / 2]);
    say(&format!(
        "captures: a delay of 20 ms takes {shortest:?} at least, {median:?} in the median; {usual:?} without"
    ));
    assert!(shortest >= Duration::from_millis(20), "{shortest:?} only");
    // What else the machine does makes some late; the least disturbed one tells how exact it is.
    assert!(shortest <= Duration::from_millis(20) + usual + Duration::from_millis(1) + TICK, "{shortest:?}");

    let (asked, answered) = counts(&echoes[&7]);
    say(&format!("captures: {} of {asked} frames come twice when 20 % should", answered - asked));
    assert_eq!((asked, answered - asked), (sent, duplicated));
    assert!((share(duplicated) - 0.2).abs() <= 0.01, "{duplicated}");

    // Of some, what is damaged is the number of the series.
    let bad = echoes.values().flatten().filter(|echo| !echo.is_checksum_good).count();
    say(&format!("captures: {bad} of {sent} frames are damaged when 20 % should be"));
    let (asked, answered) = counts(&echoes[&8]);
    assert_eq!((asked, answered + echoes[&0].len(), bad), (sent, sent, damaged));
    assert!((share(bad) - 0.2).abs() <= 0.01, "{bad}");

    let answers: Vec<&Echo> = echoes[&9].iter().filter(|echo| echo.is_answer).collect();
    let mut newest = 0;
    let overtaken = answers.iter().filter(|echo| {
        newest = newest.max(echo.number);
        echo.number < newest
    });
    let overtaken = overtaken.count();
    let held = times(&echoes[&9]).iter().filter(|time| **time >= Duration::from_millis(10)).count();
    say(&format!("captures: {overtaken} of 1000 frames are overtaken when 10 % should be; {reordered} were held back"));
    assert_eq!(counts(&echoes[&9]), (1_000, 1_000), "a reordered frame is lost");
    // Of each hundred the last one may have nobody behind it, and a busy machine holds one or another by itself.
    assert!(held >= reordered && overtaken <= reordered && overtaken + 10 >= reordered, "{overtaken}, {held} held");
    assert!((overtaken as f64 / 1000.0 - 0.1).abs() <= 0.03, "{overtaken}");

    let answers: Vec<&Echo> = echoes[&10].iter().filter(|echo| echo.is_answer).collect();
    let time = answers.last().unwrap().at - answers[0].at;
    // The first one begins the time.
    let rate = answers[1..].iter().map(|echo| echo.len).sum::<f64>() * 8.0 / time.as_secs_f64();
    say(&format!("captures: {:.3} Mbit/s when it should be 1", rate / 1e6));
    assert_eq!(answers.len(), 300, "frames are lost at the limit");
    assert!((rate / 1e6 - 1.0).abs() <= 0.05, "{rate} bit/s");
}
