//! Experiments by the command that a user has.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn check(file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rack")).args(["experiment", "--check"]).arg(file).output().unwrap()
}

#[test]
fn nothing_is_wrong_with_the_reference_architectures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        let output = check(&file);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(output.stdout.starts_with(name.as_bytes()), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    fs::write(&file, "name = \"x\"\nphasen = 1\n").unwrap();
    let output = check(&file);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(said.contains("x.toml:2:1") && said.contains("did you mean 'phases'?"), "{said}");
    // Not run by mistake, as long as nothing can be.
    let output = Command::new(env!("CARGO_BIN_EXE_rack")).arg("experiment").arg(&file).output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("--check"));
}
