//! Builds the image: cargo compiles the kernel, the ELF is made flat, and that is packed for cards and the network.
//!
//! Test programs call this at the same time; a lock on a file lets one of them work and the others find it done.

use std::env;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::elf::{self, Sizes};

/// Target of the image.
pub const TARGET: &str = "aarch64-unknown-none";
/// Most bytes of the packed image.
pub const IMAGE_LEN_MAX: u64 = 1_000_000;

/// A built image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The flat image, `target/kernel8.img`.
    pub image: PathBuf,
    /// The same packed by gzip, `target/kernel8.img.gz`: what boards load, under the name `kernel8.img`. The firmware of every
    /// board that starts 64-bit kernels unpacks it (raspberrypi/documentation, config.txt, "arm_64bit").
    pub packed: PathBuf,
    /// The ELF file with debug information, `target/kernel.elf`.
    pub elf: PathBuf,
    /// What it consists of.
    pub sizes: Sizes,
}

/// Builds the image of this workspace, or finds that it is up to date. `progress` gets cargo's lines.
///
/// # Errors
/// The compiler's messages, or why the ELF file can't be an image.
pub fn kernel(progress: &mut dyn FnMut(&str)) -> Result<Built> {
    let root = workspace_root()?;
    let target = target_directory(&root);
    fs::create_dir_all(&target).with_context(|| format!("{} can't be made", target.display()))?;
    let lock = File::create(target.join(".kernel8.lock"))?;
    lock.lock().context("the lock of the image can't be taken")?;
    let compiled = compile(&root, progress)?;
    package(&compiled, &target)
}

/// Returns the image of this workspace as it was built last, without building it.
///
/// # Errors
/// When it was never built.
pub fn existing() -> Result<Built> {
    let target = target_directory(&workspace_root()?);
    let (image, packed, elf) = (target.join(IMAGE), target.join(PACKED), target.join(ELF));
    let bytes =
        fs::read(&elf).with_context(|| format!("there is no {}; `cargo run -- build` makes it", elf.display()))?;
    let len = |file: &Path| -> Result<u64> {
        Ok(fs::metadata(file).with_context(|| format!("there is no {}", file.display()))?.len())
    };
    let sizes = Sizes { packed: len(&packed)?, ..elf::sizes(&bytes, len(&image)?)? };
    Ok(Built { sizes, image, packed, elf })
}

/// Returns the directory of the workspace: the nearest one upwards, from the package that cargo runs or from here, that
/// has the kernel in it.
///
/// # Errors
/// When there is none.
pub fn workspace_root() -> Result<PathBuf> {
    let starts = [env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from), env::current_dir().ok()];
    let candidates = starts.iter().flatten().flat_map(|start| start.ancestors());
    let root = candidates.into_iter().find(|directory| directory.join("kernel/Cargo.toml").is_file());
    root.map(Path::to_owned).context("this is not inside of the MiniPiRack workspace: run it in a directory of it")
}

const IMAGE: &str = "kernel8.img";
const PACKED: &str = "kernel8.img.gz";
const ELF: &str = "kernel.elf";

fn target_directory(root: &Path) -> PathBuf {
    root.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Runs cargo and returns the ELF file that it made.
fn compile(root: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .args(["build", "--release", "--package", "kernel", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(commit) = commit(root) {
        command.env("MINIPIRACK_BUILD", commit);
    }
    // Cargo tells these to the program that it runs; to the cargo below they would be settings.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_BIN_") {
            command.env_remove(&name);
        }
    }
    let mut child = command.spawn().context("cargo can't be run")?;
    let mut stdout = child.stdout.take().context("cargo has no output")?;
    let artifacts = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let mut said = String::new();
    for line in child.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line?;
        progress(&line);
        said.push_str(&line);
        said.push('\n');
    }
    let artifacts = artifacts.join().ok().context("cargo's output can't be read")??;
    if !child.wait()?.success() {
        bail!("the kernel does not build:\n{said}");
    }
    executable(&artifacts).context("cargo built no executable of the kernel")
}

/// Returns the commit that is built, for the node to tell; `-dirty` when files differ from it. Sources without git have
/// none.
fn commit(root: &Path) -> Option<String> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !name.is_empty()).then_some(name)
}

