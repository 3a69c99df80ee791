//! What a boot loader leaves in memory: a device tree, or a list of tags.
#![no_main]

use drivers::atags;
use drivers::device_tree::{DeviceTree, MAX_LEN, blob_len};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(header) = data.first_chunk() {
        assert!(blob_len(header).is_none_or(|len| len <= MAX_LEN));
    }
    if let Ok(tree) = DeviceTree::parse(data) {
        assert!(tree.memory.iter().all(|range| range.start <= range.end), "{:?}", tree.memory);
        assert!(tree.initramfs.is_none_or(|range| range.start <= range.end));
        assert!(tree.bootargs.is_none_or(|text| text.len() <= data.len()));
    }
    if let Some(range) = atags::initramfs(data) {
        assert!(range.start < range.end && range.end - range.start <= u64::from(u32::MAX));
    }
});
