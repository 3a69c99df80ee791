//! The promises of the architecture that can be read from the sources: which package may know which, where `unsafe` may
//! be, and that no table forgets an entry.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Packages of the host: nothing on a node may depend on them.
const HOST: [&str; 5] = ["fuzz", "qemu", "rack", "tests", "wallclock"];
/// Packages that exist only on a Pi: only the kernel may depend on them.
const IMAGE: [&str; 2] = ["boot", "kernel"];
/// Packages that may contain `unsafe` (CONVENTIONS: cpu, memory and board modules, DMA memory, registers, fakes; what
/// macros of embassy-time and libfuzzer make).
const UNSAFE: [&str; 7] = ["boot", "kernel", "hal", "rpi-pac", "testkit", "wallclock", "fuzz"];
/// Where in the kernel `unsafe` may be.
const UNSAFE_KERNEL: [&str; 3] = ["cpu", "mem", "board"];
/// The lowest layer: facts, registers and seams know nothing of what is built on them.
const GROUND: [&str; 4] = ["hal", "boards", "rpi-pac", "wire"];
/// Whom a package must not know, directly or through others.
const FORBIDDEN: [(&str, &[&str]); 11] = [
    ("net", &["usb", "drivers", "telemetry", "workload", "shell", "rpi-pac", "boards"]),
    ("telemetry", &["smoltcp", "net", "nic", "usb", "drivers", "workload", "shell", "rpi-pac"]),
    ("workload", &["smoltcp", "net", "nic", "usb", "drivers", "shell", "rpi-pac"]),
    ("sockets", &["smoltcp", "net", "nic", "usb", "drivers", "telemetry", "workload", "shell", "rpi-pac", "boards"]),
    ("fault", &["smoltcp", "net", "nic", "usb", "drivers", "telemetry", "workload", "shell", "rpi-pac", "boards"]),
    ("shell", &["smoltcp", "net", "nic", "usb", "drivers", "rpi-pac"]),
    ("ssh", &["smoltcp", "net", "nic", "usb", "drivers", "telemetry", "workload", "shell", "rpi-pac", "boards"]),
    ("nic", &["smoltcp", "net", "telemetry", "workload", "shell", "boards"]),
    ("usb", &["smoltcp", "net", "nic", "telemetry", "workload", "shell", "boards"]),
    ("drivers", &["smoltcp", "net", "nic", "usb", "telemetry", "workload", "shell"]),
    ("crash", &["smoltcp", "net", "nic", "usb", "drivers", "telemetry", "workload", "shell"]),
];
/// Longest file, without its tests.
const LINES_MAX: usize = 600;

struct Package {
    folder: PathBuf,
    /// Normal dependencies, workspace members and others.
    needs: BTreeSet<String>,
}

fn workspace() -> Result<BTreeMap<String, Package>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version=1", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .context("running cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let mut packages = BTreeMap::new();
    for package in metadata["packages"].as_array().context("no packages")? {
        let name = package["name"].as_str().context("no name")?.to_owned();
        let manifest = Path::new(package["manifest_path"].as_str().context("no manifest")?);
        let needs = package["dependencies"]
            .as_array()
            .context("no dependencies")?
            .iter()
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
            .collect();
        let folder = manifest.parent().context("no folder")?.to_owned();
        packages.insert(name, Package { folder, needs });
    }
    Ok(packages)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns whom a package knows, directly or through other packages of the workspace.
fn knows<'a>(packages: &'a BTreeMap<String, Package>, name: &str) -> BTreeSet<&'a str> {
    let mut known = BTreeSet::new();
    let mut next = vec![name];
    while let Some(package) = next.pop().and_then(|name| packages.get(name)) {
        for need in &package.needs {
            if known.insert(need.as_str()) {
                next.push(need);
            }
        }
    }
    known
}

/// Returns the Rust files below a folder with their text.
fn sources(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path)?;
                files.push((path, text));
            }
        }
    }
    Ok(files)
}

/// Returns the code of a file in front of its unit tests, without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end].lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn fail_if_any(what: &str, found: &[String]) {
    if !found.is_empty() {
        panic!("{what}:\n  {}", found.join("\n  "));
    }
}

#[test]
fn dependencies_point_down() -> Result<()> {
    let packages = workspace()?;
    let mut wrong = Vec::new();
    for (name, package) in &packages {
        let is_host = HOST.contains(&name.as_str());
        let known = knows(&packages, name);
        if !is_host {
            wrong.extend(HOST.iter().filter(|host| known.contains(*host)).map(|host| format!("{name} -> {host}")));
        }
        if name != "kernel" {
            let image = IMAGE.iter().filter(|image| package.needs.contains(**image));
            wrong.extend(image.map(|image| format!("{name} -> {image}")));
        }
        if !["testkit", "fuzz"].contains(&name.as_str()) && known.contains("testkit") {
            wrong.push(format!("{name} -> testkit, outside of its tests"));
        }
        if name != "testkit" && !is_host && known.contains("usb-models") {
            wrong.push(format!("{name} -> usb-models, outside of its tests"));
        }
        if GROUND.contains(&name.as_str()) {
            let up = known.iter().filter(|need| packages.contains_key(**need) && !GROUND.contains(*need));
            wrong.extend(up.map(|need| format!("{name} -> {need}")));
        }
    }
    for (name, forbidden) in FORBIDDEN {
        let known = knows(&packages, name);
        wrong.extend(forbidden.iter().filter(|need| known.contains(*need)).map(|need| format!("{name} -> {need}")));
    }
    fail_if_any("packages that know what they must not", &wrong);
    Ok(())
}

