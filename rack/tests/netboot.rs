//! The directory that `rack netboot` makes, served by dnsmasq with the command that it prints, to a board that is this test.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::geteuid;
use tempfile::TempDir;

fn say(line: &str) {
    // Past the test runner, which keeps what passing tests print to itself.
    let _ = writeln!(io::stderr(), "{line}");
}

fn made_up_firmware() -> TempDir {
    let directory = TempDir::new().unwrap();
    let names = ["bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb"];
    for (name, i) in names.iter().zip(1u32..) {
        // 512 and its multiples are where TFTP ends a file with an empty block.
        fs::write(directory.path().join(name), vec![i as u8; 512 * i as usize * 20]).unwrap();
    }
    directory
}

/// Lays out `root` and returns what was printed.
fn netboot(root: &Path, firmware: &Path, more: &[&str]) -> String {
    qemu::build::kernel(&mut |_| ()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rack"));
    command.args(["netboot", "--no-build", "--interface", "pi0", "--firmware"]).arg(firmware).arg(root).args(more);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{messages}");
    messages
}

fn files_of(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(directory).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file());
    files.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn boards_get_what_is_theirs() {
    let (firmware, root) = (made_up_firmware(), TempDir::new().unwrap());
    netboot(root.path(), firmware.path(), &["--cmdline", "name=any"]);
    let all = files_of(root.path());
    assert_eq!(all["cmdline.txt"], b"name=any\n");
    assert!(all.len() == 9 && all.contains_key("kernel8.img") && all.contains_key("config.txt"), "{:?}", all.keys());
    // Another board, beside the first; the serial number as /proc/cpuinfo has it.
    netboot(root.path(), firmware.path(), &["--cmdline", "name=web-1", "--serial", "100000009FFEFDEF"]);
    let own = files_of(&root.path().join("9ffefdef"));
    assert_eq!(own["cmdline.txt"], b"name=web-1\n");
    assert_eq!(files_of(root.path())["cmdline.txt"], b"name=any\n");
    assert!(own.keys().eq(all.keys()));
}

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It is gone already if this fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives this thread a network of its own: pi0, where the server is, and pi1, where the boards are.
fn own_network() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("root".into());
    }
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("a network namespace: {error}"))?;
    let commands = [
        "link set lo up",
        "link add pi0 type veth peer name pi1",
        "addr add 10.77.0.1/24 dev pi0",
        "link set pi0 up",
        "link set pi1 up",
    ];
    for command in commands {
        let status = Command::new("ip").args(command.split(' ')).status().map_err(|error| format!("ip: {error}"))?;
        if !status.success() {
            return Err(format!("ip {command}"));
        }
    }
    // Both ends are this machine's: what arrives comes from an address of its own.
    let open = |name: &str, value: &str| fs::write(format!("/proc/sys/net/ipv4/conf/{name}"), value);
    let opened = open("all/rp_filter", "0")
        .and(open("pi1/rp_filter", "0"))
        .and(open("pi0/rp_filter", "0"))
        .and(open("all/accept_local", "1"));
    opened.map_err(|error| format!("settings of the network: {error}"))
}

