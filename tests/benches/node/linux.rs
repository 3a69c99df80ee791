//! What a user would run otherwise: Linux for arm64 with lighttpd and redis-server on the same virtual board.
//!
//! It is made of Debian's packages, which are fetched once and kept in `target/linux-guest`: kernel, modules, busybox, the
//! servers and their libraries, in an initramfs whose only script is `linux/init.sh`. Nothing is installed.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use initramfs::Writer;
use qemu::apt::{self, world::World};
use qemu::{Network, Node, NodeConfig};
use tests::lab::say;
use tests::node::kit;

/// The guest's packages. Kernel and libraries are what these depend on.
const PACKAGES: [&str; 4] = ["linux-image-arm64", "busybox-static", "lighttpd", "redis-server"];
/// Where Debian's packages have what the guest runs.
const PROGRAMS: [(&str, &str); 3] =
    [("busybox", "bin/busybox"), ("lighttpd", "usr/sbin/lighttpd"), ("redis-server", "usr/bin/redis-check-rdb")];
/// Where they have libraries.
const LIBRARIES: [&str; 2] = ["lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"];
/// Modules of Linux in the order in which they need each other: USB, its DWC2, and the two drivers for usb-net.
const MODULES: [&str; 11] = [
    "usb-common",
    "usbcore",
    "udc-core",
    "roles",
    "ulpi",
    "phy-generic",
    "dwc2",
    "mii",
    "usbnet",
    "cdc_ether",
    "rndis_host",
];
/// Board, as Linux calls it.
const TREE: &str = "bcm2837-rpi-3-b.dtb";
/// Longest that Linux may take to come up on a machine that is busy with other things.
const BOOT: Duration = Duration::from_secs(180);

/// Linux's files.
#[derive(Debug)]
pub(crate) struct Guest {
    folder: PathBuf,
}

impl Guest {
    /// Fetches the packages, if they were not fetched before.
    ///
    /// # Errors
    /// Where Debian's packages can't be had, or are not what they were.
    pub(crate) fn fetch() -> Result<Self> {
        let folder = qemu::build::workspace_root()?.join("target/linux-guest");
        if !folder.is_dir() {
            say("fetching Linux, lighttpd and redis-server for arm64 from Debian (95 MB)");
            let world = World::new(&apt::debian_mirror()?)?;
            let system = world.download_with_dependencies(&PACKAGES)?;
            let staged = tempfile::Builder::new().prefix("guest-").tempdir_in(folder.with_file_name(""))?;
            collect(&system, staged.path())?;
            fs::rename(staged.keep(), &folder).with_context(|| format!("{} can't be made", folder.display()))?;
        }
        Ok(Self { folder })
    }

    /// Starts Linux with `address` on the wire `device`, serving a page of `body` bytes at `/file`; waits until it is up.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start(&self, device: &str, address: Ipv4Addr, body: usize) -> Result<Node> {
        let init = include_str!("linux/init.sh")
            .replace("MODULES", &MODULES.join(" "))
            .replace("ADDRESS", &address.to_string())
            .replace("BODY", &body.to_string());
        let mut archive = Writer::default();
        archive.add("init", 0o755, init.as_bytes());
        for file in fs::read_dir(self.folder.join("files"))?.flatten() {
            archive.add(&file.file_name().to_string_lossy(), 0o755, &fs::read(file.path())?);
        }
        let initramfs = self.folder.join("initramfs");
        fs::write(&initramfs, archive.finish())?;

        let mut config = NodeConfig::new(self.folder.join("vmlinuz"));
        // The board's console is the mini UART.
        config.command_line = "console=ttyS1,115200 loglevel=3".into();
        config.mini_uart = true;
        config.initramfs = Some(initramfs);
        config.network = Network::Tap { ifname: device.to_owned() };
        config.extra.extend(["-dtb".into(), self.folder.join(TREE).into()]);
        let node = Node::start(&kit()?.qemu, config)?;
        let console = node.mini_uart().context("no mini UART")?;
        console.wait_for("guest is up", BOOT).with_context(|| console.last_lines(40).join("\n"))?;
        Ok(node)
    }
}

/// Copies what the guest needs from an unpacked system.
fn collect(system: &Path, into: &Path) -> Result<()> {
    let boot = first(&system.join("boot"), |name| name.starts_with("vmlinuz-"))?;
    fs::copy(&boot, into.join("vmlinuz"))?;
    let trees = first(&system.join("usr/lib"), |name| name.starts_with("linux-image-"))?;
    fs::copy(trees.join("broadcom").join(TREE), into.join(TREE)).context(TREE)?;

    let files = into.join("files");
    fs::create_dir(&files)?;
    let modules = first(&system.join("lib/modules"), |_| true)?.join("kernel");
    for module in MODULES {
        let name = format!("{module}.ko");
        let found = find(&modules, &name)?.with_context(|| format!("this Linux has no module {name}"))?;
        fs::copy(found, files.join(name))?;
    }
    let mut needed = BTreeSet::new();
    for (name, path) in PROGRAMS {
        let program = system.join(path);
        fs::copy(&program, files.join(name)).with_context(|| format!("no {path} in Debian's packages"))?;
        add_libraries(system, &program, &mut needed)?;
    }
    for library in needed {
        fs::copy(library_path(system, &library)?, files.join(library))?;
    }
    Ok(())
}

/// Adds the libraries that a program needs, and those that they need.
fn add_libraries(system: &Path, program: &Path, needed: &mut BTreeSet<String>) -> Result<()> {
    let output = Command::new("readelf").arg("-d").arg(program).output().context("running readelf (binutils)")?;
    ensure!(output.status.success(), "readelf: {}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains("(NEEDED)")) {
        let name = line.split(['[', ']']).nth(1).with_context(|| line.to_owned())?;
        if needed.insert(name.to_owned()) {
            add_libraries(system, &library_path(system, name)?, needed)?;
        }
    }
    Ok(())
}

fn library_path(system: &Path, name: &str) -> Result<PathBuf> {
    let found = LIBRARIES.iter().map(|folder| system.join(folder).join(name)).find(|path| path.exists());
    found.with_context(|| format!("no package brings {name}"))
}

/// Returns an entry of a directory with a name that is wanted.
fn first(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("Debian's packages have no {}", folder.display()))?;
    let mut names = entries.flatten().filter(|entry| is_wanted(&entry.file_name().to_string_lossy()));
    Ok(names.next().with_context(|| format!("nothing that fits in {}", folder.display()))?.path())
}

/// Looks for a file below a directory.
fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_name() == name {
            return Ok(Some(entry.path()));
        }
        if entry.file_type()?.is_dir()
            && let Some(found) = find(&entry.path(), name)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
