//! Tests of the files: what is set, what is reported and where.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;
use crate::keys::KEYS;
use crate::{Ip, Level, SshKey};

/// The key whose 32 bytes are all 0x11.
const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER";

fn toml(text: &str) -> Config {
    Config::read(Files { node_toml: Some(text.as_bytes()), ..Files::default() }, b"")
}

fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_sets_what_it_says() {
    let config = toml(&format!(
        "[node]\nname = 'web-1'\nlog = \"debug\"\nreport = 60\nwatchdog = false\n\n[network]\nip = 'dhcp'\n\n[access]\n\
         ssh-key = ['ssh-ed25519 {KEY} me@home']\n\n[sinks]\nsyslog = 'tcp:10.0.0.2'\ndefmt = 4444\nmetrics = 'off'\n\n\
         [[workload]]\nname = 'cpu'\nload = '50%'\ncores = '1-2'\n\n[[workload]]\nname = 'memory'\n"
    ));
    assert_eq!(warnings(&config), [""; 0]);
    assert_eq!((config.name.unwrap().as_str(), config.log, config.report_s), ("web-1", Level::Debug, 60));
    assert_eq!((config.watchdog, config.metrics, config.defmt), (false, false, Some(4444)));
    assert_eq!(config.ssh_keys, [SshKey([0x11; 32])]);
    assert_eq!(config.syslog.unwrap().server, "10.0.0.2:514".parse().unwrap());
    assert_eq!(config.workloads, ["cpu:load=50%,cores=1-2", "memory"]);
    assert_eq!(
        config.workload_places.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["node.toml, line 19", "node.toml, line 24"]
    );
}

#[test]
fn every_key_of_the_table_is_read_in_its_table_and_only_there() {
    for key in KEYS.iter().filter(|key| key.section != Section::Workload) {
        let line = match key.kind {
            Kind::Number => format!("{} = {}", key.name, key.example),
            Kind::Switch => format!("{} = {}", key.name, key.example == "on"),
            _ => format!("{} = \"{}\"", key.name, key.example),
        };
        let config = toml(&format!("[{}]\n{line}\n", key.section));
        let expected = Config::parse(format!("{}={}", key.name, key.example).as_bytes());
        assert_eq!(config, expected, "{line}");
        let elsewhere = if key.section == Section::Node { Section::Sinks } else { Section::Node };
        let reason = toml(&format!("[{elsewhere}]\n{line}\n")).warnings.first().map(|warning| warning.reason);
        assert_eq!(reason, Some(Reason::Misplaced(key.section)), "{line}");
        assert_eq!(toml(&format!("{}.{line}\n", key.section)), expected, "dotted {line}");
    }
}

#[test]
fn mistakes_are_told_by_line_and_key() {
    let text = "name = 'a'\n[node]\nnmae = 'x'\nlog = 'loud'\nreport = 9999\nname = 'a'\nname = 'b'\ncolour = \"blue\"\n\
                watchdog = [true]\nntp = '10.0.0.1'\nusbnet = ecm\n[netwrk]\nip = 'x'\n[access]\nssh-key = [\n'AAAA',\n]\n";
    let config = toml(text);
    let expected = [
        "node.toml, line 1: name=a ignored: it belongs into the table [node]",
        "node.toml, line 3: nmae=x ignored: unknown key; did you mean name?",
        "node.toml, line 4: log=loud ignored: no such choice; allowed: error, warn, info, debug or trace",
        "node.toml, line 5: report=9999 ignored: not a number in this range; allowed: 0 to 3600",
        "node.toml, line 7: name=b ignored: set a second time",
        "node.toml, line 8: colour=blue ignored: unknown key; known keys: name log",
        "node.toml, line 9: watchdog=true ignored: a list, where one value is expected",
        "node.toml, line 10: ntp=10.0.0.1 ignored: it belongs into the table [network]",
        "node.toml, line 11, column 10: ",
        "node.toml, line 12: [netwrk] ignored: unknown table; did you mean network?",
        "node.toml, line 16: ssh-key=AAAA ignored: not a public Ed25519 key; allowed: a public ssh-ed25519 key",
    ];
    let found = warnings(&config);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert!(found[8].contains("string must be quoted") || found[8].contains("expected"), "{}", found[8]);
    assert_eq!((config.name.unwrap().as_str(), config.log, config.ip), ("a", Level::Info, Ip::Dhcp));
}

#[test]
fn workloads_are_checked() {
    let reasons = |text: &str| toml(text).warnings.iter().map(|warning| warning.reason).collect::<Vec<_>>();
    assert_eq!(reasons("[[workload]]\nload = '50%'\n"), [Reason::NoName]);
    assert_eq!(reasons("[[workload]]\nname = 'cpu'\nload = '1,cores=0'\n"), [Reason::Comma]);
    assert_eq!(reasons("[[workload]]\nname = 'cpu'\ncores = [1, 2]\n"), [Reason::List, Reason::List]);
    assert_eq!(reasons("[[workload]]\nname = 'cpu'\nname = 'memory'\n"), [Reason::Twice]);
    assert_eq!(reasons("[[workload]]\nname = 'a'\n[[workload]]\nname = 'b'\n"), []);
    assert_eq!(reasons(&"[[workload]]\nname = 'a'\n".repeat(9)), [Reason::TooManyWorkloads]);
    assert_eq!(reasons(&format!("[[workload]]\nname = '{}'\n", "a".repeat(257))), [Reason::Workload]);
    assert_eq!(reasons("workload = 'cpu'\n"), [Reason::Misplaced(Section::Workload)]);
}

