//! Machines made of files: which of their devices may be written.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::os::unix::fs::symlink;

use super::*;

/// A machine with a built-in disk that holds the system, a card reader with a card, an eMMC, and an encrypted disk.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { root: tempfile::tempdir().unwrap() };
        machine.disk(
            "devices/pci0/nvme/nvme0n1",
            "259:0",
            2_000_000,
            &[("nvme0n1p1", "259:1"), ("nvme0n1p2", "259:2")],
        );
        machine.disk(
            "devices/pci0/usb1/1-2/host6/block/sdb",
            "8:16",
            31_116_288,
            &[("sdb1", "8:17"), ("sdb2", "8:18")],
        );
        machine.write("sys/devices/pci0/usb1/1-2/host6/block/sdb/removable", "1");
        machine.write("sys/devices/pci0/usb1/1-2/host6/block/sdb/device/model", "Card Reader     ");
        machine.disk("devices/platform/mmc0/block/mmcblk0", "179:0", 61_071_360, &[]);
        machine.disk("devices/platform/mmc0/block/mmcblk0boot0", "179:8", 8_192, &[]);
        machine.disk("devices/pci0/usb2/2-1/host7/block/sdc", "8:32", 7_814_037_168, &[]);
        machine.disk("devices/pci0/ata1/block/sda", "8:0", 3_000_000, &[("sda1", "8:1")]);
        machine.disk("devices/virtual/block/dm-0", "253:0", 2_900_000, &[]);
        machine.hold("devices/pci0/ata1/block/sda/sda1", "devices/virtual/block/dm-0");
        machine.mounts(&["259:2 / /dev/nvme0n1p2", "0:25 /run tmpfs"]);
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn disk(&self, path: &str, number: &str, sectors: u64, partitions: &[(&str, &str)]) {
        let name = path.rsplit('/').next().unwrap();
        self.write(&format!("sys/{path}/size"), &sectors.to_string());
        self.write(&format!("sys/{path}/removable"), "0");
        self.write(&format!("sys/{path}/ro"), "0");
        self.link(path, name, number, true);
        for (index, (partition, number)) in partitions.iter().enumerate() {
            self.write(&format!("sys/{path}/{partition}/partition"), &(index + 1).to_string());
            self.link(&format!("{path}/{partition}"), partition, number, false);
        }
    }

    fn link(&self, path: &str, name: &str, number: &str, is_disk: bool) {
        self.write(&format!("sys/{path}/dev"), number);
        let sys = self.root.path().join("sys");
        fs::create_dir_all(sys.join("dev/block")).unwrap();
        fs::create_dir_all(sys.join("block")).unwrap();
        symlink(sys.join(path), sys.join("dev/block").join(number)).unwrap();
        if is_disk {
            symlink(sys.join(path), sys.join("block").join(name)).unwrap();
        }
    }

    fn hold(&self, held: &str, holder: &str) {
        let sys = self.root.path().join("sys");
        fs::create_dir_all(sys.join(held).join("holders")).unwrap();
        symlink(sys.join(holder), sys.join(held).join("holders").join(holder.rsplit('/').next().unwrap())).unwrap();
    }

    /// Each as "number place source".
    fn mounts(&self, mounts: &[&str]) {
        let line = |mount: &&str| {
            let [number, place, source] = mount.split(' ').collect::<Vec<_>>()[..] else { unreachable!("three words") };
            format!("36 1 {number} / {place} rw,relatime shared:1 - ext4 {source} rw\n")
        };
        self.write("proc/self/mountinfo", &mounts.iter().map(line).collect::<String>());
    }

    fn system(&self) -> System {
        System::new(self.root.path())
    }

    /// Checks the device with this number.
    fn check(&self, number: &str, is_confirmed: bool) -> Result<(), String> {
        let block = self.system().find(number).unwrap();
        let path = Path::new("/dev").join(&block.name);
        let target = Target { path, device: Device::Block(block), file_len: 0 };
        self.system().check(&target, is_confirmed).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refuses(&self, number: &str, is_confirmed: bool, part: &str) {
        let message = self.check(number, is_confirmed).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn cards_may_be_written_without_a_second_question() {
    let machine = Machine::new();
    assert_eq!(machine.check("8:16", false), Ok(()));
    assert_eq!(machine.check("179:0", false), Ok(()));
    let candidates = machine.system().candidates();
    assert_eq!(candidates, ["/dev/mmcblk0  31.2 GB", "/dev/sdb  15.9 GB, USB, Card Reader"]);
}

#[test]
fn what_does_not_look_like_a_card_has_to_be_confirmed() {
    let machine = Machine::new();
    for (number, part) in [("8:32", "too large for a card"), ("179:8", "boot area"), ("253:0", "built in")] {
        machine.refuses(number, false, part);
        machine.refuses(number, false, "--yes-i-mean /dev/");
        assert_eq!(machine.check(number, true), Ok(()));
    }
}

#[test]
fn the_disk_of_the_system_is_never_written() {
    let machine = Machine::new();
    for is_confirmed in [false, true] {
        machine.refuses("259:0", is_confirmed, "holds this very system (/dev/nvme0n1p2 is mounted at /)");
    }
    // Also when the file system has a number of its own (btrfs), or the root is on an encrypted partition.
    machine.mounts(&["0:31 / /dev/nvme0n1p2"]);
    machine.refuses("259:0", true, "holds this very system");
    machine.mounts(&["253:0 / /dev/mapper/root"]);
    machine.refuses("8:0", true, "holds this very system");
}

#[test]
fn what_is_mounted_is_not_written_and_the_way_out_is_named() {
    let machine = Machine::new();
    machine.mounts(&["259:2 / /dev/nvme0n1p2", "8:17 /media/u/boot\\040fs /dev/sdb1", "8:18 /media/u/root /dev/sdb2"]);
    for is_confirmed in [false, true] {
        machine.refuses("8:16", is_confirmed, "/dev/sdb1 is mounted at /media/u/boot fs");
        machine.refuses("8:16", is_confirmed, "sudo umount '/media/u/boot fs' /media/u/root");
    }
    assert_eq!(machine.system().candidates(), ["/dev/mmcblk0  31.2 GB"]);
}

#[test]
fn swap_raid_and_encryption_are_in_use_too() {
    let machine = Machine::new();
    machine.refuses("8:0", true, "is made of it");
    machine.write("proc/swaps", "Filename Type Size Used Priority\n/dev/sdb2 partition 1000 0 -2");
    machine.refuses("8:16", true, "sudo swapoff /dev/sdb2");
}

#[test]
fn partitions_empty_readers_and_locked_cards_are_refused() {
    let machine = Machine::new();
    machine.refuses("8:17", true, "is a partition");
    machine.write("sys/devices/pci0/usb1/1-2/host6/block/sdb/ro", "1");
    machine.refuses("8:16", true, "write-protected");
    machine.write("sys/devices/pci0/usb1/1-2/host6/block/sdb/size", "0");
    machine.refuses("8:16", true, "no card in /dev/sdb");
    assert!(!machine.system().candidates().iter().any(|line| line.contains("sdb")));
}

#[test]
fn a_file_has_to_be_confirmed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let target = Target::of(file.path()).unwrap();
    let system = System::new(Path::new("/"));
    assert!(system.check(&target, false).unwrap_err().to_string().contains("not a card. If it is meant: --yes-i-mean"));
    assert!(system.check(&target, true).is_ok());
    assert!(Target::of(Path::new("/dev/null")).is_err());
    assert!(Target::of(Path::new("/nowhere")).is_err());
}
