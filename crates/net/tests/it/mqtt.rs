//! Publishing at an MQTT 5 broker made for the test, which goes away, forgets, refuses and stays silent.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use net::mqtt::outbox::Outbox;
use net::mqtt::{MQTT_PORT, Publisher, Queue, Settings, Trouble};
use net::{Event, Stack, TcpSocket};

use crate::lab::{self, Lab, Node, fixed, settings, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const BROKER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), MQTT_PORT);

/// A queue that a test writes to.
#[derive(Clone)]
struct Messages(Rc<RefCell<Outbox>>);

impl Messages {
    fn new() -> Self {
        Self(Rc::new(RefCell::new(Outbox::new(256, 64 * 1024))))
    }

    fn push(&self) {
        let number = self.0.borrow().next_number();
        self.0.borrow_mut().push("sample", format!("message {number}").as_bytes());
    }
}

impl Queue for Messages {
    fn read(&mut self, number: u64, payload: &mut Vec<u8>) -> Option<(u64, &'static str)> {
        self.0.borrow().read(number, payload)
    }

    fn acknowledge(&mut self, number: u64) {
        self.0.borrow_mut().acknowledge(number);
    }

    async fn wait(&mut self) {
        let before = self.0.borrow().next_number();
        while self.0.borrow().next_number() == before {
            Timer::after_millis(10).await;
        }
    }

    fn greet(&mut self, number: usize, payload: &mut Vec<u8>) -> Option<&'static str> {
        payload.clear();
        payload.extend_from_slice(b"{}");
        (number == 0).then_some("birth")
    }
}

/// What a broker received.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Published {
    topic: String,
    payload: String,
    is_duplicate: bool,
    is_kept: bool,
}

/// How a broker behaves on one connection.
#[derive(Clone, Copy)]
struct Conduct {
    /// Whether it still knows the session of before.
    knows_session: bool,
    /// The answer to the greeting (MQTT 5, section 3.2.2.2).
    answer: u8,
    /// How many messages it takes in before it goes, and how many of them it acknowledges.
    takes: usize,
    acknowledges: usize,
    /// The answer to messages (section 3.4.2.1).
    reason: u8,
}

const FRIENDLY: Conduct =
    Conduct { knows_session: true, answer: 0, takes: usize::MAX, acknowledges: usize::MAX, reason: 0 };

/// Reads one packet: its first byte and its body.
async fn packet(socket: &mut TcpSocket) -> Option<(u8, Vec<u8>)> {
    let mut first = [0];
    socket.read_exact(&mut first).await.ok()?;
    // Section 1.5.5: seven bits a byte, the lowest first.
    let (mut len, mut shift) = (0usize, 0);
    loop {
        let mut byte = [0];
        socket.read_exact(&mut byte).await.ok()?;
        len |= usize::from(byte[0] & 0x7F) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; len];
    socket.read_exact(&mut body).await.ok()?;
    Some((first[0], body))
}

/// Returns the text at `at` with its length in front of it, and moves on.
fn text(body: &[u8], at: &mut usize) -> String {
    let len = usize::from(u16::from_be_bytes([body[*at], body[*at + 1]]));
    *at += 2 + len;
    String::from_utf8(body[*at - len..*at].to_vec()).unwrap()
}

