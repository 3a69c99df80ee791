//! Puts an image on a card, and makes sure that it is a card.

mod copy;
mod device;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use nix::errno::Errno;
use nix::fcntl::OFlag;

use self::copy::{BLOCK, End, write};
use self::device::{Device, System, Target};
use crate::image::{Content, card};
use crate::progress::{Bar, say};

/// What a shell shows for a program that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: u8 = 130;
/// The mark at the end of a disk's first sector, without which nothing boots from it.
const MARK: [u8; 2] = [0x55, 0xaa];
const MARK_AT: u64 = 510;

/// How a card is written.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The whole card, such as /dev/sdb or /dev/mmcblk0. Without it, the cards that are plugged in are listed.
    device: Option<PathBuf>,
    /// Writes this image, as `rack image` makes it, instead of making one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cmdline", "ssh_key", "firmware", "no_build"])]
    image: Option<PathBuf>,
    /// The device once more: needed for one that does not look like a card. All that is on it will be gone.
    #[arg(long, value_name = "DEVICE")]
    yes_i_mean: Option<PathBuf>,
    #[command(flatten)]
    content: Content,
}

/// Writes a card and reads it back.
pub(crate) fn flash(options: &Options) -> Result<ExitCode> {
    let system = System::new(Path::new("/"));
    let Some(path) = &options.device else { bail!(which(&system)) };
    let is_confirmed = options.yes_i_mean.as_ref() == Some(path);
    if let Some(other) = options.yes_i_mean.as_ref().filter(|_| !is_confirmed) {
        bail!("--yes-i-mean {} is not {}: nothing was written", other.display(), path.display());
    }
    let target = Target::of(path).map_err(|error| hint(error, path, options))?;
    system.check(&target, is_confirmed)?;
    let mut image = Image::open(options)?;
    if target.len() < image.len {
        bail!("{} has {}, the image {}: take a larger card", path.display(), mib(target.len()), mib(image.len));
    }
    let is_stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&is_stopped);
    ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed)).context("Ctrl-C can't be caught")?;
    let device = open(&target, true).map_err(|error| hint(error, path, options))?;
    say(&format!(
        "{} {}",
        if is_confirmed { "writing, as confirmed, to" } else { "writing to" },
        system.describe(&target)
    ));
    match put(&mut image, device, &target, &|| is_stopped.load(Ordering::Relaxed))? {
        End::Done => {
            say(&format!("{}: {} written and read back; it can be taken out", path.display(), mib(image.len)));
            Ok(ExitCode::SUCCESS)
        }
        End::Stopped { done } => {
            say(&format!(
                "stopped after {} of {}: the card is incomplete and will not boot",
                mib(done),
                mib(image.len)
            ));
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// Writes, then opens the device anew, past every cache, and compares.
fn put(image: &mut Image, mut device: File, target: &Target, is_stopped: &dyn Fn() -> bool) -> Result<End> {
    let name = target.path.display();
    let bar = Bar::start("writing", image.len);
    let end = write(&mut image.source, image.len, &mut device, is_stopped, &|done| bar.set(done));
    bar.end();
    if let stopped @ End::Stopped { .. } = end.with_context(|| format!("{name} can't be written: {REMOVED}"))? {
        return Ok(stopped);
    }
    device.sync_all().with_context(|| format!("{name} can't be written: {REMOVED}"))?;
    drop(device);
    let mut device = open(target, false).with_context(|| format!("{name} can't be read back"))?;
    let bar = Bar::start("reading back", image.len);
    let end = copy::compare(&mut image.source, image.len, &mut device, is_stopped, &|done| bar.set(done));
    bar.end();
    match end? {
        // What was not compared may be wrong, but it was written.
        End::Stopped { .. } => bail!("stopped before everything was read back: do it again to be sure of this card"),
        End::Done => Ok(End::Done),
    }
}

const REMOVED: &str = "was the card taken out, or is it worn out? It is incomplete now";

/// Opens the device. A block device is opened past the page cache, so that what is read was on the card, and exclusively, so that
/// the system itself refuses when something uses it.
fn open(target: &Target, is_writing: bool) -> io::Result<File> {
    let flags = match target.device {
        Device::Block(_) => OFlag::O_DIRECT | OFlag::O_EXCL,
        Device::File => OFlag::empty(),
    };
    let file = OpenOptions::new().read(true).write(is_writing).custom_flags(flags.bits()).open(&target.path)?;
    if target.device == Device::File {
        // Best effort: a file is for trying things out.
        let _ = nix::fcntl::posix_fadvise(&file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
    Ok(file)
}

/// Says what to do about a device that can't be opened.
fn hint(error: io::Error, path: &Path, options: &Options) -> anyhow::Error {
    let name = path.display();
    let errno = error.raw_os_error().map(Errno::from_raw);
    match (error.kind(), errno) {
        (ErrorKind::PermissionDenied, _) => {
            let program = std::env::current_exe().unwrap_or_else(|_| "rack".into());
            let image = options.image.clone().unwrap_or_else(|| "rack.img".into());
            let first = if options.image.is_some() { "" } else { "cargo run -- image && " };
            anyhow!(
                "{name} may not be written by this user. As root: {first}sudo {} flash {name} --image {}",
                program.display(),
                image.display()
            )
        }
        (_, Some(Errno::EBUSY)) => anyhow!("{name} is in use: unmount what is on it, and end what uses it"),
        (_, Some(Errno::ENOMEDIUM)) => anyhow!("there is no card in {name}"),
        (_, Some(Errno::EROFS)) => anyhow!("{name} is write-protected: look at the slider on the side of the card"),
        (ErrorKind::NotFound, _) => anyhow!("there is no {name}. {}", which(&System::new(Path::new("/")))),
        _ => anyhow!(error).context(format!("{name} can't be opened")),
    }
}

/// Asks which device to take.
fn which(system: &System) -> String {
    let candidates = system.candidates();
    if candidates.is_empty() {
        return "no card is plugged in; a device that does not look like one has to be named twice: flash DEVICE --yes-i-mean DEVICE"
            .into();
    }
    format!("name the card to write to; all that is on it will be gone:\n  {}", candidates.join("\n  "))
}

/// What is written.
struct Image {
    source: Box<dyn Source>,
    len: u64,
}

trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

impl Image {
    fn open(options: &Options) -> Result<Self> {
        let mut source: Box<dyn Source> = match &options.image {
            Some(path) => Box::new(File::open(path).with_context(|| format!("{} can't be read", path.display()))?),
            None => Box::new(io::Cursor::new(card(&options.content.files()?.files)?)),
        };
        let len = source.seek(SeekFrom::End(0))?;
        let mut mark = [0; 2];
        let is_image = len >= BLOCK as u64 && len % BLOCK as u64 == 0;
        if is_image {
            source.seek(SeekFrom::Start(MARK_AT))?;
            source.read_exact(&mut mark)?;
        }
        if mark != MARK {
            let name = options.image.as_deref().unwrap_or(Path::new("this")).display();
            bail!("{name} is not the image of a card; `cargo run -- image` makes one");
        }
        Ok(Self { source, len })
    }
}

fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_mebibytes() {
        assert_eq!(mib(64 << 20), "64.0 MiB");
        assert_eq!(mib((1 << 20) - 1), "0.9 MiB");
    }
}
