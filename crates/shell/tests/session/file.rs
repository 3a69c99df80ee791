//! `file` lists what there is, and shows no secret.

use initramfs::Writer;
use shell::execute;

use super::node::FakeNode;

fn run(node: &FakeNode, line: &str) -> String {
    let mut out = String::new();
    match execute(line, node, &mut out) {
        Ok(_) => out,
        Err(problem) => problem.to_string(),
    }
}

#[test]
fn files_are_listed_and_those_below_files_are_shown() {
    let mut archive = Writer::default();
    archive.add("rack.key", 0o600, b"5ecret");
    archive.add("files/a.txt", 0o644, b"one\n\x1b[31mtwo\xff");
    archive.add("files/big", 0o644, &[b'x'; 9000]);
    let node = FakeNode { files: archive.finish(), ..FakeNode::new() };
    assert_eq!(run(&node, "file"), "       6  rack.key\n      13  files/a.txt\n    9000  files/big\n");
    assert_eq!(run(&node, "file a.txt"), "one\n.[31mtwo.\n");
    assert_eq!(run(&node, "file files/a.txt"), run(&node, "file a.txt"));
    assert!(run(&node, "file big").ends_with("xxx\n(808 more bytes)\n"));
    for name in ["rack.key", "files/rack.key", "../rack.key", "b"] {
        let answer = run(&node, &format!("file {name}"));
        assert!(answer.contains("is not a file below files/") && !answer.contains("5ecret"), "{answer}");
    }
    assert_eq!(run(&FakeNode::new(), "file"), "");
}
