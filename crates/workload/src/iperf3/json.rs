//! As much of JSON as iperf3 needs: the members of an object and the items of an array, without memory and recursion.

/// Deepest nesting that is looked into; iperf3's is three.
const DEPTH_MAX: usize = 16;

/// Returns the text of the member `name` of the object `json`; `None` if there is none.
pub(super) fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = json.trim_start().strip_prefix('{')?.trim_start();
    loop {
        let (key, after) = value(rest)?;
        let (found, after) = value(after.trim_start().strip_prefix(':')?.trim_start())?;
        if key.strip_prefix('"').and_then(|key| key.strip_suffix('"'))? == name {
            return Some(found);
        }
        rest = after.trim_start().strip_prefix(',')?.trim_start();
    }
}

/// Returns the texts of the items of the array `json`; nothing if it is none.
pub(super) fn items(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json.trim_start().strip_prefix('[').map(str::trim_start);
    core::iter::from_fn(move || {
        let (item, after) = value(rest?)?;
        rest = after.trim_start().strip_prefix(',').map(str::trim_start);
        Some(item)
    })
}

/// Returns the number of a member, without what is behind its decimal point; `None` if it is absent or no number that fits.
pub(super) fn number(json: &str, name: &str) -> Option<u64> {
    millionths(member(json, name)?).map(|number| number / 1_000_000)
}

/// Returns whether a member is true, or a number that is not zero.
pub(super) fn is_set(json: &str, name: &str) -> bool {
    member(json, name).is_some_and(|text| text == "true" || millionths(text).is_some_and(|number| number > 0))
}

/// Returns a number in millionths; less than that is cut. `None` below zero and above 2^64 millionths.
pub(super) fn millionths(text: &str) -> Option<u64> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Digits that count: those of the whole, and as many behind the point as stand in front of the millionths.
    let wanted = i32::try_from(whole.len()).ok()?.checked_add(exponent)?.checked_add(6)?;
    let mut number = 0u64;
    let mut digits = whole.bytes().chain(fraction.bytes());
    for _ in 0..wanted.min(64) {
        let digit = match digits.next() {
            Some(digit @ b'0'..=b'9') => digit - b'0',
            Some(_) => return None,
            None => 0,
        };
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    digits.all(|digit| digit.is_ascii_digit()).then_some(number)
}

/// Splits the first value off: a string, an object, an array or a word.
fn value(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let end = match bytes.first()? {
        b'"' => string_end(bytes)?,
        b'{' | b'[' => nested_end(bytes)?,
        _ => bytes.iter().position(|byte| b",:]} \t\r\n".contains(byte)).unwrap_or(bytes.len()),
    };
    (end > 0).then(|| text.split_at_checked(end)).flatten()
}

/// Returns where the string ends that `bytes` begin with.
fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Returns where the object or array ends that `bytes` begin with.
fn nested_end(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => at += string_end(bytes.get(at..)?)? - 1,
            b'{' | b'[' if depth == DEPTH_MAX => return None,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_whatever_is_around_them() {
        let json =
            r#" { "a" : 1, "b":"x\",\"c\":9", "o":{"c":8,"d":[1,{"e":"}"}]}, "c" : true ,"l":[ 1 , "two",[3] ] } "#;
        assert_eq!(member(json, "a"), Some("1"));
        assert_eq!(member(json, "c"), Some("true"));
        assert_eq!(member(json, "d"), None);
        assert_eq!(member(member(json, "o").unwrap(), "c"), Some("8"));
        assert_eq!(items(member(json, "l").unwrap()).collect::<Vec<_>>(), ["1", "\"two\"", "[3]"]);
        assert!(is_set(json, "a") && is_set(json, "c") && !is_set(json, "z"));
        assert_eq!(items("[]").count() + items("{}").count() + items("").count(), 0);
    }

    #[test]
    fn numbers_are_read_as_printf_writes_them() {
        for (text, number) in [
            ("0", Some(0)),
            ("10.5", Some(10_500_000)),
            ("0.000123", Some(123)),
            ("1.5e-05", Some(15)),
            ("1e+10", Some(10_000_000_000_000_000)),
            ("10737418240", Some(10_737_418_240_000_000)),
            ("1.0000009999", Some(1_000_000)),
            ("-1", None),
            ("", None),
            ("1x", None),
            ("1e999", None),
            ("1e-999", Some(0)),
            ("99999999999999999999", None),
        ] {
            assert_eq!(millionths(text), number, "{text:?}");
        }
    }

    #[test]
    fn nothing_can_be_read_out_of_garbage_and_nothing_panics() {
        for text in
            ["", "{", "}", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":}", "{a:1}", "[{", "{\"x\":\"\\", "\u{e9}{\"a\":1}"]
        {
            assert_eq!(member(text, "a"), None, "{text}");
            assert_eq!(items(text).count(), 0, "{text}");
        }
        assert_eq!(member(&"{\"a\":[".repeat(40), "a"), None);
        // Every part of a good one.
        let json = r#"{"cpu":1.5,"streams":[{"id":1,"bytes":9},{"id":3}],"\u00e9":null}"#;
        for end in 0..json.len() {
            for start in 0..end {
                let part = &json[start..end];
                let _ = (member(part, "streams").map(|list| items(list).count()), number(part, "cpu"));
            }
        }
    }
}
