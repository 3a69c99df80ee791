//! What the node was told at boot: the files of its initramfs and its command line, and what was wrong with them.

use core::cell::Cell;

use config::{AUTHORIZED_KEYS, Config, Files, NODE_TOML, RACK_KEY};
use critical_section::Mutex;
use log::{info, warn};

use crate::mem::handover::Missing;

/// The files that the node was given.
static ARCHIVE: Mutex<Cell<&'static [u8]>> = Mutex::new(Cell::new(&[]));

/// Returns the archive of the files that the node was given; empty when there is none.
pub(crate) fn archive() -> &'static [u8] {
    critical_section::with(|cs| ARCHIVE.borrow(cs).get())
}

/// Reads it all, and tells the user about it.
pub(crate) fn read(initramfs: Result<&'static [u8], Missing>, command_line: &[u8]) -> Config {
    let archive = initramfs.unwrap_or_default();
    critical_section::with(|cs| ARCHIVE.borrow(cs).set(archive));
    let find = |name| initramfs::find(archive, name);
    let files = Files { node_toml: find(NODE_TOML), authorized_keys: find(AUTHORIZED_KEYS), rack_key: find(RACK_KEY) };
    let config = Config::read(files, command_line);
    // Not earlier: lines that are not asked for are not kept.
    log::set_max_level(level(config.log));
    match initramfs {
        Ok(archive) => tell(archive),
        Err(Missing::None) => {}
        Err(missing) => warn!("{missing}"),
    }
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    if config.warnings_dropped > 0 {
        warn!("configuration: {} more mistakes", config.warnings_dropped);
    }
    config
}

/// Names the files, so that one with a typing error in its name is seen.
fn tell(archive: &[u8]) {
    info!("initramfs: {} bytes", archive.len());
    for file in initramfs::files(archive) {
        match file {
            Ok(file) => info!("initramfs: {}, {} bytes", file.name.escape_debug(), file.content.len()),
            Err(error) => warn!("{error}"),
        }
    }
}

fn level(level: config::Level) -> log::LevelFilter {
    match level {
        config::Level::Error => log::LevelFilter::Error,
        config::Level::Warn => log::LevelFilter::Warn,
        config::Level::Info => log::LevelFilter::Info,
        config::Level::Debug => log::LevelFilter::Debug,
        config::Level::Trace => log::LevelFilter::Trace,
    }
}
