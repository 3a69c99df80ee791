//! A reader of Prometheus' text format.

use anyhow::{Context, Result, bail};

/// One line: a metric's name, its labels, its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric.
    pub name: String,
    /// What it is about.
    pub labels: Vec<(String, String)>,
    /// The figure.
    pub value: f64,
}

impl Sample {
    /// Returns whether all of these labels have these values.
    #[must_use]
    pub fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.iter().any(|(n, v)| n == name && v == value))
    }
}

/// All that one scrape brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// In the order of the text.
    pub samples: Vec<Sample>,
}

impl Metrics {
    /// Reads the text format.
    ///
    /// # Errors
    /// With the line that is not a sample.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let samples = lines.map(|line| sample(line).with_context(|| format!("in {line:?}"))).collect::<Result<_>>()?;
        Ok(Self { samples })
    }

    /// Returns the one value of a metric with these labels.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn one(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        match self.all(name, labels).as_slice() {
            [sample] => Ok(sample.value),
            others => bail!("{} samples of {name} with {labels:?}, not one: {others:?}", others.len()),
        }
    }

    /// Returns the sum of a metric's values with these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.all(name, labels).iter().map(|sample| sample.value).sum()
    }

    /// Returns all samples of a metric with these labels.
    #[must_use]
    pub fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.name == name && sample.has(labels)).collect()
    }
}

fn sample(line: &str) -> Result<Sample> {
    let end = line.find(['{', ' ']).context("no value")?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = rest.split_once("=\"").context("a label without a value")?;
            let (value, after) = quoted(after).context("a value without an end")?;
            labels.push((label.to_owned(), value));
            rest = after;
        }
    }
    let value = rest.split_whitespace().next().context("no value")?;
    Ok(Sample { name: name.to_owned(), labels, value: value.parse().with_context(|| format!("value {value:?}"))? })
}

/// Splits behind the closing quotation mark and resolves the escapes in front of it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_values_are_read() -> Result<()> {
        let text = "# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"q\\\"}, \"} 2.5\nb 1e3\nc{le=\"+Inf\"} 7 1700\n";
        let metrics = Metrics::parse(text)?;
        assert_eq!(metrics.one("a", &[("y", "q\"}, ")])?, 2.5);
        assert_eq!(metrics.one("b", &[])?, 1000.0);
        assert_eq!(metrics.sum("c", &[("le", "+Inf")]), 7.0);
        assert!(metrics.one("d", &[]).is_err());
        Ok(())
    }

    #[test]
    fn a_line_that_is_no_sample_is_an_error() {
        for text in ["a", "a{x=\"1} 2", "a b", "a{x} 1"] {
            assert!(Metrics::parse(text).is_err(), "{text}");
        }
    }
}
