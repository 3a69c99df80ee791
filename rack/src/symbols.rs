//! Names and places of code addresses, from the ELF file that belongs to the image.

use std::ops::Range;
use std::path::Path;

use addr2line::Loader;
use anyhow::{Result, anyhow};

/// What is at an address.
pub(crate) trait Lookup {
    /// Returns the function, its file and line, or `None` when no code is there.
    fn describe(&self, address: u64) -> Option<String>;
}

/// The debug information of an image.
pub(crate) struct Symbols {
    loader: Loader,
    code: Range<u64>,
}

impl Symbols {
    /// Reads an ELF file.
    pub(crate) fn load(elf: &Path) -> Result<Self> {
        let loader = Loader::new(elf).map_err(|error| anyhow!("{} can't be read: {error}", elf.display()))?;
        let code = loader.get_section_range(b".text").map_or(0..0, |range| range.begin..range.end);
        Ok(Self { loader, code })
    }
}

impl Lookup for Symbols {
    fn describe(&self, address: u64) -> Option<String> {
        if !self.code.contains(&address) {
            return None;
        }
        let symbol = self.loader.find_symbol(address).map(demangled);
        let mut functions = Vec::new();
        let mut place = None;
        // An address without debug information still has a symbol: assembly has nothing else.
        if let Ok(mut frames) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let location = frame.location.and_then(|location| Some((shortened(location.file?), location.line)));
                place = place.or(location);
                functions.extend(frame.function.and_then(|name| name.demangle().ok().map(|name| name.into_owned())));
            }
        }
        let function = functions.first().cloned().or(symbol)?;
        let place = match place {
            Some((file, Some(line))) => format!(" ({file}:{line})"),
            Some((file, None)) => format!(" ({file})"),
            None => String::new(),
        };
        let outermost = functions.last().filter(|_| functions.len() > 1);
        let caller = outermost.map(|name| format!(", inlined into {name}")).unwrap_or_default();
        Some(format!("{function}{place}{caller}"))
    }
}

fn demangled(name: &str) -> String {
    addr2line::demangle_auto(name.into(), None).into_owned()
}

/// Cuts off where the sources were when the image was built: the workspace, the package cache, the compiler's own.
fn shortened(file: &str) -> String {
    let registry = file.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/')).map(|(_, rest)| rest);
    let library = file.find("/library/").filter(|_| file.contains("rustc") || file.contains("rustlib"));
    let library = library.map(|at| &file[at + 1..]);
    let root = qemu::build::workspace_root().ok();
    let own = root.and_then(|root| Some(Path::new(file).strip_prefix(root).ok()?.display().to_string()));
    own.or(registry.or(library).map(str::to_owned)).unwrap_or_else(|| file.to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn places_are_shown_without_where_the_sources_were() {
        let root = qemu::build::workspace_root().unwrap();
        assert_eq!(shortened(&format!("{}/kernel/src/main.rs", root.display())), "kernel/src/main.rs");
        assert_eq!(
            shortened("/home/u/.cargo/registry/src/index-1/smoltcp-0.14.0/src/lib.rs"),
            "smoltcp-0.14.0/src/lib.rs"
        );
        assert_eq!(shortened("/rustc/0123/library/core/src/panicking.rs"), "library/core/src/panicking.rs");
        assert_eq!(shortened("/elsewhere/x.rs"), "/elsewhere/x.rs");
    }

    #[test]
    fn this_program_itself_can_be_looked_up() {
        let symbols = Symbols::load(&std::env::current_exe().unwrap()).unwrap();
        let mut descriptions = symbols.code.clone().step_by(64).filter_map(|address| symbols.describe(address));
        // What the compiler made up has a file but no line.
        let is_own =
            |text: &String| text.starts_with("rack::") && text.contains(" (rack/src/") && text.contains(".rs:");
        assert!(descriptions.any(|text| is_own(&text)), "no function of this crate with its place");
    }

    #[test]
    fn addresses_outside_of_the_code_have_no_name() {
        let symbols = Symbols::load(&std::env::current_exe().unwrap()).unwrap();
        for address in [0, symbols.code.start - 1, symbols.code.end, u64::MAX - 1, u64::MAX] {
            assert_eq!(symbols.describe(address), None, "{address:#x}");
        }
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        assert!(Symbols::load(Path::new("/nowhere")).is_err());
        assert!(Symbols::load(&qemu::build::workspace_root().unwrap().join("Cargo.toml")).is_err());
    }
}
