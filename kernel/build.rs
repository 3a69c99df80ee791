//! Links the image by the memory map.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../linker/kernel.ld");
    println!("cargo:rustc-link-arg-bins=-T{script}");
    // The section with the texts of defmt's frames, which is in the ELF file only; from the defmt crate.
    println!("cargo:rustc-link-arg-bins=-Tdefmt.x");
    println!("cargo:rustc-link-arg-bins=--build-id=none");
    println!("cargo:rerun-if-changed={script}");
}