#[test]
fn the_command_line_overrides_the_file() {
    let text = format!("[node]\nname = 'a'\nlog = 'debug'\n[access]\nssh-key = '{KEY}'\n[[workload]]\nname = 'cpu'\n");
    let files = Files { node_toml: Some(text.as_bytes()), ..Files::default() };
    let other = KEY.replace("ERERE", "ERESE");
    let config = Config::read(files, format!("name=b workload=memory workload=idle ssh-key={other}").as_bytes());
    assert_eq!((config.name.unwrap().as_str(), config.log), ("b", Level::Debug));
    assert_eq!(config.workloads, ["memory", "idle"]);
    assert_eq!(config.workload_places, [Place::CommandLine; 2]);
    assert_eq!(config.ssh_keys.len(), 2, "keys add up");
    assert_eq!(Config::read(files, b"name=b").workloads, ["cpu"]);
}

#[test]
fn keys_and_the_secret_have_files_of_their_own() {
    let keys = format!("# mine\nssh-ed25519 {KEY} me\r\n\nssh-rsa AAAAB3 you\nAAAAsecretlookingline\n");
    let secret = "5e".repeat(32) + "\n";
    let files = Files { authorized_keys: Some(keys.as_bytes()), rack_key: Some(secret.as_bytes()), ..Files::default() };
    let config = Config::read(files, b"");
    assert_eq!((config.ssh_keys.as_slice(), config.rack_secret.unwrap().0), (&[SshKey([0x11; 32])][..], [0x5e; 32]));
    let found = warnings(&config);
    assert!(
        found[0].starts_with("authorized_keys, line 4: ssh-key=ssh-rsa ignored: not a public Ed25519 key"),
        "{found:?}"
    );
    assert!(found[1].starts_with("authorized_keys, line 5: ssh-key=... ignored"), "{found:?}");
    let config = Config::read(Files { rack_key: Some(b"5ecret"), ..Files::default() }, b"");
    let found = warnings(&config);
    assert!(found[0].starts_with("rack.key, line 1: rack-secret=... ignored: not a rack secret"), "{found:?}");
}

#[test]
fn strange_files_are_reported_and_the_rest_counts() {
    let read = |bytes: &[u8]| Config::read(Files { node_toml: Some(bytes), ..Files::default() }, b"");
    let config = read(b"\xef\xbb\xbf[node]\r\nname = 'a'\r\nlog = '\xff'\r\n");
    assert_eq!(config.name.as_ref().unwrap().as_str(), "a");
    assert!(warnings(&config)[0].starts_with("node.toml, line 3: not UTF-8 text; the rest is ignored"));
    let config = read(&b"#".repeat(FILE_LEN_MAX + 1));
    assert_eq!(warnings(&config), ["node.toml, line 1: the file has more than 32 KiB; it is ignored"]);
    assert_eq!(read(b""), Config::default());
    let secret = read(b"[access]\nrack-secret = 5ecret\n[sinks]\nmqtt-password = 5ecret\nx = '5'\n");
    assert!(!format!("{:?}", warnings(&secret)).contains("5ecret"), "{:?}", warnings(&secret));
}

/// Any bytes give a valid configuration and messages that can be shown.
#[test]
fn random_files_never_panic() {
    const PIECES: [&str; 24] = [
        "[node]\nname = 'web-1'\n",
        "[[workload]]\n",
        "[access]\n",
        "[",
        "]",
        "\n",
        "name",
        "log",
        " = ",
        "\"",
        "'",
        "\"\"\"",
        "\\u00e9",
        "debug",
        "5",
        "true",
        ",",
        ".",
        "#",
        "ssh-key = [\n",
        "{",
        "}",
        "rack-secret = 'x'\n",
        "\r\n",
    ];
    let mut state = 0x0dd_ba11_u64;
    let mut random = |limit: usize| {
        // xorshift64 (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    let mut understood = 0;
    for _ in 0..50_000 {
        let mut bytes = Vec::new();
        for _ in 0..random(30) {
            match random(8) {
                0 => bytes.push(random(256) as u8),
                _ => bytes.extend_from_slice(PIECES[random(PIECES.len())].as_bytes()),
            }
        }
        let files = Files { node_toml: Some(&bytes), authorized_keys: Some(&bytes), rack_key: Some(&bytes) };
        let config = Config::read(files, b"");
        understood += usize::from(config.name.is_some() || config.log != Level::Info || !config.workloads.is_empty());
        for text in warnings(&config) {
            assert!(text.len() < 400 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
        }
    }
    assert!(understood > 100, "they are not all noise: {understood}");
}
