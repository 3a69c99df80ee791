//! What an experiment would do, for a person to read before it is done.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::file::{Deed, Experiment, Health, Role, Target, Template, fault_time};

/// Shows it, with addresses of the node numbers of a rack of its own: role after role.
pub(super) fn show(experiment: &Experiment) -> String {
    let mut out = format!(
        "{}: {} nodes, {}, seed {}\n",
        experiment.name,
        experiment.node_count(),
        seconds(experiment.length()),
        experiment.seed
    );
    // Writing to a String does not fail, here and below.
    if !experiment.about.is_empty() {
        let _ = writeln!(out, "{}", experiment.about.trim());
    }
    out.push_str("\nnodes\n");
    for role in &experiment.roles {
        for index in 0..role.count {
            let _ = writeln!(out, "  {}[{index}]{}", role.name, wishes(role, index));
            for workload in &role.workloads {
                let _ = writeln!(out, "    {:10} {}", workload.id, fill(experiment, &workload.template, index));
            }
        }
    }
    out.push_str("\nphases\n");
    for phase in &experiment.phases {
        let until = phase.until.as_ref().map(|role| format!(", or until all of {role} have finished"));
        let _ = writeln!(
            out,
            "  {:>7}  {} for {}{}",
            seconds(phase.start),
            phase.name,
            seconds(phase.length),
            until.unwrap_or_default()
        );
    }
    if !experiment.events.is_empty() {
        out.push_str("\nevents\n");
    }
    for event in &experiment.events {
        let _ = writeln!(out, "  {:>7}  {}: {}", seconds(event.at), target(&event.on), deed(experiment, &event.what));
    }
    for controller in &experiment.controllers {
        let (add, remove, hold) = (controller.add, controller.remove, seconds(controller.hold));
        let _ = writeln!(
            out,
            "\n{} to {} nodes of {} work: one more when {} is {add} or more, one less when it is {remove} or less, {hold} between",
            controller.min, controller.max, controller.role, controller.measure
        );
    }
    if let Some(history) = &experiment.history {
        let stores: Vec<String> = history.stores.iter().map(target).collect();
        let _ = writeln!(
            out,
            "\n{} clients write {} registers at {} and read them, one each {}; their history is checked",
            history.clients,
            history.keys,
            stores.join(", or "),
            seconds(history.pace)
        );
    }
    out.push_str("\nexpected\n");
    for expectation in &experiment.expectations {
        let _ = writeln!(out, "  {}", expectation.text);
    }
    let _ = writeln!(out, "\nvoid when {}", experiment.void.join(", "));
    out
}

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}

fn target(target: &Target) -> String {
    target.index.map_or_else(|| target.role.clone(), |index| format!("{}[{index}]", target.role))
}

fn wishes(role: &Role, index: usize) -> String {
    let mut said = String::new();
    if let Some(node) = role.nodes.get(index) {
        let _ = write!(said, "  is {node}");
    }
    if let Some(board) = &role.board {
        let _ = write!(said, "  on a {board}");
    }
    match role.health {
        Health::Any => said.push_str("  however it is"),
        Health::Well => {}
        Health::Known => said.push_str("  known to be well"),
    }
    said
}

fn deed(experiment: &Experiment, deed: &Deed) -> String {
    match deed {
        Deed::Fault(template) => {
            let words = fill(experiment, template, 0);
            let (after, lasts) = fault_time(&words);
            let after = if after.is_zero() { String::new() } else { format!(" after {}", seconds(after)) };
            let lasts = if lasts.is_zero() { String::new() } else { format!(", for {}", seconds(lasts)) };
            format!("fault{after}{lasts}: {words}")
        }
        Deed::Start(workload) => format!("start {}", fill(experiment, &workload.template, 0)),
        Deed::Set(template) => format!("set {}", fill(experiment, template, 0)),
        Deed::Stop(id) => format!("stop {id}"),
        Deed::Restart(id) => format!("restart {id}"),
        Deed::Enter => "its workloads start".into(),
    }
}

fn fill(experiment: &Experiment, template: &Template, index: usize) -> String {
    let count = |name: &str| experiment.roles.iter().find(|role| role.name == name).map_or(0, |role| role.count);
    let address = |name: &str, index: usize| {
        let before: usize = experiment.roles.iter().take_while(|role| role.name != name).map(|role| role.count).sum();
        u8::try_from(before + index).ok()?.checked_add(11).map(|last| Ipv4Addr::new(10, 77, 0, last))
    };
    template.fill(index, &address, &count)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_plan_names_every_node_event_and_expectation() {
        let text = include_str!("../../experiments/pipeline-worker-lost.toml");
        let shown = show(&Experiment::read(text).unwrap());
        for part in [
            "pipeline-worker-lost: 5 nodes, 27s, seed 7",
            "  worker[1]\n    worker     pipeline stage=worker from=10.77.0.12 to=10.77.0.11 time=3ms id=worker",
            "       2s  run for 15s",
            "       5s  worker[1]: fault, for 3s: partition for=3s seed=7000",
            "      11s  worker[0]: fault: reset",
            "or until all of source have finished",
            "  lost == 0\n",
            "void when under_voltage",
        ] {
            assert!(shown.contains(part), "no {part:?} in\n{shown}");
        }
    }
}
