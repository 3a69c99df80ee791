//! Patterns for keys: `*`, `?`, `[a-c]`, `[^x]`, and a backslash before what is meant as it is.

/// Returns whether `text` as a whole fits `pattern`; `None` when `steps` ran out first.
///
/// A star is tried again from where it last was, never from an earlier one, so the work is at most the product of the two lengths.
pub(super) fn fits(pattern: &[u8], text: &[u8], steps: &mut u32) -> Option<bool> {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() || p < pattern.len() {
        *steps = steps.checked_sub(1)?;
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
            continue;
        }
        let one = text.get(t).and_then(|byte| fits_one(pattern.get(p..).unwrap_or_default(), *byte));
        if let Some(len) = one {
            p += len;
            t += 1;
        } else {
            // Not here: the last star takes one byte more.
            let Some((at, from)) = star.filter(|(_, from)| *from < text.len()) else { return Some(false) };
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        }
    }
    Some(true)
}

/// Returns how long the element at the beginning of `pattern` is, if it stands for `byte`.
fn fits_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', class @ ..] => {
            let len = class.iter().position(|byte| *byte == b']').unwrap_or(class.len());
            let class = class.get(..len).unwrap_or_default();
            let (is_negative, mut class) = match class {
                [b'^', class @ ..] => (true, class),
                class => (false, class),
            };
            let mut is_in = false;
            while let [first, rest @ ..] = class {
                if let [b'-', last, rest @ ..] = rest {
                    is_in |= (*first.min(last)..=*first.max(last)).contains(&byte);
                    class = rest;
                } else {
                    is_in |= *first == byte;
                    class = rest;
                }
            }
            (is_in != is_negative).then_some((len + 2).min(pattern.len()))
        }
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_with_redis() {
        let fit = ["*:*", "key:?", "k*1", "key:[0-9]", "key:[^a]", "*", "key\\:1", "key:[10]", "**1", "[k]*"];
        let other = ["", "key", "key:", "key:1?", "*2", "key:[a-c]", "key:[^1]", "[", "?", "key:1*x", "k\\*"];
        for (pattern, expected) in fit.iter().map(|p| (p, true)).chain(other.iter().map(|p| (p, false))) {
            assert_eq!(fits(pattern.as_bytes(), b"key:1", &mut 1000), Some(expected), "{pattern}");
        }
        assert_eq!(fits(b"", b"", &mut 10), Some(true));
        assert_eq!(fits(b"a[", b"a", &mut 10), Some(false));
    }

    #[test]
    fn a_pattern_made_to_take_long_is_given_up() {
        let text = vec![b'a'; 1000];
        let pattern = b"*a*a*a*a*a*a*a*a*a*a*b";
        assert_eq!(fits(pattern, &text, &mut 10_000_000), Some(false));
        assert_eq!(fits(pattern, &text, &mut 500), None);
    }
}
