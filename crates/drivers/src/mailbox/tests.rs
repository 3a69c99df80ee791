//! Tests of the mailbox against a model of the firmware.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;

use boards::Revision;
use hal::dma::DmaPool;
use testkit::dma::FakeDma;
use testkit::mmio::{Block, Model, claim};
use testkit::time;

use super::*;

/// How the firmware answers the property with some tag: the value and the length it claims to have; nothing for a property
/// that it does not know.
pub(crate) type Answers = fn(tag: u32, value: &[u8]) -> Option<(Vec<u8>, u32)>;

/// The firmware, on the other side of the mailbox.
pub(crate) struct Firmware {
    dma: &'static FakeDma,
    answers: Answers,
    /// How many looks at the status an answer takes; nothing: it never comes.
    delay: Option<u32>,
    /// What it answers for the whole message.
    code: u32,
    waiting: Option<(u32, u32)>,
    inbox: VecDeque<u32>,
    is_full: bool,
    messages: u32,
    /// What the lines of the expander were set to, in order.
    pub(crate) gpios: Vec<(u32, u32)>,
}

impl Block for Firmware {
    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x00 => self.inbox.pop_front().unwrap_or_else(|| panic!("read from an empty mailbox")),
            0x18 => {
                match self.waiting.take() {
                    Some((message, 0)) => self.answer(message),
                    Some((message, looks)) => self.waiting = Some((message, looks - 1)),
                    None => {}
                }
                u32::from(self.inbox.is_empty()) << 30
            }
            0x38 => u32::from(self.is_full) << 31,
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        assert_eq!(offset, 0x20);
        assert!(self.waiting.is_none(), "the buffer was sent while the firmware had it");
        self.messages += 1;
        self.waiting = self.delay.map(|delay| (value, delay));
    }
}

impl Firmware {
    fn answer(&mut self, message: u32) {
        assert_eq!(message & 0xf, 8, "the property channel");
        let addr = BusAddr(u64::from(message & !0xf));
        let word =
            |at: usize| u32::from_le_bytes(self.dma.device_read(BusAddr(addr.0 + at as u64), 4).try_into().unwrap());
        let (len, tag, value_len) = (word(0) as usize, word(8), word(12) as usize);
        assert_eq!((word(4), word(16) & 1 << 31), (0, 0), "a request");
        assert_eq!((len, len % 4, word(len - 4)), (value_len + 24, 0, 0), "one property and an end tag");
        let write = |at: usize, bytes: &[u8]| self.dma.device_write(BusAddr(addr.0 + at as u64), bytes);
        let value = self.dma.device_read(BusAddr(addr.0 + 20), value_len);
        if tag == SetGpio::TAG {
            self.gpios.push((word(20), word(24)));
        }
        let (answer, answer_len) = (self.answers)(tag, &value).unwrap_or_default();
        assert!(answer.len() <= value_len);
        write(20, &answer);
        // As QEMU does it: also what it does not know is answered.
        write(16, &(1 << 31 | answer_len).to_le_bytes());
        write(4, &self.code.to_le_bytes());
        self.inbox.push_back(message);
    }
}

/// A Pi 3B as QEMU has it, with a serial number.
pub(crate) fn pi_3b(tag: u32, value: &[u8]) -> Option<(Vec<u8>, u32)> {
    let words = |words: &[u32]| -> (Vec<u8>, u32) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let len = bytes.len() as u32;
        (bytes, len)
    };
    let asked = value.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
    Some(match tag {
        0x1 => words(&[QEMU_FIRMWARE]),
        0x1_0001 => words(&[0]),
        0x1_0002 => words(&[0xa0_2082]),
        0x1_0003 => (vec![0xb8, 0x27, 0xeb, 1, 2, 3], 6),
        0x1_0004 => words(&[0x1234_5678, 0x9abc]),
        0x1_0005 => words(&[0, 0x3c00_0000]),
        0x1_0006 => words(&[0x3c00_0000, 0x0400_0000]),
        0x2_8001 => words(&[asked, u32::from(value[4] & 1)]),
        0x3_0002 | 0x3_0004 => words(&[asked, if asked == 2 { 48_000_000 } else { 700_000_000 }]),
        // Only what the clock can do; with turbo.
        0x3_8002 if value[8..] == [0; 4] => words(&[asked, 600_000_000]),
        0x3_0006 => words(&[0, 25_000]),
        0x3_000a => words(&[0, 85_000]),
        0x3_0046 => words(&[0x5_0004 & !(asked << 16)]),
        // The line is 0 in the answer: done. The Pi 3B has eight.
        0x3_8041 => words(&[if (128..136).contains(&asked) { 0 } else { asked }, 0]),
        0x5_0001 => (b"ip=dhcp name=n1\0".to_vec(), 16),
        _ => return None,
    })
}