#[test]
fn every_package_named_in_the_rules_exists() -> Result<()> {
    let packages = workspace()?;
    let mut missing: Vec<_> = FORBIDDEN.iter().map(|(name, _)| *name).collect();
    missing.extend(HOST.iter().chain(&IMAGE).chain(&UNSAFE));
    missing.retain(|name| !packages.contains_key(*name));
    assert!(missing.is_empty(), "rules for packages that do not exist: {missing:?}");
    Ok(())
}

#[test]
fn the_network_stack_does_not_know_which_nic_it_has() -> Result<()> {
    let packages = workspace()?;
    let mut wrong = Vec::new();
    let drivers = sources(&packages["nic"].folder.join("src"))?
        .iter()
        .filter_map(|(path, _)| path.file_stem()?.to_str().map(str::to_owned))
        .filter(|module| !["lib", "exchange"].contains(&module.as_str()))
        .collect::<Vec<_>>();
    for (path, text) in sources(&packages["net"].folder.join("src"))? {
        for line in code(&text) {
            if drivers.iter().any(|driver| line.contains(&format!("nic::{driver}"))) {
                wrong.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    fail_if_any("net names a NIC's driver", &wrong);
    Ok(())
}

#[test]
fn every_usb_nic_is_in_the_table_of_drivers() -> Result<()> {
    let folder = workspace()?["nic"].folder.join("src");
    let table = std::fs::read_to_string(folder.join("usbnet.rs"))?;
    let mut missing = Vec::new();
    for (path, text) in sources(&folder)? {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_driver = path.parent() == Some(&folder) && text.contains("pub(crate) fn rate(");
        if is_driver && !table.contains(&format!("\n    {name}: ")) {
            missing.push(name.to_owned());
        }
    }
    fail_if_any("USB NICs that usbnet.rs does not list", &missing);
    assert!(table.contains("drivers! {"), "the table is no longer in usbnet.rs");
    Ok(())
}

#[test]
fn unsafe_code_is_where_it_may_be() -> Result<()> {
    let packages = workspace()?;
    let mut wrong = Vec::new();
    for (name, package) in &packages {
        if UNSAFE.contains(&name.as_str()) {
            continue;
        }
        let crate_root = ["src/lib.rs", "src/main.rs"].map(|path| package.folder.join(path));
        let texts: Vec<_> = crate_root.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
        if texts.is_empty() || texts.iter().any(|text| !text.contains("#![forbid(unsafe_code)]")) {
            wrong.push(format!("{name} does not forbid unsafe code"));
        }
    }
    let kernel = packages["kernel"].folder.join("src");
    for (path, text) in sources(&kernel)? {
        let module = path.strip_prefix(&kernel)?.with_extension("");
        let top = module.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let is_allowed = top.is_some_and(|top| UNSAFE_KERNEL.contains(&top.as_str()));
        if !is_allowed
            && code(&text).any(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe"))
        {
            wrong.push(format!("{}: unsafe outside of {UNSAFE_KERNEL:?}", path.display()));
        }
    }
    fail_if_any("unsafe code", &wrong);
    Ok(())
}

#[test]
fn every_package_takes_lints_and_versions_from_the_workspace() -> Result<()> {
    let mut wrong = Vec::new();
    for (name, package) in workspace()? {
        let manifest = std::fs::read_to_string(package.folder.join("Cargo.toml"))?;
        if !manifest.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{name} does not take the workspace's lints"));
        }
        let mut is_dependencies = false;
        for line in manifest.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            if line.starts_with('[') {
                is_dependencies = line.ends_with("dependencies]");
            } else if is_dependencies && line.contains('=') && !line.contains("workspace = true") {
                wrong.push(format!("{name} has a version of its own: {line}"));
            }
        }
    }
    fail_if_any("manifests", &wrong);
    Ok(())
}

#[test]
fn every_test_of_the_image_runs_on_both_boards_or_says_why_not() -> Result<()> {
    let folder = workspace()?["tests"].folder.clone();
    let lists = ["it/main.rs", "raspi4b.rs"].map(|list| (list, std::fs::read_to_string(folder.join(list))));
    let mut missing = Vec::new();
    for (path, _) in sources(&folder.join("it"))? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.parent() != Some(&folder.join("it")) || name == "main.rs" {
            continue;
        }
        let module = name.trim_end_matches(".rs");
        for (list, text) in &lists {
            let text = text.as_ref().map_err(|error| anyhow::anyhow!("{list}: {error}"))?;
            if !text.contains(&format!("mod {module};")) && !text.contains(&format!("it/{name}")) {
                missing.push(format!("{name} in {list}"));
            }
        }
    }
    fail_if_any("tests that are neither there nor explained", &missing);
    Ok(())
}

#[test]
fn files_are_nouns_and_not_too_long() -> Result<()> {
    let mut wrong = Vec::new();
    for package in workspace()?.values() {
        for (path, text) in sources(&package.folder)? {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if ["mod", "utils", "util", "common", "helpers", "misc"].contains(&stem) {
                wrong.push(format!("{}: a name that says nothing", path.display()));
            }
            let lines = code(&text).count();
            if lines > LINES_MAX {
                wrong.push(format!("{}: {lines} lines", path.display()));
            }
            if !text.starts_with("//!") {
                wrong.push(format!("{}: no //! that says what it is", path.display()));
            }
        }
    }
    fail_if_any("files", &wrong);
    Ok(())
}
