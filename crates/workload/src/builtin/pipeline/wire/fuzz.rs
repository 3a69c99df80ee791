//! Any bytes as what a stage of a pipeline says: a greeting, or frames with their payloads.

use super::{CRC, Frame, FrameError, HELLO_LEN, HEAD_LEN, Head, Hello, HelloError, PAYLOAD_LEN_MAX, PREFIX_LEN};

/// Reads `data` as it is, and once more with checksums put right, so that what is behind them is reached. What is understood is
/// what we would have written.
pub fn run(data: &[u8]) {
    if let Some(bytes) = data.first_chunk::<HELLO_LEN>() {
        greet(*bytes);
    }
    let mut rest = data;
    while let Some(after) = frame(rest) {
        rest = after;
    }
}

fn greet(mut bytes: [u8; HELLO_LEN]) {
    let as_it_is = Hello::parse(&bytes);
    let (head, check) = bytes.split_at_mut(HELLO_LEN - 4);
    let right = CRC.checksum(head).to_be_bytes();
    let was_right = check == right;
    check.copy_from_slice(&right);
    let repaired = Hello::parse(&bytes);
    match as_it_is {
        Err(HelloError::Damaged) if !was_right => {}
        as_it_is => assert_eq!(as_it_is, repaired),
    }
    if let Ok(hello) = repaired {
        assert_eq!(hello.to_bytes(), bytes);
    }
}

/// Reads one frame, and returns what is behind it.
fn frame(data: &[u8]) -> Option<&[u8]> {
    let prefix = data.first_chunk::<PREFIX_LEN>()?;
    let len = Frame::head_len(*prefix).ok()?;
    assert!((PREFIX_LEN..=HEAD_LEN).contains(&len));
    let (head, rest) = data.split_at_checked(len)?;
    let as_it_is = Frame::parse(head);
    let mut head = Head::from_slice(head).ok()?;
    let given: [u8; 4] = head.get(PREFIX_LEN - 4..PREFIX_LEN)?.try_into().ok()?;
    head.get_mut(PREFIX_LEN - 4..PREFIX_LEN)?.fill(0);
    let right = CRC.checksum(&head).to_be_bytes();
    head.get_mut(PREFIX_LEN - 4..PREFIX_LEN)?.copy_from_slice(&right);
    let repaired = Frame::parse(&head);
    assert_eq!(as_it_is, if given == right { repaired } else { Err(FrameError::Damaged) });
    let Ok(frame) = repaired else { return Some(rest) };
    assert_eq!(frame.head(), head);
    let payload_len = if let Frame::Message(message) = frame { message.len } else { 0 };
    assert!(payload_len <= PAYLOAD_LEN_MAX);
    rest.get(payload_len..)
}

#[cfg(test)]
mod tests {
    use super::super::{Message, Stage, Verdict, Want};
    use super::*;

    #[test]
    fn it_holds_for_what_stages_say() {
        let hello = Hello {
            stage: Stage::Source,
            want: Want::Push,
            refusal: None,
            len_max: 64,
            link: 7,
            credit: 9,
            silence_ms: 4000,
        };
        run(&hello.to_bytes());
        let mut data = Vec::new();
        data.extend_from_slice(&Frame::Message(Message { number: 1, len: 3, ..Message::default() }).head());
        data.extend_from_slice(b"abc");
        data.extend_from_slice(&Frame::Verdict { stream: 1, number: 1, verdict: Verdict::Delivered }.head());
        data.extend_from_slice(&Frame::Credit(1).head());
        data.extend_from_slice(&Frame::Ping.head());
        run(&data);
        data[9] ^= 1;
        run(&data);
    }
}
