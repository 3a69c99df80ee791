//! Nodes on a wire, found by mDNS as boards are, of two racks that do not know of each other.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use qemu::{Network, NodeConfig};
use serde_json::Value;
use tests::lab::{Lab, port};
use tests::node::TestNode;
use tests::openssh::User;
use tests::slots;

/// The secret of one of the racks.
const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A node at a port of the switch, with an address and an Ethernet address of its own.
fn node(lab: &Lab, slot: slots::Slot, index: u8, command_line: &str) -> Result<TestNode> {
    let address = Ipv4Addr::new(10, 77, 0, 60 + index);
    let place = |config: &mut NodeConfig| {
        config.network = Network::Tap { ifname: port(usize::from(index)) };
        if let Some(nic) = &mut config.nic {
            nic.mac[5] = index;
        }
    };
    let mut node = TestNode::start_in(lab, slot, &format!("ip={address}/24 {command_line}"), place)?;
    node.set_address(address);
    Ok(node)
}

/// Runs the tool in the network of this thread; returns whether it succeeded, what it printed, and what it complained of.
fn rack(user: &User, arguments: &[&str]) -> Result<(bool, String, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rack"));
    // Virtual racks, agents and keys of whoever runs the test are none of its business.
    command.env("HOME", user.path("")).env_remove("XDG_CONFIG_HOME").env("XDG_RUNTIME_DIR", user.path(""));
    command.env_remove("SSH_AUTH_SOCK");
    let output = command.args(arguments).stdin(Stdio::null()).output().context("running the tool")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn nodes_on_the_network_are_found_told_and_told_apart() -> Result<()> {
    let Some(lab) = Lab::switched(2, "the tool's commands for nodes on the network")? else { return Ok(()) };
    let user = User::new()?;
    let [first, second] = slots::take_several()?;
    let key = user.setting()?;
    let ours = node(&lab, first, 0, &format!("name=ours {key} rack-secret={SECRET}"))?;
    let theirs = node(&lab, second, 1, &format!("name=theirs {key}"))?;
    ours.wait_until_up()?;
    theirs.wait_until_up()?;
    let secret = user.path("secret");
    std::fs::write(&secret, SECRET)?;
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let (secret, identity) = (secret.to_string_lossy(), user.path("good"));
    let identity = identity.to_string_lossy();

    // Both are found, and it is told that one of them is not of this rack.
    let (is_well, out, errors) = rack(&user, &["ls", "--lan", "--json", "--rack-secret", &secret])?;
    let list: Value = serde_json::from_str(&out).with_context(|| format!("{out}{errors}"))?;
    let nodes = list["nodes"].as_array().context("no nodes")?;
    ensure!(is_well && nodes.len() == 2, "{list}{errors}");
    for (node, (name, address)) in nodes.iter().zip([("ours", "10.77.0.60"), ("theirs", "10.77.0.61")]) {
        let is_right = node["node"] == name && node["address"] == address && node["origin"] == "lan";
        ensure!(is_right && node["error"].is_null() && node["version"].is_string(), "{node}");
    }
    let warnings = list["warnings"].to_string();
    ensure!(warnings.contains("two racks on one network? The host key of theirs does not follow"), "{warnings}");

    let login = ["run", "--lan", "--identity", &identity];
    let (is_done, out, errors) = rack(&user, &[&login[..], &["--all", "status"]].concat())?;
    ensure!(is_done && out.contains("name      ours") && out.contains("name      theirs"), "{out}{errors}");

    // Who does not have the secret is not spoken to.
    let login = ["run", "--lan", "--identity", &identity, "--rack-secret", &secret];
    let (is_done, out, errors) = rack(&user, &[&login[..], &["ours", "status"]].concat())?;
    ensure!(is_done && out.contains("name      ours"), "{out}{errors}");
    let (is_done, _, errors) = rack(&user, &[&login[..], &["theirs", "status"]].concat())?;
    ensure!(!is_done && errors.contains("theirs: error: its host key is another one"), "{errors}");
    Ok(())
}