pub(crate) fn mailbox(answers: Answers) -> (Mailbox<'static>, Model<Firmware>) {
    let (dma, mut pool): (_, DmaPool) = FakeDma::new(2 * BUFFER_LEN);
    let (delay, code) = (Some(3), CODE_SUCCESS);
    let firmware = Firmware {
        dma,
        answers,
        delay,
        code,
        waiting: None,
        inbox: VecDeque::new(),
        is_full: false,
        messages: 0,
        gpios: vec![],
    };
    let (registers, model) = claim(firmware);
    (Mailbox::new(registers, pool.take(BUFFER_LEN).unwrap()), model)
}

#[test]
fn every_property_is_read() {
    time::run(async {
        let (mut mailbox, _) = mailbox(pi_3b);
        assert_eq!(mailbox.get(&FirmwareRevision), Ok(QEMU_FIRMWARE));
        assert_eq!(mailbox.get(&BoardModel), Ok(0));
        assert_eq!(mailbox.get(&BoardRevision), Ok(Revision(0xa0_2082)));
        assert_eq!(mailbox.get(&BoardMac), Ok([0xb8, 0x27, 0xeb, 1, 2, 3]));
        assert_eq!(mailbox.get(&BoardSerial), Ok(0x9abc_1234_5678));
        assert_eq!(mailbox.get(&ArmMemory), Ok(Memory { base: 0, len: 0x3c00_0000 }));
        assert_eq!(mailbox.get(&VideoCoreMemory), Ok(Memory { base: 0x3c00_0000, len: 0x0400_0000 }));
        assert_eq!(mailbox.get(&SetPower { device: Device::UsbHcd, is_on: true }), Ok(true));
        assert_eq!(mailbox.get(&ClockRate(Clock::Uart)), Ok(48_000_000));
        assert_eq!(mailbox.get(&MaxClockRate(Clock::Arm)), Ok(700_000_000));
        assert_eq!(mailbox.get(&SetClockRate { clock: Clock::Arm, hz: 700_000_000 }), Ok(600_000_000));
        assert_eq!(mailbox.get(&Temperature), Ok(25_000));
        assert_eq!(mailbox.get(&MaxTemperature), Ok(85_000));
        assert_eq!(mailbox.get(&GetThrottled { forget: false }), Ok(Throttled(0x5_0004)));
        assert_eq!(
            mailbox.get(&GetThrottled { forget: true }),
            Ok(Throttled(0x4)),
            "of a firmware that forgets at once"
        );
        assert_eq!(mailbox.get(&CommandLine).as_deref(), Ok(&b"ip=dhcp name=n1"[..]));
    });
}

#[test]
fn a_line_that_the_firmware_could_not_set_is_an_error() {
    time::run(async {
        let (mut mailbox, model) = mailbox(pi_3b);
        assert_eq!(mailbox.get(&SetGpio { gpio: 130, is_high: true }), Ok(()));
        assert_eq!(mailbox.get(&SetGpio { gpio: 131, is_high: false }), Ok(()));
        assert_eq!(model.lock().gpios, [(130, 1), (131, 0)]);
        let refused = mailbox.get(&SetGpio { gpio: 200, is_high: true });
        assert_eq!(refused, Err(Error::NoValue { tag: 0x3_8041, len: 8 }));
    });
}

#[test]
fn a_property_that_is_acknowledged_but_not_answered_has_no_value() {
    time::run(async {
        let (mut mailbox, _) = mailbox(pi_3b);
        let tag = MeasuredClockRate::TAG;
        assert_eq!(mailbox.get(&MeasuredClockRate(Clock::Arm)), Err(Error::NoValue { tag, len: 0 }));
    });
}

#[test]
fn values_that_mean_nothing_are_none() {
    time::run(async {
        // QEMU's serial number; a MAC address that was never set; a clock that the board does not have; a sensor
        // that is another; a device that does not exist.
        let (mut mailbox, _) = mailbox(|tag, value| match tag {
            0x3_0006 => Some((vec![1; 8], 8)),
            0x2_8001 => Some((vec![3, 0, 0, 0, 2, 0, 0, 0], 8)),
            _ => Some((value.to_vec(), value.len() as u32)),
        });
        assert!(matches!(mailbox.get(&BoardSerial), Err(Error::NoValue { len: 8, .. })));
        assert!(matches!(mailbox.get(&BoardMac), Err(Error::NoValue { .. })));
        assert!(matches!(mailbox.get(&ClockRate(Clock::V3d)), Err(Error::NoValue { .. })));
        assert!(matches!(mailbox.get(&Temperature), Err(Error::NoValue { .. })));
        assert!(matches!(mailbox.get(&SetPower { device: Device::UsbHcd, is_on: true }), Err(Error::NoValue { .. })));
    });
}

