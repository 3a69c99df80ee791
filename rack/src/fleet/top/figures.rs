//! What a node's newest sample and its workloads say, as `top` shows it. The names are those of `telemetry/src/sinks/json`.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::lan::plain;
use super::super::look;
use super::super::node::Node;

/// See the module. What is `None` the node does not know, or not yet: a second after its start it has no rates.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Time since it was started.
    pub(super) uptime: Duration,
    /// How busy each core is, in thousandths.
    pub(super) cores: Vec<Option<u32>>,
    /// Bytes and frames a second from the network, and to it.
    pub(super) rx: (Option<u64>, Option<u64>),
    pub(super) tx: (Option<u64>, Option<u64>),
    /// Frames a second that were lost.
    pub(super) lost: Option<u64>,
    /// Temperature in thousandths of a degree Celsius.
    pub(super) temperature_mc: Option<i64>,
    /// Clock of the cores.
    pub(super) clock_hz: Option<u64>,
    /// Whether measurements can be trusted; `None` where the firmware does not tell.
    pub(super) is_valid: Option<bool>,
    /// Why not.
    pub(super) reasons: Vec<String>,
    /// What disturbs it on purpose.
    pub(super) faults: Option<String>,
    /// What it runs.
    pub(super) workloads: Vec<Work>,
}

/// A workload.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Work {
    pub(super) id: String,
    pub(super) core: u32,
    pub(super) spec: String,
    pub(super) state: String,
    pub(super) operations_per_second: Option<u64>,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) errors: u64,
    pub(super) busy_permille: Option<u32>,
    pub(super) operation_duration: Option<Took>,
}

/// How long operations took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Took {
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
}

#[derive(Deserialize)]
struct Sample {
    at_us: u64,
    valid: Option<bool>,
    #[serde(default)]
    invalid_reasons: Vec<String>,
    faults: Option<String>,
    cores_busy_permille: Option<Vec<Option<u32>>>,
    network: Network,
    temperature_millicelsius: Option<i64>,
    #[serde(default)]
    clocks_hz: Clocks,
}

#[derive(Deserialize)]
struct Network {
    rx_bytes_per_second: Option<u64>,
    rx_frames_per_second: Option<u64>,
    tx_bytes_per_second: Option<u64>,
    tx_frames_per_second: Option<u64>,
    lost_frames_per_second: Option<u64>,
}

#[derive(Default, Deserialize)]
struct Clocks {
    arm: Option<u64>,
}

impl Figures {
    /// Asks a node.
    ///
    /// # Errors
    /// When it does not answer, or not as an image of this version does.
    pub(super) fn of(node: &Node) -> Result<Self> {
        if let Some(trouble) = &node.trouble {
            anyhow::bail!("{}", plain(trouble));
        }
        let mut figures = Self::read(&node.api("sample")?.to_string())?;
        figures.workloads = read_workloads(&node.api("workloads")?.to_string())?;
        Ok(figures)
    }