#[test]
fn dnsmasq_serves_it_with_the_command_that_is_printed() {
    let what = "serving the directory by DHCP and TFTP";
    if Command::new("dnsmasq").arg("--version").output().is_err() {
        return say(&format!("NOT TESTED (needs dnsmasq): {what}"));
    }
    if let Err(missing) = own_network() {
        return say(&format!("NOT TESTED (needs {missing}): {what}"));
    }
    let (firmware, root) = (made_up_firmware(), TempDir::new().unwrap());
    // dnsmasq reads as a user without rights.
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let messages = netboot(root.path(), firmware.path(), &["--serial", "9ffefdef"]);
    let command = messages.lines().find(|line| line.contains("--dhcp-range=10.77.0.50")).unwrap();
    let command = format!("exec {}", command.trim().strip_prefix("sudo ").unwrap());
    let leases = root.path().join("leases");
    let command = format!("{command} --dhcp-leasefile={}", leases.display());
    let child = Command::new("sh").args(["-c", &command]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _server = Server(child);

    // What the ROM of a Pi 3 looks for in the offer: "Raspberry Pi Boot", with its three spaces, in the vendor's option.
    let offer = discover().unwrap();
    let vendor = option(&offer, 43).unwrap();
    assert!(vendor.windows(20).any(|part| part == b"Raspberry Pi Boot   "), "{vendor:?}");
    assert_eq!(&option(&offer, 60).unwrap()[..9], b"PXEClient");
    // The server's own address, where it then asks for files.
    assert_eq!(offer[20..24], [10, 77, 0, 1]);

    // First the root, then the board's own directory, byte for byte.
    let bootcode = tftp("bootcode.bin").unwrap();
    assert!(bootcode == fs::read(firmware.path().join("bootcode.bin")).unwrap());
    assert!(tftp("bootsig.bin").is_none(), "the ROM asks for it, and has to be told that it is not there");
    for (name, bytes) in files_of(&root.path().join("9ffefdef")) {
        assert!(tftp(&format!("9ffefdef/{name}")).is_some_and(|received| received == bytes), "{name}");
    }
}

/// Asks for an address as the ROM of a Pi 3 does (Raspberry Pi documentation, "Network booting"), until there is an offer.
fn discover() -> Option<Vec<u8>> {
    const MAC: [u8; 6] = [0xb8, 0x27, 0xeb, 0x28, 0xf6, 0x6d];
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).unwrap();
    setsockopt(&socket, sockopt::BindToDevice, &"pi1".into()).unwrap();
    socket.set_broadcast(true).unwrap();
    // As the ROM does: dnsmasq first looks for three seconds whether the address is free.
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // RFC 2131, section 2: a request over Ethernet, answered by broadcast; then the options.
    let mut message = vec![0; 236];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[4..8].copy_from_slice(&0x26f3_0339_u32.to_be_bytes());
    message[10] = 0x80;
    message[28..34].copy_from_slice(&MAC);
    message.extend([99, 130, 83, 99, 53, 1, 1, 55, 4, 43, 60, 66, 67, 93, 2, 0, 0, 94, 3, 1, 2, 1]);
    message.extend([97, 17, 0]);
    message.extend([0x44; 16]);
    message.extend([60, 32]);
    message.extend(b"PXEClient:Arch:00000:UNDI:002001");
    message.push(255);
    let deadline = Instant::now() + Duration::from_secs(25);
    let mut answer = [0; 1500];
    while Instant::now() < deadline {
        socket.send_to(&message, (Ipv4Addr::BROADCAST, 67)).unwrap();
        let Ok(len) = socket.recv(&mut answer) else { continue };
        if answer[0] == 2 && answer[4..8] == message[4..8] {
            return Some(answer[..len].to_vec());
        }
    }
    None
}

/// Returns an option of a DHCP message.
fn option(message: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = message.get(240..)?;
    while let [code, len, tail @ ..] = rest {
        if *code == 255 {
            return None;
        }
        let (value, next) = tail.split_at_checked(usize::from(*len))?;
        if *code == wanted {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// Fetches a file by TFTP (RFC 1350) in blocks of 512 bytes, as the ROM does; `None` if the server has no such file.
fn tftp(name: &str) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let request = [&[0, 1], name.as_bytes(), b"\0octet\0"].concat();
    let (mut file, mut packet) = (Vec::new(), [0; 600]);
    // The server may not listen yet.
    let (mut len, peer) = (0..10)
        .find_map(|_| {
            socket.send_to(&request, (Ipv4Addr::new(10, 77, 0, 1), 69)).unwrap();
            socket.recv_from(&mut packet).ok().or_else(|| {
                thread::sleep(Duration::from_millis(200));
                None
            })
        })
        .unwrap();
    for block in 1u16.. {
        if packet[1] == 5 {
            return None;
        }
        assert_eq!((packet[1], u16::from_be_bytes([packet[2], packet[3]])), (3, block), "{name}");
        file.extend(&packet[4..len]);
        socket.send_to(&[&[0, 4], &block.to_be_bytes()[..]].concat(), peer).unwrap();
        if len < 516 {
            return Some(file);
        }
        len = socket.recv(&mut packet).unwrap();
    }
    None
}

#[test]
fn the_printed_command_survives_a_shell() {
    // The path of a directory with a space and a quote survives a shell: the command is to be pasted.
    let (firmware, place) = (made_up_firmware(), TempDir::new().unwrap());
    let root = place.path().join("it's here");
    let messages = netboot(&root, firmware.path(), &[]);
    let command = messages.lines().find(|line| line.contains("--dhcp-range=10.77.0.50")).unwrap();
    let words = command.trim().strip_prefix("sudo dnsmasq ").unwrap();
    let mut child =
        Command::new("sh").args(["-c", &format!("printf '%s\\n' {words}")]).stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success());
    let wanted = format!("--tftp-root={}", fs::canonicalize(&root).unwrap().display());
    assert!(printed.lines().any(|line| line == wanted), "{printed}");
    assert!(printed.lines().any(|line| line == "--pxe-service=0,Raspberry Pi Boot   "), "{printed}");
}
