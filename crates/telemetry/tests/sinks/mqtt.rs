//! The messages for an MQTT broker, read by a JSON parser.

use serde_json::Value;
use telemetry::sinks::mqtt::{self, Changes, Header};

use crate::fixture::Node;

const HEADER: Header = Header { seq: 7, boot: 0xabc, lost: 2 };

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_sample_is_numbered_and_has_the_tables_metrics() {
    for node in [Node::just_started(), Node::at_work(12)] {
        let mut text = String::new();
        node.show(|snapshot| mqtt::write_sample(HEADER, snapshot, &mut text)).unwrap();
        let sample = parse(&text);
        assert_eq!((&sample["seq"], &sample["lost"], &sample["boot"]), (&7.into(), &2.into(), &"000abc".into()));
        assert!(text.len() < 8 * 1024, "{} bytes", text.len());
    }
    let mut text = String::new();
    Node::at_work(12).show(|snapshot| mqtt::write_sample(HEADER, snapshot, &mut text)).unwrap();
    let metrics = &parse(&text)["metrics"];
    assert!(metrics["node_cpu_seconds_total"]["0,idle"].is_number(), "{text}");
    assert!(metrics["minipirack_uptime_seconds"].is_number(), "{text}");
}

#[test]
fn lines_and_births_are_json_whatever_is_in_them() {
    let node = Node::at_work(3);
    let (mut line, mut birth) = (String::new(), String::new());
    node.show(|snapshot| {
        let mut cursor = snapshot.log.cursor_at_last(1);
        let (_, mut last) = snapshot.log.next_line(&mut cursor).unwrap();
        last.text = "a \"quote\" \\ and é".try_into().unwrap();
        mqtt::write_line(HEADER, 3, &last, &mut line).unwrap();
        mqtt::write_birth(1, snapshot, &mut birth).unwrap();
    });
    let line = parse(&line);
    assert_eq!((&line["text"], &line["missed"]), (&"a \"quote\" \\ and é".into(), &3.into()));
    let birth = parse(&birth);
    assert_eq!(
        (&birth["boot"], &birth["boots"], &birth["last_reset"]),
        (&"000001".into(), &3.into(), &"watchdog".into())
    );
}

#[test]
fn a_crash_comes_with_its_whole_report() {
    let mut text = String::new();
    Node::at_work(3).show(|s| mqtt::write_crash(HEADER, 5, &s.past.crashes[0], &mut text)).unwrap();
    let crash = parse(&text);
    assert_eq!((&crash["seq"], &crash["kind"], &crash["core"]), (&7.into(), &"panic".into(), &2.into()));
    assert_eq!((&crash["crashed_boot"], &crash["uptime_us"]), (&2.into(), &8_500_000.into()));
    assert_eq!(crash["message"], "asked for, \"provoke.rs\":9");
    let report = crash["report"].as_str().unwrap();
    assert!(report.contains("provoke.rs") && report.contains("81234"), "{report}");
}

#[test]
fn only_what_has_changed_is_an_event() {
    let node = Node::at_work(3);
    let mut changes = Changes::default();
    let mut look = || {
        let mut events = Vec::new();
        node.show(|snapshot| changes.look(snapshot, |event| events.push((event.name, event.value.to_string()))));
        events
    };
    let first = look();
    for name in ["link", "address", "power"] {
        assert_eq!(first.iter().filter(|(event, _)| *event == name).count(), 1, "{first:?}");
    }
    assert!(first.contains(&("link", "up".to_owned())), "{first:?}");
    assert_eq!(look(), [], "nothing has happened since");
}
