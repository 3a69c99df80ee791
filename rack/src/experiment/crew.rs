//! The nodes of an experiment, each with its part in it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::file::{Experiment, Role, Target, Template};
use crate::fleet::{Look, Node};

/// A node with its part.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Its role, by its place in the file.
    pub(super) role: usize,
    /// Its number within the role.
    pub(super) index: usize,
    pub(super) node: Node,
    /// How it was before the run.
    pub(super) look: Look,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Crew<'e> {
    pub(super) experiment: &'e Experiment,
    /// Role after role, in the order of the file.
    pub(super) members: Vec<Member>,
}

impl<'e> Crew<'e> {
    pub(super) fn role(&self, member: &Member) -> &'e Role {
        &self.experiment.roles[member.role]
    }

    /// Returns what people call a member: `worker[1] (pi-123457)`.
    pub(super) fn label(&self, at: usize) -> String {
        let Some(member) = self.members.get(at) else { return String::new() };
        format!("{} ({})", self.part(at), member.node.name)
    }

    /// Returns a member's part: `worker[1]`, or `sink` where there is one only.
    pub(super) fn part(&self, at: usize) -> String {
        let Some(member) = self.members.get(at) else { return String::new() };
        let role = self.role(member);
        if role.count == 1 { role.name.clone() } else { format!("{}[{}]", role.name, member.index) }
    }

    /// Returns the members that are meant.
    pub(super) fn of(&self, target: &Target) -> Vec<usize> {
        let is_meant = |member: &Member| {
            self.role(member).name == target.role && target.index.is_none_or(|index| index == member.index)
        };
        self.members.iter().enumerate().filter(|(_, member)| is_meant(member)).map(|(at, _)| at).collect()
    }

    /// Returns the members of a role.
    pub(super) fn of_role(&self, role: &str) -> Vec<usize> {
        self.of(&Target { role: role.into(), index: None })
    }

    /// Returns a text of the file as it is for a member.
    pub(super) fn fill(&self, template: &Template, at: usize) -> String {
        let address = |role: &str, index: usize| {
            let member = self.members.iter().find(|member| self.role(member).name == role && member.index == index)?;
            address(&member.node)
        };
        let count = |role: &str| self.members.iter().filter(|member| self.role(member).name == role).count();
        template.fill(self.members.get(at).map_or(0, |member| member.index), &address, &count)
    }

    /// Returns a member's workloads: id, and the words of `workload start`.
    pub(super) fn workloads(&self, at: usize) -> Vec<(String, String)> {
        let Some(member) = self.members.get(at) else { return Vec::new() };
        let role = self.role(member);
        role.workloads.iter().map(|workload| (workload.id.clone(), self.fill(&workload.template, at))).collect()
    }
}

/// Returns the address by which nodes of an experiment know each other.
pub(super) fn address(node: &Node) -> Option<Ipv4Addr> {
    match node.address.ip() {
        IpAddr::V4(ip) if !ip.is_unspecified() => Some(ip),
        _ => None,
    }
}

/// Returns a time as it is shown: `12.3 s`.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