/// Serves one connection, and returns what was published on it in order; the greeting's own messages too.
async fn serve(stack: &'static Stack, conduct: Conduct) -> Vec<Published> {
    let mut socket = TcpSocket::new(stack, 4096, 4096);
    with_timeout(SECOND * 60, socket.accept(MQTT_PORT)).await.expect("the node comes back").unwrap();
    let (kind, body) = packet(&mut socket).await.unwrap();
    assert_eq!(kind, 0x10, "CONNECT");
    let mut at = 0;
    assert_eq!(text(&body, &mut at), "MQTT");
    // Version 5; flags: will, of quality 1, to be kept (section 3.1.2.3).
    assert_eq!(body[at], 5);
    assert_eq!(body[at + 1] & 0b0011_1100, 0b0010_1100, "{:#b}", body[at + 1]);
    at += 4;
    at += 1 + usize::from(body[at]);
    assert_eq!(text(&body, &mut at), "pi-7");
    at += 1 + usize::from(body[at]);
    assert_eq!((text(&body, &mut at), text(&body, &mut at)), ("rack/pi-7/status".into(), "offline".into()));
    let is_known = conduct.knows_session && conduct.answer == 0;
    socket.write_all(&[0x20, 3, u8::from(is_known), conduct.answer, 0]).await.unwrap();
    let mut published = Vec::new();
    while conduct.answer == 0 && published.len() < conduct.takes {
        let Some((kind, body)) = packet(&mut socket).await else { break };
        match kind >> 4 {
            3 => {
                assert_eq!(kind & 0b0110, 0b0010, "quality of service 1");
                let mut at = 0;
                let topic = text(&body, &mut at);
                let id = [body[at], body[at + 1]];
                at += 2;
                at += 1 + usize::from(body[at]);
                let payload = String::from_utf8(body[at..].to_vec()).unwrap();
                published.push(Published { topic, payload, is_duplicate: kind & 8 != 0, is_kept: kind & 1 != 0 });
                if published.len() <= conduct.acknowledges {
                    socket.write_all(&[0x40, 3, id[0], id[1], conduct.reason]).await.unwrap();
                }
            }
            12 => socket.write_all(&[0xD0, 0]).await.unwrap(),
            other => panic!("packet type {other}"),
        }
    }
    // So that what was written arrives before the reset.
    Timer::after_millis(50).await;
    socket.abort();
    published
}

/// Starts a node that publishes, and notes its troubles.
fn publish(lab: &Lab, messages: &Messages) -> (Node, Node, Rc<RefCell<Vec<Trouble>>>) {
    let (broker, node) = (lab.node(1, settings(fixed(1))), lab.node(2, settings(fixed(2))));
    let settings = Settings { client: "pi-7".into(), user: None, root: "rack/pi-7".into() };
    let troubles = Rc::new(RefCell::new(Vec::new()));
    let (mut queue, stack, noted) = (messages.clone(), node.stack, troubles.clone());
    lab.tasks.spawn(async move {
        let mut publisher = Publisher::new(stack, settings).unwrap();
        loop {
            let trouble = match publisher.connect(BROKER).await {
                Ok(connection) => connection.publish(&mut queue).await,
                Err(trouble) => trouble,
            };
            noted.borrow_mut().push(trouble);
            publisher.wait().await;
        }
    });
    (broker, node, troubles)
}

/// Numbers of the queue's messages in the order in which they came.
fn numbers(published: &[Published]) -> Vec<u64> {
    let of_queue = published.iter().filter(|message| message.topic == "rack/pi-7/sample");
    of_queue.map(|message| message.payload.strip_prefix("message ").unwrap().parse().unwrap()).collect()
}

#[test]
fn a_connection_begins_with_what_the_broker_keeps() {
    lab::run(|lab| async move {
        let messages = Messages::new();
        let (broker, node, _) = publish(&lab, &messages);
        messages.push();
        let published = serve(broker.stack, Conduct { takes: 3, ..FRIENDLY }).await;
        let shown: Vec<_> = published.iter().map(|m| (m.topic.as_str(), m.payload.as_str(), m.is_kept)).collect();
        let kept = [("rack/pi-7/status", "online", true), ("rack/pi-7/birth", "{}", true)];
        assert_eq!(shown, [kept[0], kept[1], ("rack/pi-7/sample", "message 1", false)]);
        assert!(published.iter().all(|message| !message.is_duplicate));
        assert_eq!(node.stack.counters().get(Event::MqttConnected), 1);
        wait_until(SECOND, "the acknowledgement", || messages.0.borrow().is_empty()).await;
    });
}

