//! What a node says of itself.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::lan::plain;
use super::node::Node;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// The board, as the firmware knows it.
    pub(crate) board: String,
    /// Version and build of the image.
    pub(crate) version: String,
    /// Time since it was started.
    pub(crate) uptime: Duration,
    /// Whether nothing can be changed over the network.
    pub(crate) is_read_only: bool,
    /// The fingerprint of its host key; `None` if it has no SSH server.
    pub(crate) host_key: Option<String>,
    /// Whether measurements can be trusted; `None` where the firmware does not tell.
    pub(crate) is_valid: Option<bool>,
    /// Why not.
    pub(crate) reasons: Vec<String>,
    /// What disturbs it on purpose, in a line; `None` if nothing does.
    pub(crate) faults: Option<String>,
    /// What it runs: id, specification and state of each.
    pub(crate) workloads: Vec<Workload>,
}

/// A workload of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Workload {
    /// What it is called on its node.
    pub(crate) id: String,
    /// Name and parameters.
    pub(crate) spec: String,
    /// `running`, `stopped`, `failed` ...
    pub(crate) state: String,
    /// Why it is in that state.
    #[serde(default)]
    pub(crate) reason: String,
}

/// The part of `/api/v1/node` that is needed. Names are those of `telemetry/src/sinks/json/node.rs`.
#[derive(Deserialize)]
struct Who {
    board: String,
    version: String,
    #[serde(default)]
    build: String,
    uptime_us: u64,
    #[serde(default)]
    read_only: bool,
    /// Who may change it, and its host key (`telemetry/src/node_info.rs`).
    #[serde(default)]
    access: String,
}

/// The part of `/api/v1/sample` that is needed.
#[derive(Deserialize)]
struct Sample {
    valid: Option<bool>,
    #[serde(default)]
    invalid_reasons: Vec<String>,
    faults: Option<String>,
}

impl Look {
    /// Asks a node.
    ///
    /// # Errors
    /// When it does not answer, or not as an image of this version does.
    pub(crate) fn at(node: &Node) -> Result<Self> {
        if let Some(trouble) = &node.trouble {
            anyhow::bail!("{}", plain(trouble));
        }
        let strange = "its image has another version, which answers otherwise";
        // One after the other: who does not answer is not waited for three times.
        let who: Who = serde_json::from_value(node.api("node")?).context(strange)?;
        let sample: Sample = serde_json::from_value(node.api("sample")?).context(strange)?;
        let workloads: Vec<Workload> = serde_json::from_value(node.api("workloads")?).context(strange)?;
        Ok(Self::of(who, sample, workloads))
    }

    fn of(who: Who, sample: Sample, workloads: Vec<Workload>) -> Self {
        let version = if who.build.is_empty() { who.version } else { format!("{} ({})", who.version, who.build) };
        Self {
            board: plain(&who.board),
            version: plain(&version),
            uptime: Duration::from_micros(who.uptime_us),
            is_read_only: who.read_only,
            host_key: who.access.split(' ').find(|word| word.starts_with("SHA256:")).map(plain),
            is_valid: sample.valid,
            reasons: sample.invalid_reasons.iter().map(|reason| plain(reason)).collect(),
            faults: sample.faults.as_deref().map(plain).filter(|line| !line.is_empty()),
            workloads: workloads
                .into_iter()
                .map(|w| Workload {
                    id: plain(&w.id),
                    spec: plain(&w.spec),
                    state: plain(&w.state),
                    reason: plain(&w.reason),
                })
                .collect(),
        }
    }

    /// Returns in a word or two how well it is.
    pub(crate) fn health(&self) -> String {
        health(self.is_valid, &self.reasons, self.faults.is_some())
    }

    /// Returns what it runs, in a line.
    pub(crate) fn work(&self) -> String {
        if self.workloads.is_empty() {
            return "-".into();
        }
        let show =
            |w: &Workload| if w.state == "running" { w.spec.clone() } else { format!("{} ({})", w.spec, w.state) };
        self.workloads.iter().map(show).collect::<Vec<_>>().join("; ")
    }
}

/// Returns in a word or two how well a node is: whether its measurements can be trusted, why not, and whether it is disturbed on purpose.
pub(super) fn health(is_valid: Option<bool>, reasons: &[String], has_faults: bool) -> String {
    let mut health = match is_valid {
        Some(true) => "well".to_owned(),
        Some(false) => reasons.join(", "),
        // A virtual board has no firmware that would know.
        None => "unknown".to_owned(),
    };
    if has_faults {
        health.push_str(", faults on purpose");
    }
    health
}

/// Returns a time as people say it: `3d 4h`, `2h 5m`, `1m 2s`, `7s`.
pub(crate) fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    let [days, hours, minutes] = [86_400, 3_600, 60].map(|unit| seconds / unit);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days}d {}h", hours % 24),
        (0, 1.., _) => format!("{hours}h {}m", minutes % 60),
        (0, 0, 1..) => format!("{minutes}m {}s", seconds % 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    pub(crate) fn look() -> Look {
        let who = r#"{"name":"pi-1","board":"Raspberry Pi 3B","version":"0.1.0","build":"abc","uptime_us":61000000,"read_only":false,"access":"SSH, 1 key; host key SHA256:abc until the next start"}"#;
        let sample = r#"{"at_us":1,"valid":false,"invalid_reasons":["throttled"],"faults":""}"#;
        let workloads = r#"[{"slot":0,"id":"cpu","spec":"cpu load=5%","state":"running","reason":"","runs":1},
                            {"slot":1,"id":"x","spec":"kv","state":"failed","reason":"no memory"}]"#;
        Look::of(
            serde_json::from_str(who).unwrap(),
            serde_json::from_str(sample).unwrap(),
            serde_json::from_str(workloads).unwrap(),
        )
    }

    #[test]
    fn a_node_is_summed_up() {
        let look = look();
        assert_eq!((look.version.as_str(), look.health().as_str()), ("0.1.0 (abc)", "throttled"));
        assert_eq!(look.host_key.as_deref(), Some("SHA256:abc"));
        assert_eq!(look.work(), "cpu load=5%; kv (failed)");
        assert_eq!(Look { faults: Some("drop".into()), is_valid: None, ..look }.health(), "unknown, faults on purpose");
    }

    #[test]
    fn times_are_short() {
        let texts = [7, 62, 7500, 100_000].map(|seconds| shown(Duration::from_secs(seconds)));
        assert_eq!(texts, ["7s", "1m 2s", "2h 5m", "1d 3h"]);
    }
}
