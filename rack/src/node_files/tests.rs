//! Tests of what is packed for a node, and of what is refused.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;

const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER";

#[test]
fn everything_is_in_the_archive_under_the_names_that_the_node_looks_for() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let secret = write("secret", &("5e".repeat(32) + "\n"));
    let files = NodeFiles {
        config: Some(write("a.toml", "[node]\nname = 'a'\n")),
        ssh_key: vec![write("id.pub", &format!("# mine\nssh-ed25519 {KEY} me@home\n"))],
        rack_secret: Some(secret.display().to_string()),
        file: vec![write("data", "content")],
    };
    let archive = files.pack("", None).unwrap();
    let bytes = archive.bytes.unwrap();
    let found: Vec<_> =
        initramfs::files(&bytes).map(|file| file.map(|file| (file.name, file.content.len())).unwrap()).collect();
    assert_eq!(found, [("node.toml", 18), ("authorized_keys", 89), ("rack.key", 65), ("files/data", 7)]);
    assert!(archive.has_secret);
    assert!(NodeFiles { rack_secret: None, ..files.clone() }.pack("", None).is_ok_and(|archive| !archive.has_secret));
    let twice = NodeFiles { file: [files.file.clone(), files.file.clone()].concat(), ..files };
    assert!(twice.pack("", None).unwrap_err().to_string().contains("two files with the name files/data"));
    let none = NodeFiles::default().pack("name=a", None).unwrap();
    assert!(none.bytes.is_none() && !none.has_secret);
}

#[test]
fn what_does_not_fit_is_refused_with_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("big");
    fs::write(&path, vec![0; initramfs::LEN_MAX]).unwrap();
    let error = NodeFiles { file: vec![path], ..NodeFiles::default() }.pack("", None).unwrap_err().to_string();
    assert!(error.contains("which takes 262144: files/big 262144"), "{error}");
}

#[test]
fn a_node_has_room_for_what_is_packed() {
    // linker/kernel.ld keeps the memory, of which the device tree gets its part (kernel/src/mem/handover.rs).
    let number = |text: &str, before: &str| {
        let (_, rest) = text.split_once(before).unwrap();
        let digits = rest.split([';', '\n']).next().unwrap().trim().trim_start_matches("0x").replace('_', "");
        usize::from_str_radix(&digits, 16).unwrap()
    };
    let kept = number(include_str!("../../../linker/kernel.ld"), "__handover = .;\n        . +=");
    let tree = number(include_str!("../../../kernel/src/mem/handover.rs"), "TREE_LEN_MAX: usize =");
    assert_eq!(kept - tree, initramfs::LEN_MAX);
}

#[test]
fn keys_are_read_as_ssh_keygen_and_authorized_keys_have_them() {
    let text = format!("# mine\nssh-ed25519 {KEY} me@home\n\nssh-ed25519 {KEY}\n");
    assert_eq!(public_keys(&text).unwrap(), [format!("ssh-ed25519 {KEY} me@home"), format!("ssh-ed25519 {KEY}")]);
}

#[test]
fn what_is_no_public_key_is_refused_with_the_reason() {
    let reason = |text: &str| public_keys(text).unwrap_err().to_string();
    assert!(reason("-----BEGIN OPENSSH PRIVATE KEY-----\n").contains("must not leave"));
    assert!(reason("ssh-rsa AAAAB3 me").contains("ssh-keygen -t ed25519"));
    assert!(reason("ssh-ed25519 AAAA me").contains("not an Ed25519 key"));
    assert!(reason(&format!("restrict,pty ssh-ed25519 {KEY}")).contains("remove what stands before"));
    assert!(reason("# nothing\n").contains("no key"));
}

#[test]
fn mistakes_in_workloads_are_found_before_a_node_starts() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let check = |text: &str| {
        fs::write(file.path(), text).unwrap();
        check(file.path()).unwrap()
    };
    assert!(check("[[workload]]\nname = \"cpu\"\nload = \"50%\"\n"));
    assert!(!check("[[workload]]\nname = \"cpu\"\nload = \"500%\"\n"));
    let known = Config::parse(b"workload=cpu:laod=5% workload=nosuch workload=idle");
    let mistakes: Vec<String> = workloads::mistakes(&known).collect();
    assert_eq!(mistakes.len(), 2);
    assert!(mistakes[0].starts_with("command line: workload=cpu:laod=5% ignored: cpu has no parameter 'laod'"));
    assert!(mistakes[1].contains("there is no workload 'nosuch'; there are certify"), "{mistakes:?}");
}
