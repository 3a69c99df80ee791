//! The bytes of a card: a partition table with one FAT32 partition, and the files in it.
//!
//! There are no directories: those that fatfs 0.3.6 makes have entries that fsck.vfat complains of.
//!
//! The same files give the same bytes: times are fixed, and the numbers that tell volumes apart come from the content.

use std::io::{Cursor, Write};

use anyhow::{Context, Result};
use crc::{CRC_32_ISO_HDLC, Crc};
use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, format_volume};

use crate::firmware::Files;

/// Bytes of a whole card. A power of two, or QEMU does not take it for an SD card.
pub(super) const CARD_LEN: usize = 64 << 20;
/// Where the partition begins: on a boundary of the erase blocks of common cards, as on the Raspberry Pi project's images.
const PARTITION_START: usize = 4 << 20;
const SECTOR: usize = 512;
/// FAT32 asks for at least 65,525 clusters (Microsoft, FAT32 File System Specification 1.03, "FAT Type Determination").
const CLUSTER: u32 = 512;

/// Partition type "FAT32, by LBA", the one that the boot ROM of every Pi takes.
const FAT32_LBA: u8 = 0x0c;
/// Places in the first sector: the disk's number, the first of four partition entries, and the mark at the end.
const DISK_ID: usize = 440;
const FIRST_ENTRY: usize = 446;
const MARK: usize = 510;
/// Cylinder, head and sector beyond what these fields can say: the reader has to take the LBA.
const CHS_BEYOND: [u8; 3] = [0xfe, 0xff, 0xff];

/// Places in a FAT32 volume: the number of sectors before it (BPB_HiddSec), and its second boot sector.
const HIDDEN_SECTORS: usize = 0x1c;
const BACKUP_SECTOR: usize = 6;

/// When every file was made, as a FAT volume has to know: the first day that it can say.
const TIME: DateTime =
    DateTime { date: Date { year: 1980, month: 1, day: 1 }, time: Time { hour: 0, min: 0, sec: 0, millis: 0 } };

/// Returns the content of a card with these files.
pub(super) fn card(files: &Files) -> Result<Vec<u8>> {
    let mut card = vec![0; CARD_LEN];
    let id = content_id(files);
    let (table, partition) = card.split_at_mut(PARTITION_START);
    write_partition_table(table, id, partition.len());
    write_volume(partition, id, files)?;
    Ok(card)
}

/// Returns a number that changes with the content.
fn content_id(files: &Files) -> u32 {
    let crc = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let mut digest = crc.digest();
    for (name, bytes) in files {
        digest.update(name.as_bytes());
        digest.update(&[0]);
        digest.update(bytes);
    }
    digest.finalize()
}

fn write_partition_table(table: &mut [u8], id: u32, partition_len: usize) {
    let sectors = |len: usize| ((len / SECTOR) as u32).to_le_bytes();
    let mut entry = [0; 16];
    entry[1..4].copy_from_slice(&CHS_BEYOND);
    entry[4] = FAT32_LBA;
    entry[5..8].copy_from_slice(&CHS_BEYOND);
    entry[8..12].copy_from_slice(&sectors(PARTITION_START));
    entry[12..16].copy_from_slice(&sectors(partition_len));
    table[DISK_ID..DISK_ID + 4].copy_from_slice(&id.to_le_bytes());
    table[FIRST_ENTRY..FIRST_ENTRY + 16].copy_from_slice(&entry);
    table[MARK..MARK + 2].copy_from_slice(&[0x55, 0xaa]);
}

fn write_volume(partition: &mut [u8], id: u32, files: &Files) -> Result<()> {
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(CLUSTER)
        .volume_id(id)
        .volume_label(*b"MINIPIRACK ");
    format_volume(Cursor::new(&mut *partition), options).context("the volume can't be made")?;
    let volume = FileSystem::new(Cursor::new(&mut *partition), FsOptions::new())?;
    for (name, bytes) in files {
        write_file(&volume, name, bytes).with_context(|| format!("{name} does not fit on the card"))?;
    }
    // Counts the free clusters, which are then noted in the volume.
    volume.stats()?;
    volume.unmount()?;
    let hidden = ((PARTITION_START / SECTOR) as u32).to_le_bytes();
    for sector in [0, BACKUP_SECTOR] {
        let at = sector * SECTOR + HIDDEN_SECTORS;
        partition[at..at + 4].copy_from_slice(&hidden);
    }
    Ok(())
}

#[expect(deprecated, reason = "fatfs 0.3.6 has no other way to give a date, and without one it is the 0th of month 0")]
fn write_file(volume: &FileSystem<Cursor<&mut [u8]>>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut file = volume.root_dir().create_file(name)?;
    file.write_all(bytes)?;
    file.set_created(TIME);
    file.set_modified(TIME);
    file.set_accessed(TIME.date);
    file.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::io::Read;

    use super::*;

    fn files() -> Files {
        let files: [(&str, &[u8]); 4] = [
            ("bootcode.bin", b"boot"),
            ("bcm2710-rpi-3-b-plus.dtb", &[7; 100_000]),
            ("start.elf", b"start"),
            ("fixup.dat", b""),
        ];
        files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect()
    }

    #[test]
    fn the_partition_table_has_one_aligned_fat32_partition() {
        let card = card(&files()).unwrap();
        assert_eq!(card.len(), 64 << 20);
        assert_eq!(card[510..512], [0x55, 0xaa]);
        let entry = &card[446..462];
        assert_eq!((entry[0], entry[4]), (0, 0x0c));
        assert_eq!(u32::from_le_bytes(entry[8..12].try_into().unwrap()), 8192);
        assert_eq!(u32::from_le_bytes(entry[12..16].try_into().unwrap()), (60 << 20) / 512);
        assert!(card[462..510].iter().all(|byte| *byte == 0), "no other partition");
    }

    #[test]
    fn every_file_is_read_back_and_short_names_are_what_the_rom_looks_for() {
        let mut card = card(&files()).unwrap();
        let volume = FileSystem::new(Cursor::new(&mut card[PARTITION_START..]), FsOptions::new()).unwrap();
        assert_eq!(volume.fat_type(), FatType::Fat32);
        for (name, bytes) in files() {
            let mut read = Vec::new();
            volume.root_dir().open_file(&name).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{name}");
        }
        let bootcode = volume.root_dir().iter().map(Result::unwrap).find(|entry| entry.file_name() == "bootcode.bin");
        assert_eq!(bootcode.unwrap().short_file_name(), "BOOTCODE.BIN");
    }

    #[test]
    fn the_same_files_give_the_same_bytes_and_others_another_volume() {
        let first = card(&files()).unwrap();
        assert!(first == card(&files()).unwrap());
        let mut other = files();
        other.insert("bootcode.bin".into(), b"Boot".to_vec());
        let other = card(&other).unwrap();
        assert_ne!(first[DISK_ID..DISK_ID + 4], other[DISK_ID..DISK_ID + 4]);
    }

    #[test]
    fn too_much_is_refused_by_name() {
        let big = Files::from([("start.elf".to_owned(), vec![1; CARD_LEN])]);
        assert_eq!(card(&big).unwrap_err().to_string(), "start.elf does not fit on the card");
    }
}
