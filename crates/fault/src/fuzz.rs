//! Any bytes as words of a fault, and as frames that pass it: for the fuzz target in `fuzz/`.

use crate::{Direction, Fate, Plane, Spec};

/// Reads what stands in front of the first zero byte as a fault, and sends what stands behind it through it, as frames with
/// zero bytes between.
pub fn run(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0);
    let Ok(text) = core::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let mut plane = Plane::new();
    match Spec::parse(&mut text.split_ascii_whitespace()) {
        Ok(spec) => {
            assert!(spec.text().len() <= crate::spec::TEXT_MAX);
            // What is shown can be typed again.
            assert!(Spec::parse(&mut spec.text().split_ascii_whitespace()).is_ok(), "{text:?}");
            assert!(plane.add(spec, 0).is_ok());
        }
        Err(error) => {
            let mut len = Count(0);
            let _ = core::fmt::write(&mut len, format_args!("{error}"));
            assert!(len.0 < text.len() + 1_000);
            return;
        }
    }
    let (mut now_us, mut passed, mut came) = (0, 0, 0);
    for (number, frame) in parts.enumerate() {
        let direction = if number % 2 == 0 { Direction::In } else { Direction::Out };
        passed += usize::from(plane.decide(direction, frame, now_us) == Fate::Pass);
        came += 1;
        now_us += 100;
    }
    // Nothing is held for ever, and nothing comes from nowhere.
    now_us += 4 * 3_600_000_000 * 24;
    while plane.next_event(now_us).is_some() {}
    for direction in [Direction::In, Direction::Out] {
        while let Some(frame) = plane.take_due(direction, now_us) {
            passed += 1;
            plane.give_back(frame);
        }
    }
    let totals = plane.totals();
    let lost = (totals.dropped + totals.overflowed) as usize;
    assert_eq!(passed + lost, came + totals.duplicated as usize);
    assert!(!plane.is_busy(now_us) && plane.views(now_us).next().is_none());
}

struct Count(usize);

impl core::fmt::Write for Count {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_a_few_faults() {
        for kind in crate::KINDS {
            super::run(format!("{} \0frame\0\0another frame that is longer\0x", kind.example).as_bytes());
        }
        super::run(b"drop share=\xff");
        super::run("drop share=\u{e9}".as_bytes());
        super::run(b"");
    }

    #[test]
    fn it_holds_for_faults_and_frames_with_random_mistakes() {
        let mut random = chance::Random::new(1);
        for round in 0..20_000 {
            let kind = &crate::KINDS[random.below(crate::KINDS.len() as u64) as usize];
            let mut data = format!("{} dir=in\0", kind.example).into_bytes();
            for _ in 0..random.below(4) {
                data.extend(b"abcdefghijkl\x08\x08E\x01\x01\x1c\x01\x01\x01\x01@\x11\x01\x01aaaabbbb\x11\x11\x22\x22\x01\x08ccdata\0");
            }
            for _ in 0..round % 4 {
                let at = random.below(data.len() as u64) as usize;
                match random.below(3) {
                    0 => data[at] = random.bits() as u8,
                    1 => drop(data.remove(at)),
                    _ => data.insert(at, random.bits() as u8),
                }
            }
            super::run(&data);
        }
    }
}
