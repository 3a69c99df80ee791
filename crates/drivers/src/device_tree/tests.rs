//! Tests of the device tree against trees made here.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::slice;

use dtoolkit::model::{DeviceTree as Tree, DeviceTreeNode, DeviceTreeProperty};

use super::*;

const MAC: [u8; 6] = [0xb8, 0x27, 0xeb, 1, 2, 3];

fn property(name: &str, value: &[u8]) -> DeviceTreeProperty {
    DeviceTreeProperty::new(name, value).unwrap()
}

fn node(name: &str, properties: &[(&str, &[u8])]) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new(name).unwrap();
    for (name, value) in properties {
        node.add_property(property(name, value));
    }
    node
}

/// The parts of bcm2710-rpi-3-b.dtb that matter, as the firmware fills them in.
fn pi_3b() -> Tree {
    let mut tree = Tree::new();
    for (name, value) in [
        ("#address-cells", &[0, 0, 0, 1][..]),
        ("#size-cells", &[0, 0, 0, 1]),
        ("model", b"Raspberry Pi 3 Model B Rev 1.2\0"),
        ("compatible", b"raspberrypi,3-model-b\0brcm,bcm2837\0"),
        ("serial-number", b"00000000abcd1234\0"),
    ] {
        tree.root.add_property(property(name, value));
    }
    tree.root.add_child(node("aliases", &[("ethernet0", b"/soc/usb@7e980000/ethernet@1\0")]));
    tree.root.add_child(node("chosen", &[("bootargs", b"coherent_pool=1M name=n1\0")]));
    tree.root.add_child(node("memory@0", &[("device_type", b"memory\0"), ("reg", &[0, 0, 0, 0, 0x3c, 0, 0, 0])]));
    let mut usb = node("usb@7e980000", &[]);
    usb.add_child(node("ethernet@1", &[("local-mac-address", &MAC)]));
    let mut soc = node("soc", &[]);
    soc.add_child(usb);
    tree.root.add_child(soc);
    tree
}

#[test]
fn what_the_firmware_fills_in_is_read() {
    let blob = pi_3b().to_dtb();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert_eq!(tree.model, Some("Raspberry Pi 3 Model B Rev 1.2"));
    assert_eq!(tree.serial, Some("00000000abcd1234"));
    assert_eq!(tree.bootargs, Some(&b"coherent_pool=1M name=n1"[..]));
    assert_eq!(tree.mac, Some(MAC));
    assert_eq!(tree.memory.as_slice(), slice::from_ref(&(0..0x3c00_0000)));
}

#[test]
fn memory_above_four_gigabytes_is_read() {
    // A Pi 4 of 8 GB: two cells for the address, one for the size (bcm2711-rpi-4-b.dtb).
    let mut tree = pi_3b();
    tree.root.add_property(property("#address-cells", &[0, 0, 0, 2]));
    tree.root.child_mut("memory@0").unwrap().add_property(property(
        "reg",
        &[
            [0, 0, 0, 0, 0, 0, 0, 0, 0x3b, 0x40, 0, 0],
            [0, 0, 0, 0, 0x40, 0, 0, 0, 0xbc, 0, 0, 0],
            [0, 0, 0, 1, 0, 0, 0, 0, 0x80, 0, 0, 0],
            [0, 0, 0, 1, 0x80, 0, 0, 0, 0x80, 0, 0, 0],
        ]
        .concat(),
    ));
    let blob = tree.to_dtb();
    let memory = DeviceTree::parse(&blob).unwrap().memory;
    assert_eq!(
        memory,
        [0..0x3b40_0000, 0x4000_0000..0xfc00_0000, 0x1_0000_0000..0x1_8000_0000, 0x1_8000_0000..0x2_0000_0000]
    );
}

