//! What a node is told at boot by files: node.toml, keys and others in an archive that QEMU, or a firmware, leaves in its memory.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use initramfs::Writer;
use qemu::NodeConfig;
use qemu::firmware::Firmware;
use tempfile::TempDir;
use tests::dhcp::{DhcpServer, Policy};
use tests::lab::{HOST, Lab, Wire, say};
use tests::node::{self, BOOT, PATIENCE, Rig, TestNode};
use tests::wait;

/// A key as ssh-keygen writes it.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER me@home\n";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";

/// Packs files as a user would: with cpio(1). Without that program our own writer has to do.
fn pack(directory: &TempDir, files: &[(&str, &str)]) -> Result<PathBuf> {
    let archive = directory.path().join("node.cpio");
    let names: String = files.iter().map(|(name, _)| format!("./{name}\n")).collect();
    for (name, content) in files {
        fs::write(directory.path().join(name), content)?;
    }
    let mut cpio = Command::new("cpio");
    cpio.args(["-o", "-H", "newc", "--quiet"]).current_dir(directory.path()).stdin(Stdio::piped());
    let Ok(mut child) = cpio.stdout(fs::File::create(&archive)?).spawn() else {
        say("NOT TESTED (needs cpio): an archive that our own writer did not make");
        let mut writer = Writer::default();
        files.iter().for_each(|(name, content)| writer.add(name, 0o600, content.as_bytes()));
        fs::write(&archive, writer.finish())?;
        return Ok(archive);
    };
    child.stdin.take().context("cpio's input")?.write_all(names.as_bytes())?;
    ensure!(child.wait()?.success(), "cpio failed");
    Ok(archive)
}

/// Checks that each of these is part of a line on the console.
fn console_has(node: &TestNode, wanted: &[&str]) -> Result<()> {
    let lines = node.console().lines();
    for wanted in wanted {
        if !lines.iter().any(|line| line.contains(wanted)) {
            bail!("{wanted:?} is not on the console:\n{}", lines.join("\n"));
        }
    }
    Ok(())
}

#[test]
fn a_node_does_what_its_files_say_and_its_command_line_overrides_them() -> Result<()> {
    let Some(lab) = Lab::private("a node.toml with a static address")? else { return Ok(()) };
    let dhcp = DhcpServer::start(Policy::default())?;
    let directory = TempDir::new()?;
    let toml = format!(
        "# A comment.\r\n[node]\nname = \"web-1\"\nreport = 3600\n\n[network]\nip = '10.77.0.99/24,{HOST}'\n\n\
         [services]\nhttp = true\nmdns = false\n\n[sinks]\napi = false\n\n[[workload]]\nname = 'cpu'\nload = '5%'\ncores = '2'\n"
    );
    let files = [("node.toml", &*toml), ("authorized_keys", KEY), ("rack.key", SECRET), ("data.txt", "0123456789")];
    let archive = pack(&directory, &files)?;
    let mut node = TestNode::start_with(&lab, "name=web-2", |config| config.initramfs = Some(archive))?;
    let address = Ipv4Addr::new(10, 77, 0, 99);
    node.set_address(address);
    node.wait_until_up()?;
    ensure!(node::ping(address, 3, 56)? == 3, "ping of the static address");
    ensure!(dhcp.received().is_empty(), "asked for an address all the same: {:?}", dhcp.received());
    let sizes = format!("initramfs: node.toml, {} bytes", toml.len());
    console_has(&node, &[&sizes, "initramfs: data.txt, 10 bytes"])?;
    let said = node.console().lines().join("\n");
    ensure!(!said.contains("ignored") && !said.contains("read-only"), "{said}");
    ensure!(!said.contains("0123456789abcdef"), "the rack secret is on the console:\n{said}");
    wait::until("the name of the command line", PATIENCE, || {
        Ok(node.get("/")?.text().contains("web-2").then_some(()))
    })?;
    let refused = node.get("/api/v1")?;
    ensure!(refused.status == 404 && refused.text().contains("api=off"), "the API is switched off: {refused:?}");
    let labels = [("core", "2"), ("workload", "cpu")];
    node.wait_for_metric("work of the workload", PATIENCE, |metrics| {
        Ok((metrics.sum("minipirack_workload_operations_total", &labels) > 0.0).then_some(1.0))
    })?;
    Ok(())
}