#[test]
fn an_answer_that_is_too_long_or_too_short_is_an_error() {
    time::run(async {
        let (mut long, _) = mailbox(|_, value| Some((value.to_vec(), 4000)));
        assert_eq!(long.get(&CommandLine), Err(Error::TooLong { tag: 0x5_0001, len: 4000 }));
        let (mut short, _) = mailbox(|_, _| Some((vec![0, 0, 0, 0, 9, 9], 6)));
        assert_eq!(short.get(&Temperature), Err(Error::NoValue { tag: 0x3_0006, len: 6 }));
    });
}

#[test]
fn a_message_that_the_firmware_rejects_is_an_error() {
    time::run(async {
        let (mut mailbox, model) = mailbox(pi_3b);
        model.lock().code = 0x8000_0001;
        assert_eq!(mailbox.get(&BoardRevision), Err(Error::Rejected { tag: 0x1_0002, code: 0x8000_0001 }));
    });
}

#[test]
fn a_firmware_that_does_not_answer_costs_the_deadline_and_a_late_answer_is_not_mistaken() {
    time::run(async {
        let (mut mailbox, model) = mailbox(pi_3b);
        // Longer than a wait takes, a look being two reads or so of a microsecond.
        model.lock().delay = Some(1_100_000);
        let start = Instant::now();
        assert_eq!(mailbox.get(&Temperature), Err(Error::Timeout(Timeout(TIMEOUT))));
        assert!((TIMEOUT..TIMEOUT * 2).contains(&start.elapsed()));
        model.lock().delay = Some(0);
        // The answer about the temperature comes first, and then that to this question.
        assert_eq!(mailbox.get(&BoardRevision), Ok(Revision(0xa0_2082)));
        assert_eq!(model.lock().messages, 2);
    });
}

#[test]
fn a_buffer_that_the_firmware_keeps_is_not_used_again() {
    time::run(async {
        let (mut mailbox, model) = mailbox(pi_3b);
        model.lock().delay = None;
        for _ in 0..2 {
            assert_eq!(mailbox.get(&Temperature), Err(Error::Timeout(Timeout(TIMEOUT))));
        }
        assert_eq!(model.lock().messages, 1);
    });
}

#[test]
fn a_full_mailbox_is_waited_for_and_not_for_ever() {
    time::run(async {
        let (mut mailbox, model) = mailbox(pi_3b);
        model.lock().is_full = true;
        assert_eq!(mailbox.get(&Temperature), Err(Error::Timeout(Timeout(TIMEOUT))));
        model.lock().is_full = false;
        assert_eq!(mailbox.get(&Temperature), Ok(25_000));
    });
}

#[test]
fn messages_for_others_are_skipped() {
    time::run(async {
        let (mut mailbox, model) = mailbox(pi_3b);
        model.lock().inbox.extend([0x1234_5671, 0x1234_5678]);
        assert_eq!(mailbox.get(&Temperature), Ok(25_000));
    });
}

#[test]
fn the_async_form_sleeps_between_looks() {
    time::run(async {
        let (mut mailbox, model) = mailbox(pi_3b);
        model.lock().delay = Some(10);
        let start = Instant::now();
        assert_eq!(mailbox.get_async(&Temperature).await, Ok(25_000));
        let elapsed = start.elapsed();
        assert!((POLL_INTERVAL * 10..POLL_INTERVAL * 12).contains(&elapsed), "{elapsed:?}");
        model.lock().delay = None;
        assert_eq!(mailbox.get_async(&Temperature).await, Err(Error::Timeout(Timeout(TIMEOUT))));
    });
}

#[test]
fn a_dropped_request_does_not_disturb_the_next() {
    time::run(async {
        let (mut mailbox, model) = mailbox(pi_3b);
        {
            let request = pin!(mailbox.get_async(&Temperature));
            assert_eq!(request.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
        }
        assert_eq!(mailbox.get(&BoardRevision), Ok(Revision(0xa0_2082)));
        assert_eq!(model.lock().messages, 2);
    });
}

#[test]
fn a_buffer_that_is_too_short_is_refused() {
    time::run(async {
        let (_, mut pool) = FakeDma::new(4096);
        let (_, model) = mailbox(pi_3b);
        let (registers, _) = claim(testkit::mmio::Ram::default());
        let mut mailbox = Mailbox::new(registers, pool.take(64).unwrap());
        assert!(matches!(mailbox.get(&CommandLine), Err(Error::Buffer { len: 64, .. })));
        assert_eq!(model.lock().messages, 0);
    });
}

#[test]
fn limits_read_as_words() {
    for (bits, text) in [
        (0, "none"),
        (0x1, "under-voltage now"),
        (0x5_0004, "under-voltage since boot, throttled now"),
        (0xf_000f, "under-voltage now, frequency capped now, throttled now, soft temperature limit now"),
    ] {
        assert_eq!(Throttled(bits).to_string(), text);
    }
    assert!(Throttled(1 << 17).has_been(Limit::FrequencyCapped) && !Throttled(1 << 17).is_now(Limit::FrequencyCapped));
}