#[test]
fn what_is_missing_or_strange_is_left_out() {
    let blob = Tree::new().to_dtb();
    let empty =
        DeviceTree { model: None, serial: None, bootargs: None, initramfs: None, mac: None, memory: Vec::new() };
    assert_eq!(DeviceTree::parse(&blob), Ok(empty));

    let mut tree = pi_3b();
    tree.root.add_property(property("model", b"\xff\xff"));
    tree.root.child_mut("aliases").unwrap().add_property(property("ethernet0", b"/nowhere\0"));
    // Empty, beyond the end of the address space, and half an entry.
    let reg = [[0, 0, 0, 0, 0, 0, 0, 0], [0xff; 8], [0; 8]].concat();
    tree.root.child_mut("memory@0").unwrap().add_property(property("reg", &reg[..20]));
    let blob = tree.to_dtb();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert_eq!(
        (tree.model, tree.mac, tree.memory.as_slice()),
        (None, None, slice::from_ref(&(0xffff_ffff..0x1_ffff_fffe)))
    );

    let mut tree = pi_3b();
    tree.root.add_property(property("#size-cells", &[0xff; 4]));
    assert!(DeviceTree::parse(&tree.to_dtb()).unwrap().memory.is_empty());
}

#[test]
fn more_memory_than_can_be_kept_is_cut() {
    let mut tree = pi_3b();
    let reg: std::vec::Vec<u8> = (0..20).flat_map(|index| [index, 0, 0, 0, 0, 1, 0, 0]).collect();
    tree.root.child_mut("memory@0").unwrap().add_property(property("reg", &reg));
    assert_eq!(DeviceTree::parse(&tree.to_dtb()).unwrap().memory.len(), MAX_MEMORY_RANGES);
}

#[test]
fn a_header_tells_the_length() {
    let blob = pi_3b().to_dtb();
    assert_eq!(blob_len(blob.first_chunk().unwrap()), Some(blob.len()));
    for header in [[0; 8], *b"\xd0\x0d\xfe\xed\0\0\0\x07", *b"\xd0\x0d\xfe\xed\xff\xff\xff\xff"] {
        assert_eq!(blob_len(&header), None);
    }
}

#[test]
fn a_blob_that_is_cut_is_refused() {
    let blob = pi_3b().to_dtb();
    for len in 0..blob.len() {
        assert!(DeviceTree::parse(&blob[..len]).is_err(), "{len}");
    }
}

#[test]
fn damaged_blobs_never_panic() {
    const BLOBS: u32 = 100_000;
    let blob = pi_3b().to_dtb();
    let mut random = 0x5eed_u64;
    // xorshift64 (Marsaglia, 2003).
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let mut accepted = 0;
    for _ in 0..BLOBS {
        let mut damaged = blob.clone();
        for _ in 0..=next() % 4 {
            let at = next() % damaged.len();
            damaged[at] = match next() % 3 {
                0 => next() as u8,
                1 => damaged[at] ^ 1 << (next() % 8),
                // Tokens and lengths are small numbers.
                _ => (next() % 10) as u8,
            };
        }
        accepted += u32::from(DeviceTree::parse(&damaged).is_ok());
    }
    assert!((BLOBS / 10..BLOBS).contains(&accepted), "some pass, some don't: {accepted}");
}

#[test]
fn an_initramfs_is_found_by_one_cell_or_two() {
    let find = |start: &[u8], end: &[u8]| {
        let mut tree = pi_3b();
        let chosen = tree.root.child_mut("chosen").unwrap();
        chosen.add_property(property("linux,initrd-start", start));
        chosen.add_property(property("linux,initrd-end", end));
        let blob = tree.to_dtb();
        DeviceTree::parse(&blob).unwrap().initramfs
    };
    // The Pi's firmware writes one cell, QEMU as many as addresses have.
    assert_eq!(find(&[0x2e, 0, 0, 0], &[0x2e, 0, 0x12, 0x34]), Some(0x2e00_0000..0x2e00_1234));
    assert_eq!(find(&[0, 0, 0, 0, 8, 0, 0, 0], &[0, 0, 0, 0, 8, 0, 1, 0]), Some(0x0800_0000..0x0800_0100));
    assert_eq!(find(&[8, 0, 0, 0], &[8, 0, 0, 0]), None, "nothing in it");
    assert_eq!(find(&[8, 0, 0, 0], &[7, 0, 0, 0]), None);
    assert_eq!(find(&[8, 0, 0], &[9, 0, 0]), None);
    assert_eq!(DeviceTree::parse(&pi_3b().to_dtb()).unwrap().initramfs, None);
}
