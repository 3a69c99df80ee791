//! What a boot loader says without a device tree: a list of tags.
//!
//! It is an old way, for 32-bit kernels. But QEMU takes it for a board to which it was given no device tree, also in 64 bits,
//! and so does the firmware of a Pi when its device tree is switched off: then this list is at the address in x0, and tells
//! where an initramfs is. Everything else in it a node gets from the mailbox.
//!
//! Sources: Linux, Documentation/arch/arm/booting.rst ("Setup the kernel tagged list") and
//! arch/arm/include/uapi/asm/setup.h; QEMU, hw/arm/boot.c, `set_kernel_args`.

use core::ops::Range;

/// Longest list that is looked at, in bytes: what fits between 0x100, where lists usually are, and the end of the page.
pub const MAX_LEN: usize = 0xf00;

/// Tags: the first of a list, an initramfs, and the last.
const CORE: u32 = 0x5441_0001;
const INITRD2: u32 = 0x5442_0005;
const NONE: u32 = 0;

/// Returns where the initramfs is that a list tells of, as physical addresses; `None` also if this is no list.
#[must_use]
pub fn initramfs(list: &[u8]) -> Option<Range<u64>> {
    let (words, _) = list.as_chunks();
    let word = |index: usize| words.get(index).map(|word| u32::from_le_bytes(*word));
    if word(1)? != CORE {
        return None;
    }
    let mut at = 0;
    loop {
        // A tag: its length in words with these two, which tag, and what it says.
        let (len, tag) = (word(at)?, word(at + 1)?);
        if tag == NONE || len < 2 {
            return None;
        }
        if tag == INITRD2 && len >= 4 {
            let (start, len) = (u64::from(word(at + 2)?), u64::from(word(at + 3)?));
            return (len > 0).then_some(start..start + len);
        }
        at = at.checked_add(usize::try_from(len).ok()?)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// What QEMU writes for a raspi3b with `-initrd` and `-append ab`, but for the numbers.
    const QEMU: [u32; 20] = [
        5,
        CORE,
        1,
        0x1000,
        0,
        4,
        0x5441_0002,
        0x3c00_0000,
        0,
        4,
        INITRD2,
        0x0800_0000,
        0x1234,
        3,
        0x5441_0009,
        0x6261,
        0,
        0,
        0,
        0,
    ];

    #[test]
    fn the_initramfs_is_found_among_other_tags() {
        assert_eq!(initramfs(&list(&QEMU)), Some(0x0800_0000..0x0800_1234));
    }

    #[test]
    fn lists_without_one_and_other_bytes_give_none() {
        let mut without = QEMU;
        without[10] = 0x5441_0004;
        assert_eq!(initramfs(&list(&without)), None);
        let mut empty = QEMU;
        empty[12] = 0;
        assert_eq!(initramfs(&list(&empty)), None);
        assert_eq!(initramfs(&[]), None);
        assert_eq!(initramfs(&[0; 64]), None);
        assert_eq!(initramfs(b"\xd0\x0d\xfe\xed device tree"), None);
    }

    #[test]
    fn every_list_has_an_end() {
        for cut in 0..list(&QEMU).len() {
            let found = initramfs(&list(&QEMU)[..cut]);
            assert_eq!(found.is_some(), cut >= 13 * 4, "{cut}");
        }
        for len in [0, 1, 2, 3, u32::MAX] {
            for at in [0, 5] {
                let mut words = QEMU;
                words[at] = len;
                // Ends; whether something is found depends on where the length leads to.
                let _ = initramfs(&list(&words));
            }
        }
        let mut far = QEMU;
        (far[11], far[12]) = (u32::MAX, u32::MAX);
        assert_eq!(initramfs(&list(&far)), Some(0xffff_ffff..0x1_ffff_fffe));
    }
}
