//! Any bytes as what a web server answers.

use alloc::vec::Vec;

use super::{Answer, Fault, Reader};

/// Reads `data` at once and in pieces, which must lead to the same answers, and to the same fault.
pub fn run(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else { return };
    let whole = read(data, usize::MAX);
    assert_eq!(read(data, 1 + usize::from(*piece)), whole, "in pieces of {}", 1 + usize::from(*piece));
}

fn read(data: &[u8], piece: usize) -> (Vec<Answer>, Option<Fault>) {
    let mut reader = Reader::new();
    let mut answers = Vec::new();
    for mut rest in data.chunks(piece) {
        loop {
            match reader.feed(rest) {
                Ok((used, answer)) => {
                    rest = rest.get(used..).unwrap_or_default();
                    let Some(answer) = answer else {
                        assert!(rest.is_empty(), "{} bytes are left", rest.len());
                        break;
                    };
                    answers.push(answer);
                }
                Err(fault) => return (answers, Some(fault)),
            }
        }
    }
    (answers, None)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_answers_and_others() {
        super::run(b"\x02HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n");
        super::run(b"\x07HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        super::run(b"\x00\r\n\r\n\r\n");
    }
}
