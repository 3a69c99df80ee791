//! Tests of the command line: what is read, what is refused, and that nothing on it can stop a boot.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::fmt::Write;
use core::net::Ipv4Addr;

use super::*;

fn warnings(line: &str) -> std::vec::Vec<std::string::String> {
    Config::parse(line.as_bytes()).warnings.iter().map(ToString::to_string).collect()
}

/// The value is fine when nothing is warned of, and refused when the one warning has this reason.
fn reason(word: &str) -> Option<Reason> {
    let config = Config::parse(word.as_bytes());
    assert!(config.warnings.len() <= 1, "{word}: {:?}", config.warnings);
    config.warnings.first().map(|warning| warning.reason)
}

#[test]
fn an_empty_line_is_the_default() {
    assert_eq!(Config::parse(b" \t \n\0"), Config::default());
}

#[test]
fn every_key_is_read() {
    let config = Config::parse(
        b"name=web-1 ip=10.0.0.7/24,10.0.0.1 syslog=10.0.0.2 ntp=10.0.0.3 log=debug usbnet=rndis \
          workload=cpu:load=50% workload=memory watchdog=off report=60 ssh-idle=90",
    );
    assert_eq!(config.name.unwrap(), "web-1");
    let (address, gateway) = (Ipv4Addr::new(10, 0, 0, 7), Some(Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!(config.ip, Ip::Static { address, prefix_len: 24, gateway });
    let server = "10.0.0.2:514".parse().unwrap();
    assert_eq!(config.syslog, Some(Syslog { transport: Transport::Udp, server }));
    assert_eq!(config.ntp, Some("10.0.0.3".parse().unwrap()));
    assert_eq!((config.log, config.usbnet, config.watchdog), (Level::Debug, Some(UsbNet::Rndis), false));
    assert_eq!((config.workloads.len(), config.report_s, config.ssh_idle_s), (2, 60, 90));
    assert_eq!(config.workloads, ["cpu:load=50%", "memory"]);
    assert_eq!((config.warnings.len(), config.warnings_dropped), (0, 0));
}

#[test]
fn every_key_of_the_table_is_known_to_the_parser() {
    for key in &keys::KEYS {
        let line = format!("{}=\u{1}", key.name);
        assert!(reason(&line).is_some_and(|reason| reason != Reason::UnknownKey), "{}", key.name);
        assert!(!keys::is_for_linux(key.name.as_bytes()), "{}", key.name);
    }
}

#[test]
fn what_the_firmware_adds_is_skipped() {
    // As on a Pi 3B+ with Raspberry Pi OS.
    let line = b"coherent_pool=1M 8250.nr_uarts=1 snd_bcm2835.enable_headphones=0 snd_bcm2835.enable_hdmi=1 \
        bcm2708_fb.fbwidth=656 bcm2708_fb.fbheight=416 bcm2708_fb.fbswap=1 vc_mem.mem_base=0x3ec00000 \
        vc_mem.mem_size=0x40000000 dwc_otg.lpm_enable=0 console=ttyS0,115200 console=tty1 \
        root=PARTUUID=6c586e13-02 rootfstype=ext4 fsck.repair=yes rootwait quiet splash name=n1";
    let config = Config::parse(line);
    assert_eq!((config.warnings.len(), config.name.unwrap().as_str()), (0, "n1"));
}

#[test]
fn quotes_keep_words_together() {
    for line in ["workload=\"ping:a b\"", "\"workload=ping:a b\"", "workload=\"ping:a b"] {
        assert_eq!(Config::parse(line.as_bytes()).workloads, ["ping:a b"], "{line}");
    }
}

#[test]
fn the_last_of_a_repeated_key_counts() {
    assert_eq!(Config::parse(b"log=error log=trace").log, Level::Trace);
    assert_eq!(Config::parse(b"log=error log=loud").log, Level::Error, "a bad value changes nothing");
}

#[test]
fn addresses_are_checked() {
    for good in ["ip=dhcp", "ip=192.168.1.2/30", "ip=10.1.2.3/8,10.0.0.1", "ip=172.16.0.1/12,172.31.255.254"] {
        assert_eq!(reason(good), None, "{good}");
    }
    for (bad, expected) in [
        ("ip=", Reason::Prefix),
        ("ip=10.0.0.7", Reason::Prefix),
        ("ip=10.0.0.7/", Reason::Prefix),
        ("ip=10.0.0.7/0", Reason::Prefix),
        ("ip=10.0.0.7/31", Reason::Prefix),
        ("ip=10.0.0.7/-1", Reason::Prefix),
        ("ip=10.0.0/24", Reason::Address),
        ("ip=10.0.0.0/24", Reason::Address),
        ("ip=10.0.0.255/24", Reason::Address),
        ("ip=127.0.0.1/8", Reason::Address),
        ("ip=224.0.0.5/24", Reason::Address),
        ("ip=0.0.0.5/24", Reason::Address),
        ("ip=fe80::1/64", Reason::Address),
        ("ip=10.0.0.7/24,", Reason::Gateway),
        ("ip=10.0.0.7/24,10.0.1.1", Reason::Gateway),
        ("ip=10.0.0.7/24,10.0.0.7", Reason::Gateway),
        ("ip=10.0.0.7/24,10.0.0.255", Reason::Gateway),
    ] {
        assert_eq!(reason(bad), Some(expected), "{bad}");
    }
}

#[test]
fn peers_are_checked() {
    for good in ["syslog=10.0.0.1:1514", "syslog=fe80::1", "syslog=[fe80::1]:99", "ntp=10.0.0.1", "ntp=fe80::1"] {
        assert_eq!(reason(good), None, "{good}");
    }
    for (bad, expected) in [
        ("syslog=", Reason::Address),
        ("syslog=loghost", Reason::Address),
        ("syslog=10.0.0.1:0", Reason::Port),
        ("syslog=10.0.0.1:70000", Reason::Address),
        ("syslog=0.0.0.0", Reason::Address),
        ("ntp=", Reason::Address),
        ("ntp=10.0.0.300", Reason::Address),
        ("ntp=time.example.org", Reason::Address),
        ("ntp=::", Reason::Address),
    ] {
        assert_eq!(reason(bad), Some(expected), "{bad}");
    }
}

#[test]
fn names_are_labels() {
    let longest = "a".repeat(NAME_LEN);
    for good in ["a", "7", "web-1", "A-b-C", &longest] {
        assert_eq!(reason(&format!("name={good}")), None, "{good}");
    }
    let too_long = "a".repeat(NAME_LEN + 1);
    for bad in ["", "-a", "a-", "a.b", "a_b", "caf\u{e9}", &too_long] {
        assert_eq!(reason(&format!("name={bad}")), Some(Reason::Name), "{bad}");
    }
}

#[test]
fn a_warning_names_key_and_value_and_says_what_is_allowed() {
    assert_eq!(
        warnings("log=loud"),
        ["command line: log=loud ignored: no such choice; allowed: error, warn, info, debug or trace"]
    );
    assert_eq!(warnings("nmae=x"), ["command line: nmae=x ignored: unknown key; did you mean name?"]);
    let unknown = &warnings("colour=blue")[0];
    assert!(unknown.starts_with("command line: colour=blue ignored: unknown key; known keys: name log "), "{unknown}");
    assert_eq!(reason("verbose"), Some(Reason::UnknownKey));
    assert_eq!(reason("name"), Some(Reason::NoValue));
}

#[test]
fn no_message_has_a_secret_in_it() {
    for line in ["rack-secret=5ecret", "rack-secrt=5ecret", "mqtt-password=", "mqtt-pasword=5ecret"] {
        let warning = &warnings(line)[0];
        assert!(!warning.contains("5ecret") && warning.contains("=... ignored"), "{warning}");
    }
    let config = Config::parse(format!("mqtt-password=5ecret rack-secret={}", "5e".repeat(32)).as_bytes());
    let debug = format!("{config:?}");
    assert!(!debug.contains("5ecret") && !debug.contains("5e5e") && !debug.contains("94, 94"), "{debug}");
}

#[test]
fn every_example_of_the_table_is_understood_and_changes_something() {
    for key in &keys::KEYS {
        let config = Config::parse(format!("{}={}", key.name, key.example).as_bytes());
        assert_eq!(config.warnings, [], "{}", key.name);
        assert_ne!(config, Config::default(), "{}", key.name);
    }
}

#[test]
fn a_warning_is_printable_and_short() {
    let mut line = b"name=\x1b[31m\xff\"quoted\"".to_vec();
    line.extend([b'x'; 500]);
    let config = Config::parse(&line);
    let text = config.warnings[0].to_string();
    assert!(text.starts_with("command line: name=\\x1b[31m\\xff\\'quoted\\'xxx"), "{text}");
    assert!(text.contains("xxx... ignored: not text;"), "{text}");
}

#[test]
fn a_report_period_is_a_number_of_seconds_up_to_an_hour() {
    assert_eq!(Config::parse(b"report=0").report_s, 0);
    for bad in ["", "-1", "3601", "1.5", "often"] {
        assert_eq!(reason(&format!("report={bad}")), Some(Reason::Number), "{bad}");
    }
}

#[test]
fn an_ssh_session_may_be_idle_for_ten_seconds_to_a_day() {
    for (text, seconds) in [("", 600), ("ssh-idle=10", 10), ("ssh-idle=86400", 86_400)] {
        assert_eq!(Config::parse(text.as_bytes()).ssh_idle_s, seconds, "{text}");
    }
    for bad in ["", "0", "9", "86401", "1m", "off"] {
        assert_eq!(reason(&format!("ssh-idle={bad}")), Some(Reason::Number), "{bad}");
    }
}

#[test]
fn a_ninth_workload_is_refused() {
    let config = Config::parse(
        b"workload=a workload=b workload=c workload=d workload=e workload=f workload=g workload=h \
        workload=i",
    );
    assert_eq!(config.workloads, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    assert_eq!(config.warnings[0].reason, Reason::TooManyWorkloads);
    assert_eq!(reason(&format!("workload={}", "w".repeat(WORKLOAD_LEN + 1))), Some(Reason::Workload));
}

#[test]
fn more_warnings_than_are_kept_are_counted() {
    let config = Config::parse("bad=1 ".repeat(20).as_bytes());
    assert_eq!((config.warnings.len(), config.warnings_dropped), (MAX_WARNINGS, 20 - MAX_WARNINGS));
}

/// Any bytes give a config whose parts are valid, and warnings that can be shown.
#[test]
fn random_lines_never_panic_and_never_give_an_invalid_config() {
    const LINES: usize = 200_000;
    const PIECES: [&[u8]; 26] = [
        b"name=",
        b"ip=",
        b"syslog=",
        b"ntp=",
        b"log=",
        b"usbnet=",
        b"workload=",
        b"watchdog=",
        b" ",
        b"\"",
        b"=",
        b",",
        b"/24",
        b"10.0.0.7",
        b"10.0.0.1",
        b"dhcp",
        b":514",
        b"fe80::1",
        b"[",
        b"]",
        b"on",
        b"ecm",
        b"-",
        b".",
        b" log=debug ",
        b" ip=10.0.0.7/24",
    ];
    let mut random = Random(0x5eed);
    let mut understood = 0;
    let mut text = std::string::String::new();
    for _ in 0..LINES {
        let mut line = std::vec::Vec::new();
        for _ in 0..random.below(24) {
            match random.below(4) {
                0 => line.push(random.next() as u8),
                _ => line.extend_from_slice(PIECES[random.below(PIECES.len())]),
            }
        }
        let config = Config::parse(&line);
        understood += usize::from(config != Config { warnings: config.warnings.clone(), ..Config::default() });
        assert!(config.name.is_none_or(|name| reason(&format!("name={name}")).is_none()));
        if let Ip::Static { prefix_len, .. } = config.ip {
            assert!((1..=30).contains(&prefix_len));
        }
        for warning in &config.warnings {
            text.clear();
            write!(text, "{warning}").unwrap();
            assert!(text.len() < 350 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
        }
    }
    assert!(understood > LINES / 20, "the lines are not all noise: {understood}");
}

/// xorshift64 (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// The key whose 32 bytes are all 0x11.
const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER";

#[test]
fn ssh_keys_are_kept_once() {
    let other = KEY.replace("ERERE", "ERESE");
    let config = Config::parse(format!("ssh-key={KEY} ssh-key={other} ssh-key={KEY}").as_bytes());
    assert_eq!((config.ssh_keys.len(), config.ssh_keys[0], config.warnings.len()), (2, SshKey([0x11; 32]), 0));
    let line = format!("ssh-key=\"ssh-ed25519 {KEY} me@home\"");
    assert_eq!(Config::parse(line.as_bytes()).ssh_keys, [SshKey([0x11; 32])]);
}

#[test]
fn a_seventeenth_key_is_refused() {
    let key = |index: usize| format!("ssh-key={}{}ER ", &KEY[..65], char::from(b"ABCDEFGHIJKLMNOPQ"[index]));
    let line: std::string::String = (0..17).map(key).collect();
    let config = Config::parse(line.as_bytes());
    assert_eq!((config.ssh_keys.len(), config.warnings[0].reason), (16, Reason::TooManySshKeys));
}

#[test]
fn sinks_are_read() {
    let mqtt = |line: &str| Config::parse(line.as_bytes()).mqtt.broker.map(|peer| (peer.host, peer.port));
    let address = |text: &str| Host::Address(text.parse().unwrap());
    let name = |text: &str| Host::Name(text.try_into().unwrap());
    for (line, host, port) in [
        ("mqtt=10.0.0.2", address("10.0.0.2"), 1883),
        ("mqtt=10.0.0.2:99", address("10.0.0.2"), 99),
        ("mqtt=fe80::1", address("fe80::1"), 1883),
        ("mqtt=[fe80::1]:99", address("fe80::1"), 99),
        ("mqtt=broker", name("broker"), 1883),
        ("mqtt=broker.local:99", name("broker.local"), 99),
    ] {
        assert_eq!(mqtt(line), Some((host, port)), "{line}");
    }
    for (bad, expected) in [
        ("mqtt=", Reason::Peer),
        ("mqtt=10.0.0.300", Reason::Peer),
        ("mqtt=broker:0", Reason::Port),
        ("mqtt=broker:x", Reason::Port),
        ("mqtt=a..b", Reason::Peer),
        ("mqtt=0.0.0.0", Reason::Address),
        ("mqtt-topic=a/#", Reason::Topic),
        ("mqtt-topic=/", Reason::Length),
        ("mqtt-user=", Reason::Length),
        ("defmt=0", Reason::Port),
        ("defmt=on", Reason::Port),
        ("syslog=tls:10.0.0.1", Reason::Address),
        ("syslog=tcp:", Reason::Address),
        ("rack-secret=00", Reason::Secret),
    ] {
        assert_eq!(reason(bad), Some(expected), "{bad}");
    }
    assert_eq!(reason(&format!("rack-secret={}", "g0".repeat(32))), Some(Reason::Secret));
    assert_eq!(reason(&format!("rack-secret={}", "+1".repeat(32))), Some(Reason::Secret));
    let syslog = |line: &str| Config::parse(line.as_bytes()).syslog.unwrap();
    let tcp = Syslog { transport: Transport::Tcp, server: "10.0.0.2:514".parse().unwrap() };
    assert_eq!((syslog("syslog=tcp:10.0.0.2"), syslog("syslog=tcp:10.0.0.2:514")), (tcp, tcp));
    assert_eq!(syslog("syslog=udp:fe80::1").server, "[fe80::1]:514".parse().unwrap());
    assert_eq!(Config::parse(b"defmt=4444").defmt, Some(4444));
    assert_eq!(Config::parse(b"mqtt-topic=lab/1/").mqtt.topic, "lab/1");
}

#[test]
fn what_is_no_ed25519_key_is_refused() {
    let rsa = "AAAAB3NzaC1yc2EAAAADAQABAAABgQDExample";
    let (short, long, other) = (&KEY[..64], format!("{KEY}AAAA"), KEY.replace("C3Nz", "C3Na"));
    let options = format!("\"restrict ssh-ed25519 {KEY}\"");
    for text in ["", "ssh-ed25519", &options, rsa, short, &long, &other, "AAAA*", &KEY[..67]] {
        assert_eq!(reason(&format!("ssh-key={text}")), Some(Reason::SshKey), "{text}");
    }
}
