//! A directory that boards boot from over the network, and what serves it.
//!
//! What a board asks for: bootcode.bin in the root (BCM2837 only), then everything in the directory that is named by its serial
//! number, or in the root if there is no such directory. Source: Raspberry Pi documentation, "Network booting" and the boot
//! loader's TFTP_PREFIX.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::firmware::Files;
use crate::image::{Boot, Content};
use crate::progress::{quoted, say};

/// What the ROM of the BCM2837 loads before it knows of any directory.
const FIRST: &str = "bootcode.bin";

/// How a directory is laid out.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The directory that the TFTP server serves; made if it is not there.
    directory: PathBuf,
    /// Only for the board with this serial number (the last eight digits), with a command line of its own; can be given several
    /// times.
    #[arg(long, value_name = "SERIAL", value_parser = serial)]
    serial: Vec<String>,
    /// The network interface of this machine that the boards are on, for the command that is printed.
    #[arg(long, value_name = "NAME", default_value = "eth0")]
    interface: String,
    #[command(flatten)]
    content: Content,
}

/// Lays out the directory and says what else is needed.
pub(crate) fn netboot(options: &Options) -> Result<ExitCode> {
    let Boot { files, has_secret } = options.content.files()?;
    fs::create_dir_all(&options.directory).with_context(|| format!("{} can't be made", options.directory.display()))?;
    let root = fs::canonicalize(&options.directory)?;
    for (directory, files) in layout(&files, &options.serial) {
        write(&root.join(directory), &files)?;
    }
    let wheres = if options.serial.is_empty() { "every board".to_owned() } else { options.serial.join(", ") };
    say(&format!("{}: {} files for {wheres}", root.display(), files.len()));
    if has_secret {
        say("warning: whoever reaches the TFTP server can read the secrets in node.cpio");
    }
    say(&instructions(&root, &options.interface));
    Ok(ExitCode::SUCCESS)
}

/// Returns which files go into which directory below the root.
fn layout(files: &Files, serials: &[String]) -> Vec<(String, Files)> {
    if serials.is_empty() {
        return vec![(String::new(), files.clone())];
    }
    let first = files.iter().filter(|(name, _)| *name == FIRST).map(|(name, bytes)| (name.clone(), bytes.clone()));
    let root = (String::new(), first.collect());
    [root].into_iter().chain(serials.iter().map(|serial| (serial.clone(), files.clone()))).collect()
}

/// Reads a serial number as /proc/cpuinfo, `status` on a node or a box's label has it: eight or sixteen hexadecimal digits.
fn serial(text: &str) -> Result<String, String> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.len() {
        8 | 16 if is_hex => Ok(text[text.len() - 8..].to_ascii_lowercase()),
        _ => Err("a serial number has 8 or 16 hexadecimal digits, such as 9ffefdef".into()),
    }
}

/// Writes each file so that a board that asks meanwhile gets the old one or the new one, and so that any server may read it.
fn write(directory: &Path, files: &Files) -> Result<()> {
    let fails = || format!("{} can't be written", directory.display());
    fs::create_dir_all(directory).with_context(fails)?;
    for (name, bytes) in files {
        let mut file = tempfile::NamedTempFile::new_in(directory).with_context(fails)?;
        file.write_all(bytes).with_context(fails)?;
        file.as_file().set_permissions(Permissions::from_mode(0o644)).with_context(fails)?;
        let path = directory.join(name);
        if path.is_dir() {
            bail!("{} is a directory, where a file has to be", path.display());
        }
        file.persist(path).with_context(fails)?;
    }
    Ok(())
}

/// Returns the command that serves `root`, and what each board needs.
fn instructions(root: &Path, interface: &str) -> String {
    let root = quoted(&root.display().to_string());
    let common = format!(
        "sudo dnsmasq --no-daemon --conf-file=/dev/null --port=0 --log-dhcp --interface={interface} --bind-interfaces \
         --enable-tftp --tftp-root={root} --pxe-service=0,'Raspberry Pi Boot   '"
    );
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "
To serve it on a network of its own (this machine's {interface} is 10.77.0.1 there and hands out addresses):
  {common} --dhcp-range=10.77.0.50,10.77.0.150,12h
To serve it where another machine hands out addresses (put your network in the place of 192.168.1.0):
  {common} --dhcp-range=192.168.1.0,proxy
The three spaces at the end of the name are needed by the Pi 3B.

What each board needs, once:
  3B             a card with program_usb_boot_mode=1 in config.txt, started once. It can't be undone. If it does not boot
                 then (its ROM gives up early): leave a card in it, formatted as FAT32, with only bootcode.bin on it
  3B+            nothing on most of them (take the card out); where it does not try, as the 3B
  CM3, CM3+      as the 3B, where the carrier has a LAN9514
  Zero 2 W       can't: it has no Ethernet that its ROM knows
  4B, 400, CM4   BOOT_ORDER=0xf21 in the boot loader's settings (card first, then network):
                 sudo -E rpi-eeprom-config --edit, under Raspberry Pi OS
A board with a serial number of its own directory takes all but bootcode.bin from there: --serial makes one."
    );
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn files() -> Files {
        ["bootcode.bin", "start.elf", "cmdline.txt"].into_iter().map(|name| (name.to_owned(), name.into())).collect()
    }

    #[test]
    fn a_board_of_its_own_takes_only_the_first_file_from_the_root() {
        let all = layout(&files(), &[]);
        assert_eq!((all.len(), all[0].0.as_str(), all[0].1.len()), (1, "", 3));
        let own = layout(&files(), &["9ffefdef".into(), "12345678".into()]);
        let shape: Vec<_> = own.iter().map(|(name, files)| (name.as_str(), files.len())).collect();
        assert_eq!(shape, [("", 1), ("9ffefdef", 3), ("12345678", 3)]);
        assert!(own[0].1.contains_key("bootcode.bin"));
    }

    #[test]
    fn serial_numbers_are_read_as_they_are_found() {
        assert_eq!(serial("9FFEFDEF").unwrap(), "9ffefdef");
        assert_eq!(serial("100000009ffefdef").unwrap(), "9ffefdef");
        for text in ["", "9ffefde", "9ffefdef0", "../../etc", "9ffefdeg", "éééé"] {
            assert!(serial(text).is_err(), "{text}");
        }
    }

    #[test]
    fn files_are_replaced_and_everybody_may_read_them() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("a/b");
        write(&root, &files()).unwrap();
        fs::write(root.join("other"), "stays").unwrap();
        let mut changed = files();
        changed.insert("cmdline.txt".into(), b"name=new\n".to_vec());
        write(&root, &changed).unwrap();
        assert_eq!(fs::read(root.join("cmdline.txt")).unwrap(), b"name=new\n");
        assert_eq!(fs::metadata(root.join("cmdline.txt")).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 4, "something was left behind");
        fs::create_dir(root.join("kernel8.img")).unwrap();
        let error = write(&root, &Files::from([("kernel8.img".to_owned(), vec![1])])).unwrap_err();
        assert!(error.to_string().contains("is a directory"), "{error}");
    }

    #[test]
    fn the_command_can_be_pasted() {
        let text = instructions(Path::new("/srv/my tftp"), "eth1");
        assert!(text.contains("--interface=eth1 ") && text.contains("--tftp-root='/srv/my tftp'"), "{text}");
    }
}
