//! `rack flash` onto files and loop devices, which are block devices to it like any other.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

fn say(line: &str) {
    // Past the test runner, which keeps what passing tests print to itself.
    let _ = writeln!(io::stderr(), "{line}");
}

fn rack(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rack"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Something that looks like an image: `len` bytes with a partition table's mark.
fn image(directory: &TempDir, len: u64) -> PathBuf {
    let path = directory.path().join("rack.img");
    let mut file = File::create(&path).unwrap();
    let bytes: Vec<u8> = (0..4u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    file.write_all(&bytes[..bytes.len().min(len as usize)]).unwrap();
    file.set_len(len).unwrap();
    file.seek(SeekFrom::Start(510)).unwrap();
    file.write_all(&[0x55, 0xaa]).unwrap();
    path
}

/// A loop device of some mebibytes.
struct Loop {
    device: String,
    _directory: TempDir,
}

impl Loop {
    /// Makes one; `None`, and a line that tells, when that can't be done here.
    fn new(mib: u64, what: &str) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("card");
        File::create(&file).unwrap().set_len(mib << 20).unwrap();
        let output = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        let device = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
        let Some(device) = device.filter(|_| geteuid().is_root()) else {
            say(&format!("NOT TESTED (needs root and losetup): {what}"));
            return None;
        };
        Some(Self { device: String::from_utf8(device).unwrap().trim().to_owned(), _directory: directory })
    }

    fn bytes(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        File::open(&self.device).unwrap().read_exact(&mut bytes).unwrap();
        bytes
    }

    fn flash(&self, image: &Path, more: &[&str]) -> Output {
        rack(&[&["flash", &self.device, "--image", image.to_str().unwrap()], more].concat()).output().unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // A device that stays behind does no harm.
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

#[test]
fn a_file_is_written_only_when_it_is_meant() {
    let directory = TempDir::new().unwrap();
    let image = image(&directory, 5 << 20);
    let card = directory.path().join("card");
    fs::write(&card, "precious").unwrap();
    let (card_name, image_name) = (card.to_str().unwrap(), image.to_str().unwrap());
    for arguments in [
        &["flash", card_name, "--image", image_name][..],
        &["flash", card_name, "--image", image_name, "--yes-i-mean", image_name],
    ] {
        let output = rack(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(messages(&output).contains("--yes-i-mean"), "{}", messages(&output));
        assert_eq!(fs::read(&card).unwrap(), b"precious");
    }
    let output = rack(&["flash", card_name, "--image", image_name, "--yes-i-mean", card_name]).output().unwrap();
    assert!(output.status.success(), "{}", messages(&output));
    assert!(messages(&output).contains("5.0 MiB written and read back"), "{}", messages(&output));
    assert!(fs::read(&card).unwrap() == fs::read(&image).unwrap());
}

#[test]
fn a_block_device_holds_the_image_afterwards() {
    let Some(card) = Loop::new(8, "writing a block device") else { return };
    let directory = TempDir::new().unwrap();
    let image = image(&directory, 6 << 20);
    let output = card.flash(&image, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(messages(&output).contains("is built in, not a card"), "{}", messages(&output));
    let output = card.flash(&image, &["--yes-i-mean", &card.device]);
    assert!(output.status.success(), "{}", messages(&output));
    assert!(card.bytes(6 << 20) == fs::read(&image).unwrap(), "another content");
}

#[test]
fn a_card_that_is_too_small_keeps_what_it_has() {
    let Some(card) = Loop::new(4, "a card that is too small") else { return };
    let directory = TempDir::new().unwrap();
    let output = card.flash(&image(&directory, 6 << 20), &["--yes-i-mean", &card.device]);
    assert_eq!(output.status.code(), Some(1));
    assert!(messages(&output).contains("has 4.0 MiB, the image 6.0 MiB: take a larger card"), "{}", messages(&output));
    assert!(card.bytes(4 << 20).iter().all(|byte| *byte == 0));
}

#[test]
fn a_mounted_card_is_not_written_and_the_mount_is_named() {
    let Some(card) = Loop::new(40, "a card that is mounted") else { return };
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let made = Command::new("mkfs.ext4").env("PATH", path).arg("-q").arg(&card.device).output();
    let place = TempDir::new().unwrap();
    let mounted = made.is_ok_and(|made| made.status.success())
        && Command::new("mount")
            .args(["-o", "ro,noload", &card.device])
            .arg(place.path())
            .status()
            .is_ok_and(|status| status.success());
    if !mounted {
        return say("NOT TESTED (needs mkfs.ext4 and the right to mount): a card that is mounted");
    }
    let before = card.bytes(1 << 20);
    let directory = TempDir::new().unwrap();
    let output = card.flash(&image(&directory, 6 << 20), &["--yes-i-mean", &card.device]);
    let unmounted = Command::new("umount").arg(place.path()).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(output.status.code(), Some(1));
    let wanted = format!("is mounted at {0}. To free it: sudo umount {0}", place.path().display());
    assert!(messages(&output).contains(&wanted), "{}", messages(&output));
    assert!(card.bytes(1 << 20) == before, "something was written");
}

#[test]
fn who_may_not_write_is_told_what_to_run() {
    let Some(card) = Loop::new(8, "a user without rights") else { return };
    // A program and an image that everybody may read.
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("rack");
    fs::copy(env!("CARGO_BIN_EXE_rack"), &program).unwrap();
    let image = image(&directory, 6 << 20);
    let mut command = Command::new(&program);
    command.args(["flash", &card.device, "--yes-i-mean", &card.device, "--image", image.to_str().unwrap()]);
    let output = command.uid(65_534).gid(65_534).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let wanted = format!("As root: sudo {} flash {} --image {}", program.display(), card.device, image.display());
    assert!(messages(&output).contains(&wanted), "{}", messages(&output));
}

#[test]
fn ctrl_c_leaves_a_card_that_does_not_boot_and_says_so() {
    let directory = TempDir::new().unwrap();
    // Large enough to be still at it.
    let image = image(&directory, 2 << 30);
    let card = directory.path().join("card");
    fs::write(&card, [0xaa; 1024]).unwrap();
    let (card_name, image_name) = (card.to_str().unwrap(), image.to_str().unwrap());
    let mut command = rack(&["flash", card_name, "--image", image_name, "--yes-i-mean", card_name]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::metadata(&card).unwrap().len() < 8 << 20 {
        assert!(Instant::now() < deadline, "nothing is written");
        thread::sleep(Duration::from_millis(1));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", messages(&output));
    assert!(messages(&output).contains("the card is incomplete and will not boot"), "{}", messages(&output));
    let mut first = [0xff; 4096];
    File::open(&card).unwrap().read_exact(&mut first).unwrap();
    assert_eq!(first, [0; 4096], "a partition table");
}

#[test]
fn what_is_wrong_is_told() {
    let directory = TempDir::new().unwrap();
    let image = image(&directory, 5 << 20);
    let image_name = image.to_str().unwrap();
    let text = directory.path().join("letter.txt");
    fs::write(&text, "no image").unwrap();
    let text_name = text.to_str().unwrap();
    let fail = |arguments: &[&str]| {
        let output = rack(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        messages(&output)
    };
    let message = fail(&["flash", image_name, "--yes-i-mean", image_name, "--image", text_name]);
    assert!(message.contains("letter.txt is not the image of a card"), "{message}");
    let message = fail(&["flash", "/dev/nowhere", "--image", image_name]);
    assert!(message.contains("there is no /dev/nowhere"), "{message}");
    let message = fail(&["flash", "/dev/null", "--image", image_name, "--yes-i-mean", "/dev/null"]);
    assert!(message.contains("neither a block device nor a file"), "{message}");
    // Without a device: a list, or that there is nothing to list.
    let message = fail(&["flash"]);
    assert!(message.contains("name the card to write to") || message.contains("no card is plugged in"), "{message}");
}
