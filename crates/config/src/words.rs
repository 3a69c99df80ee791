//! Splitting the command line into words, and words into key and value.

/// Splits a line at white space that is not in double quotes.
pub(crate) fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    line.split(move |&byte| {
        is_quoted ^= byte == b'"';
        // A NUL ends lines that come from C.
        (byte.is_ascii_whitespace() || byte == 0) && !is_quoted
    })
    .filter(|word| !word.is_empty())
}

/// Splits a word at its first `=`, and takes quotes off: those around the whole word and those around the value.
pub(crate) fn key_and_value(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    let word = unquote(word);
    match word.iter().position(|&byte| byte == b'=').and_then(|at| word.split_at_checked(at)) {
        Some((key, [_, value @ ..])) => (key, Some(unquote(value))),
        _ => (word, None),
    }
}

/// A quote that is not closed is taken off as well.
fn unquote(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] | [b'"', inner @ ..] => inner,
        _ => text,
    }
}
