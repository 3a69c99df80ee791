//! An ELF file as the flat image that the firmware loads, and what it consists of.

use anyhow::{Context, Result, bail};
use object::elf::{PF_X, PT_LOAD, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, Object};

/// Where the firmware of every 64-bit Pi puts `kernel8.img` (`kernel_address` of config.txt defaults to it).
pub const LOAD_ADDRESS: u64 = 0x8_0000;

/// Most bytes of a flat image that are believed: a stray section would otherwise make one of gigabytes.
const FLAT_LEN_MAX: u64 = 64 << 20;

/// Bytes of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The flat image.
    pub image: u64,
    /// The flat image packed: what an SD card holds.
    pub packed: u64,
    /// Instructions.
    pub text: u64,
    /// Constants.
    pub rodata: u64,
    /// Variables with a first value.
    pub data: u64,
    /// Variables that start as zero, stacks and heap included.
    pub bss: u64,
}

/// Returns the loadable segments of an AArch64 ELF file laid out as in memory from [`LOAD_ADDRESS`], zeros in the gaps.
/// What is zero at the end of the last segment (bss) is not part of it.
///
/// # Errors
/// When the file is not a little-endian AArch64 ELF, its segments are not where the firmware loads them, or it has none.
pub fn flatten(elf: &[u8]) -> Result<Vec<u8>> {
    let file = parse(elf)?;
    let endian = file.endian();
    let mut flat = Vec::new();
    let mut is_entry_loaded = false;
    for segment in file.elf_program_headers() {
        let (address, len) = (segment.p_paddr(endian), segment.p_filesz(endian));
        if segment.p_type(endian) != PT_LOAD || len == 0 {
            continue;
        }
        let start = address.checked_sub(LOAD_ADDRESS).with_context(|| {
            format!("a segment is at {address:#x}, below {LOAD_ADDRESS:#x} where the firmware loads the image")
        })?;
        let end = start.checked_add(len).filter(|end| *end <= FLAT_LEN_MAX);
        let end = end.with_context(|| format!("a segment at {address:#x} is far behind {LOAD_ADDRESS:#x}"))?;
        let bytes = segment.data(endian, elf).ok().context("a segment is not in the file")?;
        let (start, end) = (usize::try_from(start)?, usize::try_from(end)?);
        if flat.len() < end {
            flat.resize(end, 0);
        }
        flat[start..end].copy_from_slice(bytes);
        let entry = file.entry();
        is_entry_loaded |= segment.p_flags(endian) & PF_X != 0 && (address..address + len).contains(&entry);
    }
    if flat.is_empty() {
        bail!("it has nothing to load: is the linker script in use?");
    }
    if !is_entry_loaded {
        bail!("its entry point {:#x} is not in an executable segment", file.entry());
    }
    Ok(flat)
}

/// Returns how many bytes of each kind an ELF file has, `image` being the length of its flat image.
///
/// # Errors
/// When it is not a little-endian AArch64 ELF.
pub fn sizes(elf: &[u8], image: u64) -> Result<Sizes> {
    let file = parse(elf)?;
    let endian = file.endian();
    let mut sizes = Sizes { image, ..Sizes::default() };
    for section in file.elf_section_table().iter() {
        let flags = section.sh_flags(endian);
        let has = |flag: u32| flags & u64::from(flag) != 0;
        if !has(SHF_ALLOC) {
            continue;
        }
        let kind = match (section.sh_type(endian) == SHT_NOBITS, has(SHF_EXECINSTR), has(SHF_WRITE)) {
            (true, ..) => &mut sizes.bss,
            (false, true, _) => &mut sizes.text,
            (false, false, true) => &mut sizes.data,
            (false, false, false) => &mut sizes.rodata,
        };
        *kind += section.sh_size(endian);
    }
    Ok(sizes)
}

fn parse(elf: &[u8]) -> Result<ElfFile64<'_, Endianness>> {
    let file = ElfFile64::<Endianness>::parse(elf).context("it is not a 64-bit ELF file")?;
    let machine = file.elf_header().e_machine(file.endian());
    if machine != object::elf::EM_AARCH64 || file.endian() != Endianness::Little {
        bail!("it is not for little-endian AArch64");
    }
    Ok(file)
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    /// An executable segment: address and contents.
    pub(crate) struct Segment(pub(crate) u64, pub(crate) &'static [u8]);

    /// An ELF file of `machine` with these segments, without sections (System V ABI, ELF-64 object file format).
    pub(crate) fn elf(machine: u16, entry: u64, segments: &[Segment]) -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        file.extend(2_u16.to_le_bytes());
        file.extend(machine.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend(entry.to_le_bytes());
        file.extend(64_u64.to_le_bytes());
        file.extend([0; 8 + 4]);
        for half in [64, 56, u16::try_from(segments.len()).unwrap(), 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut offset = 64 + 56 * segments.len() as u64;
        for Segment(address, bytes) in segments {
            let len = bytes.len() as u64;
            file.extend(PT_LOAD.to_le_bytes());
            file.extend((PF_X | object::elf::PF_R).to_le_bytes());
            for word in [offset, *address, *address, len, len + 0x100, 8] {
                file.extend(word.to_le_bytes());
            }
            offset += len;
        }
        file.extend(segments.iter().flat_map(|Segment(_, bytes)| bytes.iter()));
        file
    }

    pub(crate) const AARCH64: u16 = object::elf::EM_AARCH64;

    #[test]
    fn segments_are_laid_out_with_zeros_between_and_no_bss() {
        let file = elf(AARCH64, 0x8_0000, &[Segment(0x8_0008, b"data"), Segment(0x8_0000, b"code")]);
        assert_eq!(flatten(&file).unwrap(), b"code\0\0\0\0data");
    }

    #[test]
    fn segments_outside_of_the_place_are_refused() {
        let below = flatten(&elf(AARCH64, 0x1000, &[Segment(0x1000, b"x")])).unwrap_err().to_string();
        assert!(below.contains("below 0x80000"), "{below}");
        let beyond = flatten(&elf(AARCH64, 0x8_0000, &[Segment(0xffff_0000_0008_0000, b"x")])).unwrap_err();
        assert!(beyond.to_string().contains("far behind"), "{beyond}");
    }

    #[test]
    fn an_image_without_contents_or_entry_is_refused() {
        let empty = flatten(&elf(AARCH64, 0x8_0000, &[])).unwrap_err().to_string();
        assert!(empty.contains("nothing to load"), "{empty}");
        let lost = flatten(&elf(AARCH64, 0x9_0000, &[Segment(0x8_0000, b"code")])).unwrap_err().to_string();
        assert!(lost.contains("entry point 0x90000"), "{lost}");
    }

    #[test]
    fn other_files_are_refused() {
        assert!(flatten(b"#!/bin/sh").is_err());
        assert!(flatten(&elf(object::elf::EM_X86_64, 0x8_0000, &[Segment(0x8_0000, b"code")])).is_err());
    }

    #[test]
    fn a_truncated_file_is_an_error_and_not_a_panic() {
        let file = elf(AARCH64, 0x8_0000, &[Segment(0x8_0000, b"code")]);
        for len in 0..file.len() {
            assert!(flatten(&file[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn sizes_of_a_file_without_sections_are_zero_but_the_image() {
        let file = elf(AARCH64, 0x8_0000, &[Segment(0x8_0000, b"code")]);
        assert_eq!(sizes(&file, 4).unwrap(), Sizes { image: 4, ..Sizes::default() });
    }
}
