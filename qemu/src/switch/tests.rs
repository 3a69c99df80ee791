//! Ports, what reaches them, and what becomes of slow and mad ones.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// Something with an Ethernet address at a port.
struct Station {
    link: Link,
    port: PortId,
    mac: [u8; 6],
}

impl Station {
    fn new(switch: &Switch, number: u8) -> Self {
        let (port, link) = switch.connect().unwrap();
        link.0.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { link, port, mac: [2, 0, 0, 0, 0, number] }
    }

    fn send(&mut self, to: [u8; 6], text: &str) {
        self.link.send(&[&to[..], &self.mac, &[0x88, 0xb5], text.as_bytes()].concat()).unwrap();
    }

    /// Returns the text of the next frame.
    fn text(&mut self) -> String {
        String::from_utf8(self.link.receive().unwrap()[14..].to_vec()).unwrap()
    }
}

fn switch() -> (tempfile::TempDir, Switch) {
    let dir = tempfile::tempdir().unwrap();
    let switch = Switch::listen(&dir.path().join("s")).unwrap();
    (dir, switch)
}

const ALL: [u8; 6] = [0xff; 6];

#[test]
fn frames_reach_whom_they_are_for_and_nobody_else() {
    let (_dir, switch) = switch();
    let [mut a, mut b, mut c] = [1, 2, 3].map(|number| Station::new(&switch, number));
    a.send(ALL, "who is there?");
    assert_eq!((b.text(), c.text()), ("who is there?".into(), "who is there?".into()));
    b.send(a.mac, "b");
    assert_eq!(a.text(), "b");
    assert_eq!(switch.port_of(b.mac), Some(b.port));
    a.send(b.mac, "only b");
    a.send(ALL, "all again");
    assert_eq!((b.text(), b.text()), ("only b".into(), "all again".into()));
    assert_eq!(c.text(), "all again", "what was for b only came to c");
    let counts = switch.counts();
    assert_eq!((counts[&a.port].rx_frames, counts[&a.port].tx_frames), (3, 1));
    assert_eq!(counts[&c.port].rx_frames, 0);
}

#[test]
fn a_port_that_does_not_read_holds_up_nobody() {
    let (_dir, switch) = switch();
    let [mut a, mut b, lazy] = [1, 2, 3].map(|number| Station::new(&switch, number));
    let text = "x".repeat(1400);
    for _ in 0..3 * QUEUE {
        a.send(ALL, &text);
        assert_eq!(b.text().len(), 1400);
    }
    let counts = switch.counts()[&lazy.port].clone();
    assert!(counts.dropped > 0 && counts.tx_frames + counts.dropped <= 3 * QUEUE as u64, "{counts:?}");
    assert_eq!(switch.counts()[&b.port].dropped, 0);
}

#[test]
fn a_port_comes_and_goes_and_its_address_with_it() {
    let (_dir, switch) = switch();
    let mut a = Station::new(&switch, 1);
    let outside = UnixStream::connect(switch.path()).unwrap();
    outside.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut b = Station { link: Link(outside), port: PortId(u64::MAX), mac: [2, 0, 0, 0, 0, 9] };
    b.send(ALL, "from outside");
    assert_eq!(a.text(), "from outside");
    drop(b.link);
    let deadline = Instant::now() + PATIENCE;
    while switch.port_of(b.mac).is_some() || switch.counts().len() > 1 {
        assert!(Instant::now() < deadline, "the port is still there");
        thread::sleep(Duration::from_millis(1));
    }
    // A frame that claims to be longer than any is the end of a port, not of the switch.
    let mut mad = UnixStream::connect(switch.path()).unwrap();
    mad.set_read_timeout(Some(PATIENCE)).unwrap();
    mad.write_all(&[0xff; 4]).unwrap();
    assert_eq!(mad.read(&mut [0; 1]).unwrap(), 0);
    drop(switch);
    assert!(a.link.receive().is_err(), "the switch is gone");
}

#[test]
fn a_filter_keeps_out_what_it_does_not_like_and_runts_go_nowhere() {
    let (_dir, switch) = switch();
    let [mut a, mut b] = [1, 2].map(|number| Station::new(&switch, number));
    switch.filter(a.port, |frame| !frame.ends_with(b"bad"));
    a.link.send(&[1; 13]).unwrap();
    a.send(ALL, "bad");
    a.send(ALL, "good");
    assert_eq!(b.text(), "good");
    assert_eq!(switch.counts()[&a.port].refused, 2);
}

#[test]
fn a_capture_has_each_frame_once_and_that_of_a_port_only_the_port_s() {
    let (dir, switch) = switch();
    let [of_all, of_b, plug] = ["all.pcap", "b.pcap", "plug"].map(|name| dir.path().join(name));
    switch.record(Some(Capture::create(&of_all).unwrap()));
    switch.plug(&plug, Capture::create(&of_b).unwrap()).unwrap();
    let stream = UnixStream::connect(&plug).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut b = Station { link: Link(stream), port: PortId(u64::MAX), mac: [2, 0, 0, 0, 0, 2] };
    let [mut a, mut c] = [1, 3].map(|number| Station::new(&switch, number));
    // Then b's port is there.
    b.send(ALL, "b's first");
    assert_eq!((a.text(), c.text()), ("b's first".into(), "b's first".into()));
    a.send(ALL, "to all");
    assert_eq!((b.text(), c.text()), ("to all".into(), "to all".into()));
    c.send(a.mac, "not b's");
    assert_eq!(a.text(), "not b's");
    b.send(a.mac, "b's own");
    assert_eq!(a.text(), "b's own");
    // A header, and 16 bytes before each frame.
    let len = |texts: &[&str]| 24 + texts.iter().map(|text| 16 + 14 + text.len()).sum::<usize>();
    let (all, of_b) = (fs::read(of_all).unwrap(), fs::read(of_b).unwrap());
    assert_eq!(all.len(), len(&["b's first", "to all", "not b's", "b's own"]));
    assert_eq!(of_b.len(), len(&["b's first", "to all", "b's own"]));
    assert!(of_b.ends_with(b"b's own"));
}
