//! Which node gets which part, and why none does.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;
use crate::fleet::tests::{Origin, look, node};

fn candidate(number: u8, board: &str) -> Candidate {
    Candidate { node: node(&format!("pi-{number}"), number), look: Ok(Look { board: board.into(), ..look() }) }
}

fn experiment(roles: &str) -> Experiment {
    let rest = "[[phases]]\nname = \"run\"\nfor = \"1s\"\n[expect]\nthat = [\"errors == 0\"]\n";
    Experiment::read(&format!("name = \"x\"\n{roles}\n{rest}")).unwrap()
}

fn parts(crew: &Crew<'_>) -> Vec<String> {
    (0..crew.members.len()).map(|at| crew.label(at)).collect()
}

#[test]
fn parts_are_given_in_order_and_to_whom_they_fit() {
    let x = experiment("[roles.a]\ncount = 2\nhealth = \"any\"\n[roles.b]\nboard = \"pi 4\"\nhealth = \"any\"");
    let nodes = [candidate(1, "Raspberry Pi 4B"), candidate(2, "Raspberry Pi 3B"), candidate(3, "Raspberry Pi 3B")];
    assert_eq!(parts(&assign(&x, &nodes).unwrap()), ["a[0] (pi-3)", "a[1] (pi-2)", "b (pi-1)"]);
    let named = experiment("[roles.a]\nnodes = [\"pi-3\"]\nhealth = \"any\"\n[roles.b]\nhealth = \"any\"");
    assert_eq!(parts(&assign(&named, &nodes).unwrap()), ["a (pi-3)", "b (pi-1)"]);
}

#[test]
fn a_role_without_enough_nodes_is_named_with_the_reasons() {
    let x = experiment("[roles.a]\nhealth = \"any\"\n[roles.b]\ncount = 3\nboard = \"4B\"\nhealth = \"any\"");
    let mut nodes = vec![candidate(1, "Pi 4B"), candidate(2, "Pi 3B"), candidate(3, "Pi 3B")];
    nodes[2].look = Err("no answer within 3 s".into());
    let error = assign(&x, &nodes).unwrap_err().to_string();
    assert!(error.contains("role b needs 3 nodes, and 2 are missing"), "{error}");
    assert!(error.contains("pi-2 is a Pi 3B, not a 4B; pi-3 does not answer: no answer within 3 s"), "{error}");
    assert!(error.contains("--up"), "{error}");
    let sick = experiment("[roles.a]");
    assert!(assign(&sick, &nodes[..1]).unwrap_err().to_string().contains("pi-1 is not well: throttled"));
}

#[test]
fn nodes_of_two_networks_are_not_mixed() {
    let x = experiment("[roles.a]\ncount = 2\nhealth = \"any\"");
    let mut nodes: Vec<_> = (1..=4).map(|number| candidate(number, "Pi 3B")).collect();
    nodes[3].node.origin = Origin::Lan;
    assert!(parts(&assign(&x, &nodes).unwrap()).iter().all(|part| !part.contains("pi-4")));
    nodes[2].node.origin = Origin::Lan;
    let error = assign(&x, &nodes).unwrap_err().to_string();
    assert!(error.contains("lan or rack test could be meant"), "{error}");
}