#[test]
fn no_message_is_lost_and_the_order_is_kept_when_the_broker_comes_and_goes() {
    lab::run(|lab| async move {
        let messages = Messages::new();
        let (broker, _, _) = publish(&lab, &messages);
        let writer = messages.clone();
        lab.tasks.spawn(async move {
            loop {
                writer.push();
                Timer::after_millis(300).await;
            }
        });
        let mut seen: Vec<u64> = Vec::new();
        let (mut duplicates, mut twice) = (0, 0);
        for round in 0..40 {
            let takes = 4 + round % 7;
            // It acknowledges fewer than it takes, or all; every second has forgotten the session.
            let acknowledges = takes - round % 5;
            let conduct = Conduct { takes, acknowledges, knows_session: round % 2 == 0, ..FRIENDLY };
            let published = serve(broker.stack, conduct).await;
            duplicates += published.iter().filter(|message| message.is_duplicate).count();
            let came = numbers(&published);
            assert!(came.is_sorted(), "round {round}: {came:?}");
            for number in came {
                let newest = seen.last().copied().unwrap_or(0);
                assert!(number <= newest + 1, "round {round}: {number} after {newest}");
                if number > newest { seen.push(number) } else { twice += 1 }
            }
            Timer::after_millis(700 * (round as u64 % 4)).await;
        }
        assert_eq!(messages.0.borrow().lost(), 0);
        assert!(seen.len() > 50 && duplicates > 5 && twice > 10, "{} {duplicates} {twice}", seen.len());
    });
}

#[test]
fn a_broker_that_stays_silent_is_given_up() {
    lab::run(|lab| async move {
        let messages = Messages::new();
        let (broker, _, troubles) = publish(&lab, &messages);
        let mut silent = TcpSocket::new(broker.stack, 4096, 4096);
        silent.accept(MQTT_PORT).await.unwrap();
        wait_until(SECOND * 60, "the node to give up", || troubles.borrow().contains(&Trouble::Timeout)).await;
        silent.abort();
        // One that greets, then reads nothing and answers nothing: the keep-alive finds out.
        silent.accept(MQTT_PORT).await.unwrap();
        packet(&mut silent).await.unwrap();
        silent.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        for _ in 0..200 {
            messages.push();
        }
        wait_until(SECOND * 120, "the node to give up again", || troubles.borrow().contains(&Trouble::Ended)).await;
        silent.abort();
        messages.push();
        let all = serve(broker.stack, Conduct { takes: 203, knows_session: false, ..FRIENDLY }).await;
        assert_eq!(numbers(&all), (1..=201).collect::<Vec<_>>());
    });
}

#[test]
fn a_refusal_is_told_by_its_reason_and_asked_again_at_growing_intervals() {
    lab::run(|lab| async move {
        let messages = Messages::new();
        let (broker, node, troubles) = publish(&lab, &messages);
        // Bad user name or password.
        let refusals = Rc::new(Cell::new(0));
        let count = refusals.clone();
        lab.tasks.spawn(async move {
            loop {
                serve(broker.stack, Conduct { answer: 0x86, ..FRIENDLY }).await;
                count.set(count.get() + 1);
            }
        });
        Timer::after(SECOND * 200).await;
        assert!(troubles.borrow().contains(&Trouble::Refused(0x86)), "{:?}", troubles.borrow());
        assert!((8..25).contains(&refusals.get()), "{} attempts", refusals.get());
        assert_eq!(node.stack.counters().get(Event::MqttConnected), 0);
    });
}

#[test]
fn a_message_that_is_refused_is_counted_and_does_not_stand_in_the_way() {
    lab::run(|lab| async move {
        let messages = Messages::new();
        let (broker, node, _) = publish(&lab, &messages);
        (0..5).for_each(|_| messages.push());
        // Not authorized.
        let published = serve(broker.stack, Conduct { takes: 7, reason: 0x87, ..FRIENDLY }).await;
        assert_eq!(numbers(&published), [1, 2, 3, 4, 5]);
        wait_until(SECOND, "all refused", || messages.0.borrow().is_empty()).await;
        assert_eq!(node.stack.counters().get(Event::MqttRefused), 7);
        assert_eq!(numbers(&serve(broker.stack, Conduct { takes: 2, ..FRIENDLY }).await), [0; 0]);
    });
}
