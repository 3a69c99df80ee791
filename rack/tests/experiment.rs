//! Experiments by the command that a user has.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::browser::Browser;

#[path = "experiment/architectures.rs"]
mod architectures;
#[path = "experiment/thousand.rs"]
mod thousand;

fn check(file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rack")).args(["experiment", "--check"]).arg(file).output().unwrap()
}

#[test]
fn nothing_is_wrong_with_the_reference_architectures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        let output = check(&file);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(output.stdout.starts_with(name.as_bytes()), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    fs::write(&file, "name = \"x\"\nphasen = 1\n").unwrap();
    let output = check(&file);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(said.contains("x.toml:2:1") && said.contains("did you mean 'phases'?"), "{said}");
}

/// Where a test's racks and files are. Those of one test run at a time: nodes that share a small machine with many others are late.
struct Place(tempfile::TempDir, #[expect(dead_code, reason = "held until the end")] MutexGuard<'static, ()>);

impl Place {
    fn new() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        // A test that has failed has had its turn.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        qemu::build::kernel(&mut |_| ()).unwrap();
        Self(tempfile::Builder::new().prefix("x").tempdir().unwrap(), turn)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn rack(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rack"));
        // An agent or keys of whoever runs the test are none of its business.
        command.env("XDG_RUNTIME_DIR", self.0.path()).env("HOME", self.0.path()).env_remove("SSH_AUTH_SOCK");
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a command and returns its exit status, what it printed, and what it complained of.
    fn say(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self.rack(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Writes an experiment of a cpu workload on one or more nodes.
    fn experiment(&self, count: u32, time: &str, rest: &str) -> String {
        let file = self.path("x.toml");
        let role = format!("[roles.a]\ncount = {count}\nworkloads = [\"cpu load=10%\"]\n");
        fs::write(&file, format!("name = \"x\"\n{role}[[phases]]\nname = \"run\"\nfor = \"{time}\"\n{rest}")).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Starts a command, and waits until it says something on standard error.
    fn start(&self, arguments: &[&str], until: &str) -> Child {
        let log = self.path("stderr");
        let child = self.rack(arguments).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !fs::read_to_string(&log).unwrap().contains(until) {
            assert!(Instant::now() < deadline, "no {until:?} in {}", fs::read_to_string(&log).unwrap());
            thread::sleep(Duration::from_millis(50));
        }
        child
    }

    /// Waits for the end of a command that was started, and returns its exit status and what it has complained of.
    fn end(&self, mut child: Child) -> (Option<i32>, String) {
        let status = child.wait().unwrap();
        (status.code(), fs::read_to_string(self.path("stderr")).unwrap())
    }

    /// Fails if anything runs or is disturbed on the nodes of rack e.
    fn expect_clean(&self) {
        let (status, out, errors) = self.say(&["run", "--rack", "e", "--all", "workload", "list"]);
        assert!(status == Some(0) && !out.contains(" running "), "{out}{errors}");
        let (_, out, errors) = self.say(&["run", "--rack", "e", "--all", "fault", "list"]);
        assert_eq!(out.matches("no faults").count(), 2, "{out}{errors}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.say(&["down", "--all"]);
    }
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_pipeline_loses_its_workers_and_no_message() {
    let place = Place::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/pipeline-worker-lost.toml");
    let (status, out, errors) =
        place.say(&["experiment", "--up", "--no-build", "--json", "x.json", file.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{out}{errors}");
    assert!(out.contains("pipeline-worker-lost: met"), "{out}");
    let report = fs::read_to_string(place.path("pipeline-worker-lost-report.html")).unwrap();
    for part in
        ["<td><code>delivered &gt;= 100%</code></td><td class=\"number\">100%</td>", "Latency of source", "worker[1]"]
    {
        assert!(report.contains(part), "no {part:?} in the report");
    }
    let json: Value = serde_json::from_slice(&fs::read(place.path("x.json")).unwrap()).unwrap();
    assert_eq!((&json["result"], &json["seed"]), (&"met".into(), &7.into()));

    // The sink has what the source has sent, by the figures that they gave, each at the last reading.
    let last = |part: &str, id: &str, figure: &str| {
        let nodes = json["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["part"] == part).unwrap();
        node["series"]["workloads"][id].as_array().unwrap().last().unwrap()["figures"][figure].as_f64().unwrap()
    };
    assert_eq!((last("source", "source", "sent"), last("sink", "sink", "delivered")), (340.0, 340.0));
    // Both workers worked, and the one that was reset has done so again.
    assert!(last("worker[0]", "worker", "operations") > 20.0 && last("worker[1]", "worker", "operations") > 20.0);

    let events = json["events"].as_array().unwrap();
    let event = |text: &str| events.iter().find(|event| event["text"].as_str().unwrap().starts_with(text)).unwrap();
    for (text, planned) in [("partition", 5.0), ("reset", 11.0)] {
        let at = event(text)["at"].as_f64().unwrap();
        // Never early; how late it is on a machine with other things to do is not this program's.
        assert!((planned..planned + 2.0).contains(&at), "{text} at {at}");
    }
    assert_eq!(event("is up again")["node"], "worker[0]");
    // The rack of its own is gone.
    assert_eq!(place.say(&["ps", "--json"]).1.trim(), "[]");
    expect_drawn(&place.path("pipeline-worker-lost-report.html"));
}

/// Fails if a report is not drawn as it should be, in a browser.
fn expect_drawn(report: &Path) {
    let Some(mut browser) = Browser::open(&format!("file://{}", report.display())).unwrap() else {
        tests::lab::say("NOT TESTED (needs the package chromium): the report of an experiment in a browser");
        return;
    };
    // Each plot has a line with a length, each fault that lasts is a band, and each that does not a cut.
    for drawn in [
        "{const charts=[...document.querySelectorAll('.chart:not(.wide)')];charts.length>=5&&charts.every(chart=>\
         [...chart.querySelectorAll('path.line')].some(line=>\
         line.getAttribute('d').split('L').length>10&&line.getTotalLength()>100)\
         &&chart.querySelector('rect.band')?.getBBox().width>2&&chart.querySelector('line.cut'))}",
        "[...document.querySelectorAll('.chart h3')].some(heading=>heading.textContent.trim().startsWith('Depth'))",
        "document.querySelectorAll('.chart.wide .bar').length>=1",
    ] {
        browser.wait_for(drawn).unwrap();
    }
    for (name, width, height, is_dark) in
        [("desktop", 1280, 2400, false), ("phone", 390, 4000, false), ("dark", 1280, 2400, true)]
    {
        browser.resize(width, height, is_dark).unwrap();
        browser.wait_for(&format!("innerWidth=={width}")).unwrap();
        let wide = browser.evaluate("document.documentElement.scrollWidth").unwrap();
        assert_eq!(wide, width, "on a {name} the report sticks out");
        // For people to look at; and what is blank compresses to next to nothing.
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}.png"));
        assert!(browser.screenshot(&file).unwrap() > 30_000, "the picture of the {name} is blank");
    }
}

#[test]
fn what_is_not_met_void_refused_or_interrupted_is_told_and_leaves_nothing() {
    let place = Place::new();
    let (status, _, errors) = place.say(&["up", "2", "--rack", "e", "--name", "web", "--no-build"]);
    assert_eq!(status, Some(0), "{errors}");
    let run = |file: &str, options: &[&str]| {
        place.say(&[&["experiment", "--rack", "e", "--no-build"], options, &[file]].concat())
    };

    // Errors of what has run on a node before are not the experiment's.
    let order = |words: &str| {
        place.say(&[&["run", "--rack", "e", "web-1"][..], &words.split(' ').collect::<Vec<_>>()].concat())
    };
    order("workload start ping peer=10.77.0.99 interval=10ms timeout=50ms id=before");
    let errors_of = |list: &str| {
        list.lines().find(|line| line.contains("before")).unwrap().split_whitespace().nth(6).unwrap().to_owned()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while errors_of(&order("workload").1) == "0" {
        assert!(Instant::now() < deadline, "nobody answers, and that is no error");
        thread::sleep(Duration::from_millis(100));
    }
    order("workload stop before");

    let expect = "[expect]\nthat = [\"errors == 0\", \"operations <= 1\"]\n";
    let (status, out, errors) = run(&place.experiment(2, "2s", expect), &[]);
    assert_eq!(status, Some(1), "{out}{errors}");
    assert!(out.contains("met      errors == 0") && out.contains("NOT MET  operations <= 1"), "{out}");
    place.expect_clean();

    let (status, _, errors) = run(&place.experiment(3, "2s", expect), &[]);
    assert!(status == Some(2) && errors.contains("role a needs 3 nodes, and 1 are missing"), "{errors}");

    // Nodes that somebody uses are left alone.
    place.say(&["run", "--rack", "e", "web-2", "workload", "start", "cpu", "load=5%", "id=mine"]);
    place.say(&["run", "--rack", "e", "web-2", "fault", "add", "drop", "share=1%"]);
    let file = place.experiment(
        2,
        "20s",
        "[[faults]]\nat = \"1s\"\non = \"a[1]\"\nfault = \"partition for=60s\"\n[expect]\nthat = [\"errors == 0\"]\n",
    );
    let (status, _, errors) = run(&file, &[]);
    assert_eq!(status, Some(2));
    assert!(errors.contains("a[1] (web-2): fault drop share=1% (active), workload mine"), "{errors}");

    // Ctrl-C while a node is cut off.
    let child = place.start(&["experiment", "--rack", "e", "--force", &file], "partition for=60s");
    thread::sleep(Duration::from_secs(1));
    interrupt(&child);
    let (status, errors) = place.end(child);
    assert_eq!(status, Some(2), "{errors}");
    place.expect_clean();

    // A node that is started anew in the middle.
    let child = place.start(&["experiment", "--rack", "e", &place.experiment(2, "30s", expect)], "run for 30.0 s");
    place.say(&["run", "--rack", "e", "web-1", "reboot"]);
    let (status, errors) = place.end(child);
    assert_eq!(status, Some(2), "{errors}");
    assert!(errors.contains("a[0] (web-1) was started anew, which was not planned"), "{errors}");
    place.expect_clean();

    // A cable that is pulled and put back before its node counts as lost.
    let child = place.start(&["experiment", "--rack", "e", &place.experiment(2, "30s", expect)], "run for 30.0 s");
    let (status, out, errors) =
        place.say(&["run", "--rack", "e", "web-2", "fault", "add", "nic-off", "after=500ms", "for=2s"]);
    assert_eq!(status, Some(0), "{out}{errors}");
    let (status, errors) = place.end(child);
    assert_eq!(status, Some(2), "{errors}");
    assert!(errors.contains("a[1] (web-2) has link lost: the link was lost"), "{errors}");
    place.expect_clean();
    let deadline = Instant::now() + Duration::from_secs(30);
    while place.say(&["ls", "--rack", "e"]).1.contains("link_lost") {
        assert!(Instant::now() < deadline, "it stays ill");
        thread::sleep(Duration::from_millis(200));
    }

    // A node that disappears.
    let child = place.start(&["experiment", "--rack", "e", &place.experiment(2, "30s", expect)], "run for 30.0 s");
    let status: Value = serde_json::from_str(&place.say(&["ps", "--rack", "e", "--json"]).1).unwrap();
    let pid = status[0]["nodes"][1]["pid"].to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let (status, errors) = place.end(child);
    assert_eq!(status, Some(2), "{errors}");
    assert!(errors.contains("a[1] (web-2) has not answered for 8s"), "{errors}");
    let (_, out, _) = place.say(&["run", "--rack", "e", "web-1", "workload", "list"]);
    assert!(!out.contains(" running "), "{out}");

    // A rack of its own goes with its experiment, and nothing is left of it.
    let child =
        place.start(&["experiment", "--up", "--no-build", &place.experiment(1, "30s", expect)], "run for 30.0 s");
    interrupt(&child);
    assert_eq!(place.end(child).0, Some(2));
    let racks: Value = serde_json::from_str(&place.say(&["ps", "--json"]).1).unwrap();
    assert_eq!(racks.as_array().unwrap().len(), 1, "{racks}");
    let left =
        fs::read_dir(place.path("minipirack")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.starts_with("experiment-")).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_faults_end_by_themselves() {
    let place = Place::new();
    assert_eq!(place.say(&["up", "2", "--rack", "e", "--no-build"]).0, Some(0));
    let rest =
        "[[faults]]\nat = \"0s\"\non = \"a[1]\"\nfault = \"partition for=4s\"\n[expect]\nthat = [\"errors == 0\"]\n";
    let child = place.start(&["experiment", "--rack", "e", &place.experiment(2, "30s", rest)], "partition for=4s");
    thread::sleep(Duration::from_secs(1));
    interrupt(&child);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !fs::read_to_string(place.path("stderr")).unwrap().contains("interrupted") {
        assert!(Instant::now() < deadline, "the first was not heard");
        thread::sleep(Duration::from_millis(2));
    }
    interrupt(&child);
    let (status, errors) = place.end(child);
    assert_eq!(status, Some(130), "{errors}");
    assert!(errors.contains("left at once"), "{errors}");
    thread::sleep(Duration::from_secs(5));
    let (_, out, errors) = place.say(&["run", "--rack", "e", "--all", "fault", "list"]);
    assert_eq!(out.matches("no faults").count(), 2, "{out}{errors}");
    // Whatever still runs there, the next one may end.
    let run =
        ["experiment", "--rack", "e", "--force", &place.experiment(2, "1s", "[expect]\nthat = [\"errors == 0\"]\n")];
    let (status, out, errors) = place.say(&run);
    assert_eq!(status, Some(0), "{out}{errors}");
    place.expect_clean();
}

/// Returns the frames of a capture (pcap, Ethernet), in the order of time.
fn frames(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = &bytes[24..];
    std::iter::from_fn(move || {
        let (header, frames) = rest.split_at_checked(16)?;
        let len = u32::from_ne_bytes(header[8..12].try_into().unwrap()) as usize;
        // The switch may be writing the last one.
        let (frame, next) = frames.split_at_checked(len)?;
        rest = next;
        Some(frame)
    })
}

/// Returns the numbers of the echo requests of IPv4 in a capture.
fn echo_requests(file: &Path) -> Vec<u16> {
    // Ethernet, IPv4 without options, ICMP of type 8: the number is in its bytes 6 and 7 (RFC 792).
    let is_request =
        |frame: &&[u8]| frame.len() >= 42 && frame[12..15] == [8, 0, 0x45] && frame[23] == 1 && frame[34] == 8;
    let bytes = fs::read(file).unwrap();
    frames(&bytes).filter(is_request).map(|frame| u16::from_be_bytes([frame[40], frame[41]])).collect()
}

#[test]
fn the_same_file_and_seed_hit_the_same_packets() {
    const SENT: u16 = 150;
    let place = Place::new();
    let file = |seed: u32| {
        let text = format!(
            "name = \"fate\"\nseed = {seed}\n[roles.b]\nworkloads = [\"cpu load=1%\"]\n[roles.a]\nstart = \"run\"\n\
             workloads = [\"ping peer={{b}} interval=10ms timeout=50ms count={SENT}\"]\n\
             [[phases]]\nname = \"before\"\nfor = \"2s\"\n[[phases]]\nname = \"run\"\nfor = \"40s\"\nuntil = \"a\"\n\
             [[faults]]\nat = \"0s\"\non = \"a\"\nfault = \"drop share=30% dir=out proto=icmp peer={{b}}\"\n\
             [expect]\nthat = [\"errors of a >= 1\"]\n"
        );
        let path = place.path(&format!("{seed}.toml"));
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // What has come through, by what was on the wire. Nodes count their requests from their start on.
    let runs = [1, 1, 2].map(|seed| {
        let pcap = tempfile::tempdir_in(place.0.path()).unwrap();
        let up = ["up", "2", "--rack", "d", "--no-build", "--pcap", pcap.path().to_str().unwrap()];
        assert_eq!(place.say(&up).0, Some(0));
        let (status, out, errors) = place.say(&["experiment", "--rack", "d", &file(seed)]);
        assert_eq!(status, Some(0), "{out}{errors}");
        place.say(&["down", "--rack", "d"]);
        let mut numbers = echo_requests(&pcap.path().join("all.pcap"));
        // The last ones are missing when a request could not be sent.
        numbers.retain(|number| *number < SENT - 10);
        numbers
    });
    assert_eq!(runs[0], runs[1]);
    // Another seed is another fate, and 30 % of 140 is 42, in all runs but one of millions within 30 of it.
    assert_ne!(runs[0], runs[2]);
    for run in &runs {
        assert!((68..=128).contains(&run.len()), "{run:?}");
    }
}