    /// Reads a sample, which says nothing of workloads.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn read(sample: &str) -> Result<Self> {
        let sample: Sample = serde_json::from_str(sample).context(STRANGE)?;
        let network = sample.network;
        Ok(Self {
            uptime: Duration::from_micros(sample.at_us),
            cores: sample.cores_busy_permille.unwrap_or_default(),
            rx: (network.rx_bytes_per_second, network.rx_frames_per_second),
            tx: (network.tx_bytes_per_second, network.tx_frames_per_second),
            lost: network.lost_frames_per_second,
            temperature_mc: sample.temperature_millicelsius,
            clock_hz: sample.clocks_hz.arm,
            is_valid: sample.valid,
            reasons: sample.invalid_reasons.iter().map(|reason| plain(reason)).collect(),
            faults: sample.faults.as_deref().map(plain).filter(|line| !line.is_empty()),
            workloads: Vec::new(),
        })
    }

    /// Returns how busy all cores are together, in thousandths.
    pub(super) fn cpu(&self) -> Option<u32> {
        let known: Vec<u32> = self.cores.iter().copied().flatten().collect();
        let count = u32::try_from(known.len()).ok().filter(|count| *count > 0)?;
        Some(known.iter().sum::<u32>() / count)
    }

    /// Returns what all workloads do in a second.
    pub(super) fn operations(&self) -> Option<u64> {
        let known: Vec<u64> = self.workloads.iter().filter_map(|work| work.operations_per_second).collect();
        (!known.is_empty()).then(|| known.iter().sum())
    }

    /// Returns in a word or two how well it is.
    pub(super) fn health(&self) -> String {
        look::health(self.is_valid, &self.reasons, self.faults.is_some())
    }

    /// Returns it for programs.
    pub(super) fn json(&self) -> Value {
        let percent = |permille: Option<u32>| permille.map(|permille| f64::from(permille) / 10.0);
        let work = |work: &Work| {
            json!({
                "id": work.id,
                "core": work.core,
                "spec": work.spec,
                "state": work.state,
                "operations_per_second": work.operations_per_second,
                "bytes_per_second": work.bytes_per_second,
                "errors": work.errors,
                "busy_percent": percent(work.busy_permille),
                "p50_us": work.operation_duration.map(|took| took.p50_us),
                "p99_us": work.operation_duration.map(|took| took.p99_us),
            })
        };
        json!({
            "uptime_s": self.uptime.as_secs(),
            "cpu_percent": percent(self.cpu()),
            "cores_percent": self.cores.iter().map(|core| percent(*core)).collect::<Vec<_>>(),
            "rx_bytes_per_second": self.rx.0,
            "rx_frames_per_second": self.rx.1,
            "tx_bytes_per_second": self.tx.0,
            "tx_frames_per_second": self.tx.1,
            "lost_frames_per_second": self.lost,
            "temperature_celsius": self.temperature_mc.map(|mc| mc as f64 / 1000.0),
            "clock_hz": self.clock_hz,
            "valid": self.is_valid,
            "invalid_reasons": self.reasons,
            "faults": self.faults,
            "operations_per_second": self.operations(),
            "workloads": self.workloads.iter().map(work).collect::<Vec<_>>(),
        })
    }
}

const STRANGE: &str = "its image has another version, which answers otherwise";

/// Reads the list of a node's workloads.
///
/// # Errors
/// When it is none.
pub(super) fn read_workloads(list: &str) -> Result<Vec<Work>> {
    let list: Vec<Work> = serde_json::from_str(list).context(STRANGE)?;
    let text = |work: Work| Work { id: plain(&work.id), spec: plain(&work.spec), state: plain(&work.state), ..work };
    Ok(list.into_iter().map(text).collect())
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    /// A node that has so much to do, in thousandths.
    pub(in crate::fleet::top) fn figures(busy: u32) -> Figures {
        let sample = format!(
            r#"{{"at_us":61000000,"valid":false,"invalid_reasons":["throttled"],"faults":"","cores_busy_permille":[{busy},{busy},null,{busy}],
                "network":{{"rx_bytes_per_second":1500,"rx_frames_per_second":3,"tx_bytes_per_second":250000,
                "tx_frames_per_second":4,"lost_frames_per_second":0}},"temperature_millicelsius":61500,
                "clocks_hz":{{"arm":600000000}}}}"#
        );
        let workloads = r#"[{"id":"cpu","core":1,"spec":"cpu load=5%","state":"running","operations_per_second":1200,
            "bytes_per_second":0,"errors":0,"busy_permille":50,"operation_duration":{"p50_us":80,"p99_us":1500}},
            {"id":"kv","core":2,"spec":"kv","state":"failed","operations_per_second":null,"operation_duration":null}]"#;
        Figures { workloads: read_workloads(workloads).unwrap(), ..Figures::read(&sample).unwrap() }
    }

    #[test]
    fn a_sample_is_summed_up() {
        let figures = figures(250);
        assert_eq!((figures.cpu(), figures.operations()), (Some(250), Some(1200)));
        assert_eq!((figures.health().as_str(), figures.temperature_mc), ("throttled", Some(61_500)));
        let json = figures.json();
        assert_eq!((&json["cpu_percent"], &json["cores_percent"][2]), (&json!(25.0), &Value::Null));
        assert_eq!((&json["temperature_celsius"], &json["workloads"][0]["p99_us"]), (&json!(61.5), &json!(1500)));
    }

    #[test]
    fn who_has_just_started_has_no_rates_and_who_says_nothing_is_strange() {
        let figures = Figures::read(r#"{"at_us":5,"valid":null,"faults":null,"network":{}}"#).unwrap();
        assert_eq!((figures.cpu(), figures.operations(), figures.rx), (None, None, (None, None)));
        assert!(Figures::read("{}").unwrap_err().to_string().contains("another version"));
        assert!(read_workloads("{}").is_err());
    }
}
