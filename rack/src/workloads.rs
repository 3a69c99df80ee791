//! What a node would say about the workloads that it is given, by the node's own table.

use config::Config;
// Brings the clock that workloads are linked with; none runs here.
use wallclock as _;
use workload::Spec;

/// Returns a line for each workload that a node could not start.
pub(crate) fn mistakes(config: &Config) -> impl Iterator<Item = String> {
    config.workloads.iter().zip(&config.workload_places).filter_map(|(text, place)| {
        let error = Spec::parse(text).err()?;
        Some(format!("{place}: workload={text} ignored: {error}"))
    })
}
