//! What a person can be told about a workload.

use core::fmt;

use telemetry::seconds::{COLUMNS, SECONDS_LEN};

use crate::Workload;
use crate::builtin::{WORKLOADS, find};
use crate::spec::{COMMON, SpecError};

/// Shows every workload in a line.
pub fn list() -> impl fmt::Display {
    fmt::from_fn(|f| {
        for workload in WORKLOADS {
            writeln!(f, "  {:8} {}", workload.name(), workload.summary())?;
        }
        Ok(())
    })
}

/// Shows a workload with its parameters.
///
/// # Errors
///
/// When there is no such workload; tells which there are.
pub fn of(name: &str) -> Result<impl fmt::Display, SpecError> {
    let workload = find(name).ok_or_else(|| SpecError::unknown(name))?;
    Ok(fmt::from_fn(move |f| describe(workload, f)))
}

fn describe(workload: &dyn Workload, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "{}: {}", workload.name(), workload.summary())?;
    writeln!(f, "  operation: {}", workload.operation())?;
    for parameter in workload.parameters().iter().copied() {
        write!(f, "  {:8} {}; {}", parameter.name, parameter.help, parameter.kind.allowed())?;
        match parameter.kind.default() {
            Some(default) => writeln!(f, "; default {default}")?,
            None if parameter.kind.is_required() => writeln!(f, "; must be given")?,
            None => writeln!(f)?,
        }
    }
    for parameter in COMMON {
        writeln!(f, "  {:8} {}", parameter.name, parameter.help)?;
    }
    for metric in workload.figures().iter().chain(workload.histograms()) {
        writeln!(f, "  shows {}: {}", metric.name, metric.help)?;
    }
    if workload.has_seconds() {
        write!(f, "  keeps each of its last {SECONDS_LEN} seconds at /api/v1/seconds: start_us")?;
        COLUMNS.iter().try_for_each(|column| write!(f, ", {column}"))?;
        writeln!(f)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_parameter() {
        for workload in WORKLOADS {
            let text = of(workload.name()).unwrap().to_string();
            assert!(list().to_string().contains(workload.summary()));
            for parameter in workload.parameters() {
                assert!(text.contains(&format!("\n  {:8} {}", parameter.name, parameter.help)), "{text}");
            }
            assert!(text.contains("\n  cores ") && text.contains("\n  for ") && text.contains("\n  id "), "{text}");
            for metric in workload.figures().iter().chain(workload.histograms()) {
                assert!(text.contains(&format!("  shows {}: {}", metric.name, metric.help)), "{text}");
            }
        }
        let text = of("load").unwrap().to_string();
        assert!(text.contains("last 120 seconds at /api/v1/seconds: start_us, span_us, offered, sent, "), "{text}");
        let error = of("nothing").err().unwrap().to_string();
        assert!(error.starts_with("there is no workload 'nothing'; there are ") && error.contains("cpu"), "{error}");
    }
}
