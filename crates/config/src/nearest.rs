//! Finding what was meant.

/// Longest word that is compared. Nothing that is meant for a key is longer.
const LEN_MAX: usize = 24;

/// Returns the candidate that is at most two slips of the finger away from `word`: letters too many, missing, changed, or two
/// in each other's place. Short words are allowed one.
pub(crate) fn nearest(word: &[u8], candidates: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let allowed = if word.len() < 5 { 1 } else { 2 };
    let ranked = candidates.map(|candidate| (distance(word, candidate.as_bytes()), candidate));
    ranked.filter(|&(distance, _)| distance <= allowed).min_by_key(|&(distance, _)| distance).map(|(_, name)| name)
}

/// The distance of Damerau and Levenshtein in its restricted form (optimal string alignment), by rows.
fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len() > LEN_MAX || b.len() > LEN_MAX {
        return usize::MAX;
    }
    // Row i has the distances of the first i bytes of `a` to each beginning of `b`.
    let mut rows = [[0; LEN_MAX + 1]; 3];
    rows[2] = core::array::from_fn(|column| column);
    let mut before = 0;
    for (i, &byte) in a.iter().enumerate() {
        rows.rotate_left(1);
        let [older, last, row] = &mut rows;
        row[0] = i + 1;
        for (j, &other) in b.iter().enumerate() {
            let byte = byte.to_ascii_lowercase();
            let mut best = (last[j + 1] + 1).min(row[j] + 1).min(last[j] + usize::from(byte != other));
            if i > 0 && j > 0 && byte == b[j - 1] && before == other {
                best = best.min(older[j - 1] + 1);
            }
            row[j + 1] = best;
        }
        before = byte.to_ascii_lowercase();
    }
    rows[2][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_forgiven_and_other_words_are_not() {
        const KEYS: [&str; 4] = ["name", "ntp", "workload", "rack-secret"];
        let meant = |word: &str| nearest(word.as_bytes(), KEYS.into_iter());
        for (word, key) in [
            ("nmae", "name"),
            ("Name", "name"),
            ("names", "name"),
            ("wrokload", "workload"),
            ("workloads", "workload"),
            ("rack_secret", "rack-secret"),
            ("racksecrt", "rack-secret"),
        ] {
            assert_eq!(meant(word), Some(key), "{word}");
        }
        for word in ["", "x", "colour", "verbose", "workhorse", &"name".repeat(10)] {
            assert_eq!(meant(word), None, "{word}");
        }
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 1), ("ca", "abc", 3)]
        {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }
}
