//! Random commands against a model of maps and deques, with too little memory, in random pieces, while time goes by.

use std::collections::{HashMap, VecDeque};

use super::{Client, Random, request, server};

#[derive(Clone)]
enum Held {
    String(Vec<u8>),
    List(VecDeque<Vec<u8>>),
}

#[derive(Clone)]
struct Item {
    held: Held,
    end: Option<u64>,
}

#[derive(Default)]
struct Model {
    items: HashMap<Vec<u8>, Item>,
    now: u64,
}

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
const NO_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn integer(number: i64) -> Vec<u8> {
    format!(":{number}\r\n").into_bytes()
}

impl Model {
    fn item(&mut self, key: &[u8]) -> Option<&mut Item> {
        let now = self.now;
        if self.items.get(key).is_some_and(|item| item.end.is_some_and(|end| end <= now)) {
            self.items.remove(key);
        }
        self.items.get_mut(key)
    }

    fn put(&mut self, key: &[u8], held: Held, end: Option<u64>) {
        self.items.insert(key.to_vec(), Item { held, end });
    }

    /// Returns what the command is answered with, and does it.
    fn run(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        let key = words[1].clone();
        let number = |index: usize| String::from_utf8(words[index].clone()).unwrap().parse::<i64>().unwrap();
        let now = self.now;
        match words[0].as_slice() {
            b"SET" => {
                let end = words.get(4).map(|_| now + number(4) as u64);
                self.put(&key, Held::String(words[2].clone()), end);
                b"+OK\r\n".to_vec()
            }
            b"GET" => match self.item(&key) {
                None => b"$-1\r\n".to_vec(),
                Some(Item { held: Held::String(value), .. }) => bulk(value),
                Some(_) => WRONG.into(),
            },
            b"APPEND" => match self.item(&key) {
                None => {
                    self.put(&key, Held::String(words[2].clone()), None);
                    integer(words[2].len() as i64)
                }
                Some(Item { held: Held::String(value), .. }) => {
                    value.extend_from_slice(&words[2]);
                    integer(value.len() as i64)
                }
                Some(_) => WRONG.into(),
            },
            b"INCRBY" => match self.item(&key) {
                None => {
                    self.put(&key, Held::String(words[2].clone()), None);
                    integer(number(2))
                }
                Some(Item { held: Held::String(value), .. }) => {
                    match std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok().filter(|n| n.to_string() == text)) {
                        Some(old) => {
                            let sum = old + number(2);
                            *value = sum.to_string().into_bytes();
                            integer(sum)
                        }
                        None => NO_INTEGER.into(),
                    }
                }
                Some(_) => WRONG.into(),
            },
            b"DEL" => {
                let was = self.item(&key).is_some();
                self.items.remove(&key);
                integer(i64::from(was))
            }
            b"PEXPIRE" => match self.item(&key) {
                None => integer(0),
                Some(item) => {
                    item.end = Some(now + number(2) as u64);
                    integer(1)
                }
            },
            b"PTTL" => match self.item(&key) {
                None => integer(-2),
                Some(Item { end: None, .. }) => integer(-1),
                Some(Item { end: Some(end), .. }) => integer((*end - now) as i64),
            },
            push @ (b"LPUSH" | b"RPUSH") => {
                let mut list = match self.item(&key) {
                    None => Item { held: Held::List(VecDeque::new()), end: None },
                    Some(item) => item.clone(),
                };
                let Held::List(elements) = &mut list.held else { return WRONG.into() };
                for word in &words[2..] {
                    if push == b"LPUSH" {
                        elements.push_front(word.clone());
                    } else {
                        elements.push_back(word.clone());
                    }
                }
                let len = elements.len();
                self.items.insert(key, list);
                integer(len as i64)
            }
            pop @ (b"LPOP" | b"RPOP") => {
                let Some(item) = self.item(&key) else { return b"$-1\r\n".to_vec() };
                let Held::List(elements) = &mut item.held else { return WRONG.into() };
                let element = if pop == b"LPOP" { elements.pop_front() } else { elements.pop_back() };
                if elements.is_empty() {
                    self.items.remove(&key);
                }
                bulk(&element.unwrap())
            }
            b"LRANGE" => {
                let Some(item) = self.item(&key) else { return b"*0\r\n".to_vec() };
                let Held::List(elements) = &item.held else { return WRONG.into() };
                let len = elements.len() as i64;
                let at = |index: i64| if index < 0 { (len + index).max(0) } else { index };
                let (start, stop) = (at(number(2)), if number(3) < -len { -1 } else { at(number(3)) });
                let range: Vec<_> = (start..=stop.min(len - 1)).map(|i| bulk(&elements[i as usize])).collect();
                [format!("*{}\r\n", range.len()).into_bytes(), range.concat()].concat()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn random_value(random: &mut Random) -> Vec<u8> {
    let len = match random.below(20) {
        0 => random.below(30_000),
        1..5 => random.below(500),
        5..8 => return random.below(1000).to_string().into_bytes(),
        _ => random.below(30),
    };
    (0..len).map(|_| random.below(256) as u8).collect()
}

fn random_command(random: &mut Random) -> Vec<Vec<u8>> {
    let mut key = format!("key:{}", random.below(400)).into_bytes();
    // Keys that fill one cell, two, and more.
    key.resize(key.len() + [0, 0, 0, 14, 20, 30, 100, 700][usize::from(key[key.len() - 1] % 8)], b'.');
    let text = |number: usize| number.to_string().into_bytes();
    let mut words = match random.below(16) {
        0..3 => vec![b"SET".to_vec(), key, random_value(random)],
        3 => vec![b"SET".to_vec(), key, random_value(random), b"PX".to_vec(), text(1 + random.below(500))],
        4 => vec![b"GET".to_vec(), key],
        5 => vec![b"APPEND".to_vec(), key, random_value(random)],
        6 => vec![b"INCRBY".to_vec(), key, format!("{}", random.below(2000) as i64 - 1000).into_bytes()],
        7 | 8 => vec![b"DEL".to_vec(), key],
        9 => vec![b"PEXPIRE".to_vec(), key, text(1 + random.below(500))],
        10 => vec![b"PTTL".to_vec(), key],
        11 => vec![b"LPUSH".to_vec(), key, random_value(random)],
        12 => vec![b"RPUSH".to_vec(), key, random_value(random), random_value(random)],
        13 => vec![b"LPOP".to_vec(), key],
        14 => vec![b"RPOP".to_vec(), key],
        _ => {
            let index = |random: &mut Random| format!("{}", random.below(12) as i64 - 6).into_bytes();
            vec![b"LRANGE".to_vec(), key, index(random), index(random)]
        }
    };
    if random.below(2) == 0 {
        words[0].make_ascii_lowercase();
        words[0].make_ascii_uppercase();
    }
    words
}

#[test]
fn random_commands_are_answered_as_a_model_answers_them() {
    let mut refused = 0;
    for seed in 1..=12 {
        // Little enough to be full now and then: 256 KiB to 1 MiB.
        let mut server = server(1 + seed % 4);
        let mut random = Random(seed as u64 * 7919);
        let mut model = Model::default();
        let mut client = Client::new();
        server.store.set_now(1);
        model.now = 1;
        for number in 0..6_000 {
            let words = random_command(&mut random);
            let slices: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let bytes = request(&slices);
            let step = if random.below(3) == 0 { bytes.len() } else { 1 + random.below(bytes.len().min(3000)) };
            let reply = client.send_in(&mut server, &bytes, step);
            if reply.starts_with(b"-OOM") {
                // Nothing has changed then.
                refused += 1;
            } else {
                let expected = model.run(&words);
                assert!(
                    reply == expected,
                    "seed {seed}, command {number}, {:?} of {} bytes: {:?}, not {:?}",
                    String::from_utf8_lossy(&words[0]),
                    bytes.len(),
                    String::from_utf8_lossy(&reply[..reply.len().min(60)]),
                    String::from_utf8_lossy(&expected[..expected.len().min(60)]),
                );
            }
            if random.below(20) == 0 {
                model.now += random.below(100) as u64;
                server.store.set_now(model.now);
                server.store.sweep(random.below(64));
            }
        }
        // Every key is where the model has it, and nothing else is; then every cell comes back.
        let now = model.now;
        model.items.retain(|_, item| item.end.is_none_or(|end| end > now));
        for _ in 0..200 {
            server.store.sweep(1024);
        }
        assert_eq!(server.store.len(), model.items.len());
        assert_eq!(server.store.expiring(), model.items.values().filter(|item| item.end.is_some()).count());
        assert_eq!(client.say(&mut server, "FLUSHALL"), "+OK");
        for _ in 0..200 {
            server.store.sweep(1024);
        }
        assert_eq!((server.store.cells.used(), server.store.len(), server.store.expiring()), (0, 0, 0));
    }
    assert!(refused > 100, "the memory was never short: {refused} refusals");
}

#[test]
fn pipelines_in_any_pieces_give_the_same_replies() {
    let mut random = Random(99);
    let requests: Vec<u8> = (0..400)
        .flat_map(|_| {
            let words = random_command(&mut random);
            request(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())
        })
        .collect();
    let mut whole = server(16);
    whole.store.set_now(1);
    let expected = Client::new().send(&mut whole, &requests);
    for step in [1, 2, 3, 7, 100, 1023, 1024, 1025, 4096, 20_000] {
        let mut server = server(16);
        server.store.set_now(1);
        let replies = Client::new().send_in(&mut server, &requests, step);
        assert!(replies == expected, "pieces of {step} bytes: {} bytes, not {}", replies.len(), expected.len());
        assert_eq!(server.store.cells.used(), whole.store.cells.used());
    }
}
