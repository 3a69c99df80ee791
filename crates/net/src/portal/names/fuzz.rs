//! Any bytes as an answer to a question for an address.

use super::{QUESTION_LEN, ask, read};

/// The question that is asked; the number of the answer is that of the input, if there is one.
const LABEL: &str = "pi-2";

/// Reads an answer, as a node that has IPv4 and as one that has not.
pub fn run(data: &[u8]) {
    let id = data.first_chunk().map_or(7, |id| u16::from_be_bytes(*id));
    let mut question = [0; QUESTION_LEN];
    let len = ask(LABEL, id, &mut question).unwrap_or_default();
    assert!(len > 12);
    let question = question.get(..len).unwrap_or_default();
    assert!(matches!(read(question, LABEL, id, true), Ok(None)), "a question is no answer");
    let (old, new) = (read(data, LABEL, id, true), read(data, LABEL, id, false));
    if let (Ok(Some((old, _))), Ok(new)) = (old, new) {
        // One of them at least can use whatever there is; only who has heard the question can answer it.
        assert!(new.is_some_and(|(new, _)| new == old || old.is_ipv4() && new.is_ipv6()), "{old} and {new:?}");
        assert!(!matches!(read(data, LABEL, id ^ 1, true), Ok(Some(_))), "{old} for another question");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_an_answer() {
        super::run(b"\0\x07\x84\0\0\0\0\x01\0\0\0\0\x04pi-2\x05local\0\0\x01\0\x01\0\0\0\x78\0\x04\x0a\0\0\x02");
        super::run(b"\0\x07");
    }
}
