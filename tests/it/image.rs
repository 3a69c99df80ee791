//! The image itself.

use anyhow::{Result, ensure};
use tests::lab::say;
use tests::node;

#[test]
fn the_image_is_an_arm64_image_of_at_most_a_megabyte() -> Result<()> {
    let image = std::fs::read(&node::kit()?.image)?;
    let packed = std::fs::metadata(&node::kit()?.packed)?.len();
    say(&format!("image: {packed} bytes packed, {} bytes unpacked", image.len()));
    ensure!(packed <= 1_000_000, "{packed} bytes");
    // Linux, Documentation/arch/arm64/booting.rst: the magic number at offset 56, the text offset at 8, the size at 16.
    let number = |at: usize| image.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    ensure!(image.get(56..60) == Some(b"ARM\x64"), "no magic number");
    ensure!(number(8) == Some(0x80000), "text offset {:?}", number(8));
    ensure!(number(16).is_some_and(|size| size >= image.len() as u64), "size {:?}", number(16));
    Ok(())
}

#[test]
fn memory_in_use_is_at_most_16_megabytes_and_printed_at_boot() -> Result<()> {
    let rig = node::Rig::boot("")?;
    let metrics = rig.node.settled_metrics()?;
    let used = metrics.one("node_memory_MemTotal_bytes", &[])? - metrics.one("node_memory_MemAvailable_bytes", &[])?;
    say(&format!("memory in use: {:.1} MB", used / 1e6));
    ensure!((100e3..=16e6).contains(&used), "{used} bytes in use");
    // "9785 KiB of RAM in use, 960 MiB in all": image, heap, buffers and stacks.
    let printed = rig.node.console().lines().iter().find_map(|line| {
        let (before, _) = line.split_once(" KiB of RAM in use")?;
        before.rsplit(' ').next()?.parse::<f64>().ok()
    });
    let printed = printed.map(|kib| kib * 1024.0);
    ensure!(printed.is_some_and(|bytes| bytes <= 16e6), "printed at boot: {printed:?} bytes in use");
    Ok(())
}