/// Finds the kernel in cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "kernel")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// Makes the two files of the image out of the compiler's ELF file.
fn package(compiled: &Path, target: &Path) -> Result<Built> {
    let bytes = fs::read(compiled).with_context(|| format!("{} can't be read", compiled.display()))?;
    let flat = elf::flatten(&bytes).with_context(|| format!("{} can't be made flat", compiled.display()))?;
    let gzip = pack(&flat).context("the image can't be packed")?;
    let sizes = Sizes { packed: gzip.len() as u64, ..elf::sizes(&bytes, flat.len() as u64)? };
    if sizes.packed > IMAGE_LEN_MAX {
        bail!(
            "the packed image has {} bytes, more than the {IMAGE_LEN_MAX} that it may have ({sizes:?})",
            sizes.packed
        );
    }
    let (image, packed, elf) = (target.join(IMAGE), target.join(PACKED), target.join(ELF));
    replace(&image, &flat)?;
    replace(&packed, &gzip)?;
    replace(&elf, &bytes)?;
    Ok(Built { image, packed, elf, sizes })
}

/// Packs by gzip. The same bytes always give the same file: there is no time in it.
fn pack(flat: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(flat)?;
    Ok(gzip.finish()?)
}

/// Writes a file unless it is the same already. A node that is just loading the old one keeps it.
fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == contents) {
        return Ok(());
    }
    let directory = path.parent().context("a file without a directory")?;
    // As readable as any other file that a compiler leaves; the umask applies.
    let mut new = tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(directory)?;
    new.write_all(contents)?;
    new.persist(path).with_context(|| format!("{} can't be written", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::elf::tests::{AARCH64, Segment, elf};

    #[test]
    fn the_executable_of_the_kernel_is_found_among_the_messages() {
        let messages = "\
{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"boot\"},\"executable\":null}
not json
{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"kernel\"},\"executable\":\"/t/kernel\"}
{\"reason\":\"build-finished\",\"success\":true}";
        assert_eq!(executable(messages), Some("/t/kernel".into()));
        assert_eq!(executable(""), None);
    }

    #[test]
    fn the_workspace_is_found_from_a_package_of_it() {
        assert!(workspace_root().unwrap().join("qemu/Cargo.toml").is_file());
    }

    #[test]
    fn an_unchanged_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f");
        replace(&file, b"one").unwrap();
        let first = fs::metadata(&file).unwrap().modified().unwrap();
        thread::sleep(std::time::Duration::from_millis(20));
        replace(&file, b"one").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), first);
        replace(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
    }

    #[test]
    fn the_image_and_the_elf_file_are_left_in_the_target_directory() {
        let directory = tempfile::tempdir().unwrap();
        let compiled = directory.path().join("kernel");
        let file = elf(AARCH64, elf::LOAD_ADDRESS, &[Segment(elf::LOAD_ADDRESS, b"code")]);
        fs::write(&compiled, &file).unwrap();
        let built = package(&compiled, directory.path()).unwrap();
        assert_eq!(fs::read(built.image).unwrap(), b"code");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(File::open(built.packed).unwrap()).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, b"code");
        assert_eq!(fs::read(built.elf).unwrap(), file);
        assert_eq!(built.sizes.image, 4);
    }

    #[test]
    fn an_oversized_image_is_refused_with_its_size() {
        // Noise, which does not get smaller (Knuth's MMIX generator).
        let mut x = 1u64;
        let noise = std::iter::repeat_with(|| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        });
        let huge: &[u8] = noise.take(1_000_001).collect::<Vec<u8>>().leak();
        let directory = tempfile::tempdir().unwrap();
        let compiled = directory.path().join("kernel");
        fs::write(&compiled, elf(AARCH64, elf::LOAD_ADDRESS, &[Segment(elf::LOAD_ADDRESS, huge)])).unwrap();
        let error = package(&compiled, directory.path()).unwrap_err().to_string();
        assert!(error.starts_with("the packed image has 100") && error.contains("more than the 1000000"), "{error}");
        assert!(!directory.path().join(IMAGE).exists());
    }

    #[test]
    fn what_is_no_executable_is_refused() {
        let root = workspace_root().unwrap();
        let error = package(&root.join("Cargo.toml"), &root).unwrap_err();
        assert!(format!("{error:#}").contains("can't be made flat: it is not a 64-bit ELF file"), "{error:#}");
    }
}
