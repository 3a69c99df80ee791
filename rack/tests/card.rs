//! Cards as other programs see them: fsck.vfat and mtools read them, and QEMU boots what is on them.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use qemu::{Machine, Network, Node, NodeConfig, Qemu};
use tempfile::TempDir;

const PARTITION_START: u64 = 4 << 20;
const SOON: Duration = Duration::from_secs(60);

fn say(line: &str) {
    // Past the test runner, which keeps what passing tests print to itself.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Files that look like the firmware's, each with other bytes.
fn made_up_firmware() -> TempDir {
    let directory = TempDir::new().unwrap();
    let names = [
        "bootcode.bin",
        "start.elf",
        "fixup.dat",
        "start4.elf",
        "fixup4.dat",
        "start_cd.elf",
        "bcm2710-rpi-3-b.dtb",
        "bcm2711-rpi-4-b.dtb",
        "LICENCE.broadcom",
    ];
    for (name, i) in names.iter().zip(1u32..) {
        let bytes: Vec<u8> = (0..i * 10_007).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 ^ i as u8).collect();
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

fn rack(arguments: &[&str]) -> Output {
    qemu::build::kernel(&mut |_| ()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_rack")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An image made by `rack image` in a directory of its own.
struct Card {
    directory: TempDir,
    messages: String,
}

impl Card {
    fn make(firmware: &Path, more: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let (out, firmware) = (directory.path().join("rack.img"), firmware.display().to_string());
        let arguments = ["image", "--no-build", "--out", out.to_str().unwrap(), "--firmware", &firmware];
        let output = rack(&[&arguments, more].concat());
        let messages = text(&output.stderr);
        assert!(output.status.success(), "{messages}");
        Self { directory, messages }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("rack.img")
    }

    /// Runs one of the mtools on it.
    fn mtool(&self, program: &str, arguments: &[&str]) -> Vec<u8> {
        let image = format!("{}@@{PARTITION_START}", self.path().display());
        let output = Command::new(program).arg("-i").arg(image).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {}", text(&output.stderr));
        output.stdout
    }

    /// Every file with its bytes, as mtools find them.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let listed = text(&self.mtool("mdir", &["-/", "-b", "::"]));
        let names = listed.lines().filter_map(|line| line.strip_prefix("::/")).filter(|name| !name.ends_with('/'));
        names.map(|name| (name.to_owned(), self.mtool("mcopy", &[&format!("::{name}"), "-"]))).collect()
    }

    /// Writes one of its files next to it.
    fn take_out(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, self.mtool("mcopy", &[&format!("::{name}"), "-"])).unwrap();
        path
    }
}

/// Returns whether the programs are here, and says what is not tested if not.
fn are_here(programs: &[&str], what: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let missing = programs.iter().find(|program| !path.split(':').any(|dir| Path::new(dir).join(program).is_file()));
    if let Some(program) = missing {
        say(&format!("NOT TESTED (needs {program}): {what}"));
    }
    missing.is_none()
}

/// The partition passes fsck.vfat without a word of complaint.
fn check_volume(card: &Card) {
    let partition = card.directory.path().join("partition");
    let mut image = File::open(card.path()).unwrap();
    image.seek(SeekFrom::Start(PARTITION_START)).unwrap();
    io::copy(&mut image, &mut File::create(&partition).unwrap()).unwrap();
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new("fsck.vfat").env("PATH", path).arg("-n").arg(&partition).output().unwrap();
    let lines = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && lines.lines().count() == 2, "{lines}");
    fs::remove_file(partition).unwrap();
}

/// Every file of the firmware is on the card as it was, and ours beside them.
fn check_files(card: &Card, firmware: &Path, command_line: &str) {
    let mut files = card.files();
    let has_archive = files.remove("node.cpio").is_some();
    let kernel = fs::read(qemu::build::existing().unwrap().packed).unwrap();
    assert!(files.remove("kernel8.img").unwrap() == kernel, "another kernel");
    assert_eq!(text(&files.remove("cmdline.txt").unwrap()), command_line);
    let config = text(&files.remove("config.txt").unwrap());
    for line in ["arm_64bit=1", "kernel=kernel8.img", "enable_uart=1", "[pi4]", "[cm4]"] {
        assert!(config.lines().any(|is| is == line), "no {line} in config.txt");
    }
    assert_eq!(config.lines().any(|is| is == "initramfs node.cpio followkernel"), has_archive);
    assert!(files.len() >= 5, "{:?}", files.keys());
    for (name, bytes) in files {
        let same = fs::read(firmware.join(&name)).is_ok_and(|original| original == bytes);
        let renamed = || {
            fs::read_dir(firmware).unwrap().any(|entry| fs::read(entry.unwrap().path()).is_ok_and(|file| file == bytes))
        };
        assert!(same || (name.ends_with(".dtb") && renamed()), "{name} differs from the firmware's");
    }
}

/// cpio(1) takes out of the archive what was put into it.
fn check_archive(card: &Card, expected: &[(&str, &str)]) {
    let directory = TempDir::new().unwrap();
    let archive = File::open(card.take_out("node.cpio")).unwrap();
    let mut cpio = Command::new("cpio");
    let output = cpio.args(["-i", "-d", "--quiet"]).current_dir(directory.path()).stdin(archive).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    for (name, content) in expected {
        assert_eq!(fs::read_to_string(directory.path().join(name)).unwrap(), *content, "{name}");
    }
    let mode = fs::metadata(directory.path().join("rack.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the secret's permissions");
}

/// QEMU boots the kernel that is on the card with the command line that is on it, and the archive and the device tree if there
/// are any.
fn boot(qemu: &Qemu, card: &Card, machine: Machine, tree: Option<&str>) -> Node {
    let mut config = NodeConfig::new(card.take_out("kernel8.img"));
    config.machine = machine;
    config.command_line = fs::read_to_string(card.take_out("cmdline.txt")).unwrap().trim_end().to_owned();
    config.network = Network::user();
    config.initramfs = card.files().contains_key("node.cpio").then(|| card.take_out("node.cpio"));
    if let Some(tree) = tree {
        config.extra = vec!["-dtb".into(), card.take_out(tree).into()];
    }
    let node = Node::start(qemu, config).unwrap();
    node.console().wait_for("booted in", SOON).unwrap();
    node
}

#[test]
fn a_card_is_what_fsck_and_mtools_expect_and_qemu_boots_its_kernel() {
    let (firmware, own) = (made_up_firmware(), TempDir::new().unwrap());
    let write = |name: &str, content: &str| {
        fs::write(own.path().join(name), content).unwrap();
        own.path().join(name).display().to_string()
    };
    let toml = "[node]\nname = 'from-file'\nreport = 60\n";
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER me@home\n";
    let secret = "0123456789abcdef".repeat(4) + "\n";
    let (toml_file, key_file) = (write("my.toml", toml), write("id.pub", key));
    let (secret_file, data_file) = (write("secret", &secret), write("data", "1, 2"));
    let more =
        ["--cmdline", "log=debug", "--config", &toml_file, "--ssh-key", &key_file, "--rack-secret", &secret_file];
    let card = Card::make(firmware.path(), &[&more[..], &["--file", &data_file]].concat());
    assert!(!card.messages.contains("0123456789abcdef"), "{}", card.messages);
    assert!(card.messages.contains("others can read"), "{}", card.messages);
    let mode = fs::metadata(card.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "an image with a secret is for its owner only");
    if are_here(&["fsck.vfat"], "the volume of a card") {
        check_volume(&card);
    }
    if !are_here(&["mdir", "mcopy"], "the files of a card") {
        return;
    }
    check_files(&card, firmware.path(), "log=debug\n");
    if are_here(&["cpio"], "the archive on a card") {
        let expected =
            [("node.toml", toml), ("authorized_keys", key), ("rack.key", secret.as_str()), ("files/data", "1, 2")];
        check_archive(&card, &expected);
    }
    let qemu = Qemu::find_or_install(&mut |_| ()).unwrap();
    for machine in Machine::ALL {
        if qemu.require(machine).is_err() {
            say(&format!("NOT TESTED (needs QEMU 9): a card's kernel on {machine}"));
            continue;
        }
        let node = boot(&qemu, &card, machine, None);
        node.console().wait_for_prompt("from-file> ", SOON).unwrap();
        let said = node.console().lines().join("\n");
        assert!(said.contains("initramfs: files/data, 4 bytes") && !said.contains("ignored"), "{said}");
        assert!(!said.contains("read-only"), "{said}");
    }
}

#[test]
fn the_same_inputs_give_the_same_image() {
    let firmware = made_up_firmware();
    let (one, two) = (Card::make(firmware.path(), &[]), Card::make(firmware.path(), &[]));
    assert!(fs::read(one.path()).unwrap() == fs::read(two.path()).unwrap());
    let other = Card::make(firmware.path(), &["--cmdline", "name=b"]);
    assert!(fs::read(one.path()).unwrap() != fs::read(other.path()).unwrap());
}

/// With the firmware that `rack image` has got from Debian, when it has.
#[test]
fn a_card_with_the_real_firmware_is_read_alike_and_the_kernel_takes_its_device_tree() {
    let firmware = qemu::build::kernel(&mut |_| ()).unwrap().image.with_file_name("raspi-firmware");
    if !firmware.is_dir() {
        return say(
            "NOT TESTED (needs the Pi's firmware; `cargo run -- image` gets it): a card with the real firmware",
        );
    }
    if !are_here(&["fsck.vfat", "mdir", "mcopy"], "a card with the real firmware") {
        return;
    }
    let own = TempDir::new().unwrap();
    let toml = own.path().join("node.toml");
    fs::write(&toml, "[node]\nname = \"real\"\n").unwrap();
    let card = Card::make(&firmware, &["--cmdline", "log=debug", "--config", toml.to_str().unwrap()]);
    check_volume(&card);
    check_files(&card, &firmware, "log=debug\n");
    // Both loaders that the boards need are programs of the VideoCore (machine number 137 in their ELF headers), and the trees
    // are device trees.
    let mut head = [0; 20];
    for name in ["start.elf", "start4.elf"] {
        File::open(card.take_out(name)).unwrap().read_exact(&mut head).unwrap();
        assert_eq!((&head[..4], head[18]), (&b"\x7fELF"[..], 137), "{name}");
    }
    let qemu = Qemu::find_or_install(&mut |_| ()).unwrap();
    let boards = [
        (Machine::Raspi3b, "bcm2710-rpi-3-b.dtb", "Raspberry Pi 3 Model B"),
        (Machine::Raspi4b, "bcm2711-rpi-4-b.dtb", "Raspberry Pi 4 Model B"),
    ];
    for (machine, tree, model) in boards {
        if qemu.require(machine).is_err() || !card.files().contains_key(tree) {
            say(&format!("NOT TESTED (needs QEMU 9 and {tree}): the real device tree on {machine}"));
            continue;
        }
        let node = boot(&qemu, &card, machine, Some(tree));
        node.console().wait_for_prompt("real> ", SOON).unwrap();
        let said = node.console().lines().join("\n");
        assert!(said.contains(model) && !said.contains("device tree"), "{said}");
    }
}

#[test]
fn what_is_wrong_is_told_in_one_line() {
    let empty = TempDir::new().unwrap();
    let out = empty.path().join("rack.img");
    let fail = |arguments: &[&str]| {
        let output = rack(&[&["image", "--no-build", "--out", out.to_str().unwrap()], arguments].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(!out.exists());
        text(&output.stderr)
    };
    let message = fail(&["--firmware", empty.path().to_str().unwrap()]);
    assert!(message.contains("has no bootcode.bin, start.elf") && message.contains("--firmware DIR"), "{message}");
    let message = fail(&["--ssh-key", "/nowhere/id.pub"]);
    assert!(message.starts_with("error: /nowhere/id.pub can't be read"), "{message}");
    let firmware = made_up_firmware();
    let directory = firmware.path().to_str().unwrap();
    let message = text(&rack(&["image", "--no-build", "--out", "/nowhere/x.img", "--firmware", directory]).stderr);
    assert!(message.contains("error: /nowhere/x.img can't be written"), "{message}");
    let card = Card::make(firmware.path(), &["--cmdline", "nmae=x"]);
    assert!(card.messages.contains("warning: command line: nmae=x ignored: unknown key"), "{}", card.messages);
    assert!(card.messages.contains("without an SSH key nothing can be changed"), "{}", card.messages);
    let bad = empty.path().join("bad.toml");
    fs::write(&bad, "[node]\nnmae = 'x'\n").unwrap();
    let output = rack(&["check", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "node.toml, line 2: nmae=x ignored: unknown key; did you mean name?\n";
    assert_eq!(text(&output.stderr), expected);
    fs::write(&bad, "[node]\nname = 'x'\n").unwrap();
    assert!(rack(&["check", bad.to_str().unwrap()]).status.success());
}