#[test]
fn a_bad_file_is_reported_by_line_and_key_and_the_node_comes_up() -> Result<()> {
    let directory = TempDir::new()?;
    let toml = "[node]\nnmae = 'x'\nname = 'good'\nlog = 'loud'\nreport = 5 5\n[netwrk]\n[services]\nhttp = false\n\
                [access]\nrack-secret = '5ecret'\n[[workload]]\nname = 'sing'\n";
    let archive = pack(&directory, &[("node.toml", toml), ("authorized_keys", "ssh-rsa AAAAB3 me\n")])?;
    let mut bytes = fs::read(&archive)?;
    bytes.extend_from_slice(b"rubbish");
    fs::write(&archive, bytes)?;
    let rig = Rig::boot_in(Lab::new()?, "", |config| config.initramfs = Some(archive))?;
    let wanted = [
        "node.toml, line 2: nmae=x ignored: unknown key; did you mean name?",
        "node.toml, line 4: log=loud ignored: no such choice; allowed: error, warn, info, debug or trace",
        "node.toml, line 5, column ",
        "node.toml, line 6: [netwrk] ignored: unknown table; did you mean network?",
        "node.toml, line 10: rack-secret=... ignored: not a rack secret",
        "authorized_keys, line 1: ssh-key=ssh-rsa ignored: not a public Ed25519 key",
        "node.toml, line 12: workload=sing ignored",
        "no cpio entry at byte ",
        "read-only: no SSH key was given",
    ];
    console_has(&rig.node, &wanted)?;
    rig.node.console().wait_for_prompt("good> ", PATIENCE)?;
    let said = rig.node.console().lines().join("\n");
    ensure!(!said.contains("5ecret"), "a secret is on the console:\n{said}");
    // What was right counts: there is no HTTP server. QEMU's own network would accept in the node's place.
    if rig.lab.wire() == Wire::Tap {
        let refused = TcpStream::connect_timeout(&rig.node.tcp(80)?, Duration::from_secs(5)).err();
        ensure!(
            refused.as_ref().is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused),
            "port 80: {refused:?}"
        );
    }
    Ok(())
}

/// Where a firmware may leave things.
struct Places {
    initramfs: u32,
    device_tree: u32,
}

/// Boots by a firmware that leaves an initramfs and a device tree at these places.
fn boot_with(places: &Places) -> Result<Rig> {
    let directory = TempDir::new()?;
    let archive = pack(&directory, &[("node.toml", "[node]\nname = 'from-file'\n"), ("authorized_keys", KEY)])?;
    let tree = directory.path().join("board.dtb");
    let len = u32::try_from(fs::metadata(&archive)?.len())?;
    fs::write(&tree, device_tree(places.initramfs, places.initramfs + len)?)?;
    let load = |file: &Path, address: u32| format!("loader,file={},addr={address:#x},force-raw=on", file.display());
    let change = |config: &mut NodeConfig| {
        config.firmware = Some(Firmware { device_tree: places.device_tree, ..Firmware::default() });
        for argument in [load(&archive, places.initramfs), load(&tree, places.device_tree)] {
            config.extra.extend(["-device".into(), argument.into()]);
        }
    };
    Rig::boot_in(Lab::new()?, "", change)
}

/// Returns a device tree with a command line and an initramfs, as the firmware of a Pi fills one in.
fn device_tree(start: u32, end: u32) -> Result<Vec<u8>> {
    let property = |name: &str, value: &[u8]| DeviceTreeProperty::new(name, value).context("a property");
    let mut chosen = DeviceTreeNode::new("chosen").context("a node")?;
    chosen.add_property(property("bootargs", b"log=debug console=tty1\0")?);
    chosen.add_property(property("linux,initrd-start", &start.to_be_bytes())?);
    chosen.add_property(property("linux,initrd-end", &end.to_be_bytes())?);
    let mut tree = DeviceTree::new();
    tree.root.add_property(property("model", b"Test Board\0")?);
    tree.root.add_child(chosen);
    Ok(tree.to_dtb())
}

#[test]
fn what_the_firmware_left_in_the_nodes_own_memory_is_found() -> Result<()> {
    let file_end = 0x80000 + u32::try_from(fs::metadata(&node::kit()?.image)?.len())?;
    let cases = [
        // Right behind the file of the image, as firmware may take "followkernel", and the device tree behind that.
        Places { initramfs: file_end, device_tree: file_end + 0x1000 },
        // Where the heap and the buffers of devices will be.
        Places { initramfs: 0x0123_4567, device_tree: 0x60_0000 },
    ];
    for places in cases {
        let rig = boot_with(&places)?;
        rig.node.console().wait_for_prompt("from-file> ", BOOT)?;
        console_has(&rig.node, &["on Test Board", "initramfs: node.toml, 26 bytes"])?;
        let said = rig.node.console().lines().join("\n");
        ensure!(!said.contains("ignored") && !said.contains("no device tree"), "{said}");
    }
    Ok(())
}

#[test]
fn an_initramfs_that_was_overwritten_is_told_and_the_node_comes_up() -> Result<()> {
    // On the stacks.
    let rig = boot_with(&Places { initramfs: 0x30_0000, device_tree: 0x0800_0000 })?;
    console_has(&rig.node, &["the initramfs at 0x300000 is lost", "initramfs node.cpio 0x08000000", "on Test Board"])?;
    rig.node.console().wait_for_prompt(&format!("{}> ", node::NAME), PATIENCE)?;
    Ok(())
}
