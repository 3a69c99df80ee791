//! Prometheus and an MQTT broker beside a virtual rack: the commands of docs/monitoring/collectors.md, as they stand there.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tests::lab::{Lab, say};
use tests::tool::{Racks, until};

const NAMES: [&str; 3] = ["web-1", "web-2", "web-3"];

/// Runs the page's commands in a network of its own, where their ports are free.
struct Page {
    racks: Racks,
    commands: Vec<String>,
    servers: Vec<Child>,
}

impl Page {
    fn read() -> Self {
        let racks = Racks::new(env!("CARGO_BIN_EXE_rack"));
        let page = fs::read_to_string(root().join("docs/monitoring/collectors.md")).unwrap();
        let commands = page.lines().filter_map(|line| line.strip_prefix("    $ ")).map(str::to_owned).collect();
        Self { racks, commands, servers: Vec::new() }
    }

    /// Returns a command of the page, which must be its next. What differs is where the tool is, that it need not be built, and
    /// that nothing is written to the project.
    fn command(&mut self, beginning: &str) -> Command {
        let line = self.commands.remove(0);
        assert!(line.starts_with(beginning), "the page goes on with {line:?}, and not with {beginning:?}");
        let line = line.trim_end_matches(" &").replace("cargo run -- up", "cargo run -- up --no-build");
        let line = line.replace("cargo run -- ", &format!("{} ", env!("CARGO_BIN_EXE_rack")));
        let line = line.replace("target/prometheus", self.racks.path("prometheus").to_str().unwrap());
        let line = line.replace("docs/monitoring/nodes.json", self.racks.path("nodes.json").to_str().unwrap());
        // With the tool's environment.
        let tool = self.racks.command(&[]);
        let mut command = Command::new("bash");
        for (key, value) in tool.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let sbin = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        command.args(["-c", &format!("exec {line}")]).env("PATH", sbin).current_dir(root()).stdin(Stdio::null());
        command
    }

    fn run(&mut self, beginning: &str) -> String {
        let output = self.command(beginning).output().unwrap();
        assert!(output.status.success(), "{beginning}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn start(&mut self, beginning: &str) {
        assert!(self.commands[0].ends_with(" &"), "{:?} does not go on", self.commands[0]);
        let server = self.command(beginning).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.servers.push(server);
    }

    /// Asks Prometheus by a command of the page until it has something of every node, and returns that.
    fn ask(&mut self, query: &str) -> Vec<Value> {
        let line = self.commands[0].clone();
        assert!(line.contains(query), "{line}");
        let series = until(query, || {
            let answer = self.command("curl").output().unwrap();
            // To be asked again.
            self.commands.insert(0, line.clone());
            let answer: Value = serde_json::from_slice(&answer.stdout).ok()?;
            let series = answer["data"]["result"].as_array()?.clone();
            let nodes: BTreeSet<&str> = series.iter().filter_map(|one| one["metric"]["instance"].as_str()).collect();
            let has_values = series.iter().all(|one| one["value"][1] != "0");
            (nodes == BTreeSet::from(NAMES) && has_values).then_some(series)
        });
        self.commands.remove(0);
        series
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // It may have ended.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn has_programs() -> bool {
    let is_there = |program: &&str| {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    };
    let missing: Vec<&str> =
        ["prometheus", "mosquitto", "mosquitto_sub", "curl"].into_iter().filter(|program| !is_there(program)).collect();
    if !missing.is_empty() {
        say(&format!("NOT TESTED (needs {}): collectors beside a rack", missing.join(", ")));
    }
    missing.is_empty()
}

#[test]
fn prometheus_and_a_broker_get_what_the_nodes_of_a_rack_say() {
    if !has_programs() {
        return;
    }
    let Some(_lab) = Lab::private("collectors beside a rack").unwrap() else { return };
    let mut page = Page::read();
    page.start("mosquitto -c ");
    page.run("cargo run -- up 3");
    page.start("cargo run -- targets");
    page.start("prometheus --config.file=");

    for series in page.ask("up{job=\"rack\"}") {
        assert_eq!((&series["metric"]["rack"], &series["value"][1]), (&"rack lab".into(), &"1".into()), "{series}");
    }
    page.ask("minipirack_workload_operations_total");

    let said = page.run("mosquitto_sub -V 5 -v -t 'minipirack/+/status'");
    for name in NAMES {
        assert!(said.contains(&format!("minipirack/{name}/status online")), "{said}");
    }
    let said = page.run("mosquitto_sub -V 5 -v -t 'minipirack/+/sample'");
    for name in NAMES {
        let topic = format!("minipirack/{name}/sample ");
        let samples = said.lines().filter_map(|line| line.strip_prefix(&topic));
        let samples: Vec<Value> = samples.map(|sample| serde_json::from_str(sample).unwrap()).collect();
        assert!(!samples.is_empty(), "no sample of {name}: {said}");
    }

    page.run("cargo run -- targets --rack lab --output");
    let targets: Value = serde_json::from_slice(&fs::read(page.racks.path("nodes.json")).unwrap()).unwrap();
    assert_eq!(targets.as_array().unwrap().len(), 3, "{targets}");
    page.run("cargo run -- down");
    assert!(page.commands.is_empty(), "not tested: {:?}", page.commands);
}
