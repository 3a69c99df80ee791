//! What the files of the initramfs set: node.toml, authorized_keys and rack.key.

use alloc::string::String as Text;
use alloc::vec::Vec as List;
use core::fmt::Write;

use crate::keys::{Key, Kind, Section};
use crate::nearest::nearest;
use crate::toml::{self, Setting};
use crate::{Config, Place, Reason, Warning, value};

/// The files that configure a node, as they are in its initramfs. All may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// [`NODE_TOML`].
    pub node_toml: Option<&'a [u8]>,
    /// [`AUTHORIZED_KEYS`].
    pub authorized_keys: Option<&'a [u8]>,
    /// [`RACK_KEY`].
    pub rack_key: Option<&'a [u8]>,
}

/// The file with all settings.
pub const NODE_TOML: &str = "node.toml";
/// The file with public SSH keys, one a line, as sshd(8) has it.
pub const AUTHORIZED_KEYS: &str = "authorized_keys";
/// The file with the rack secret.
pub const RACK_KEY: &str = "rack.key";
/// Longest [`NODE_TOML`] that is read, in bytes.
pub const FILE_LEN_MAX: usize = 32 * 1024;

impl Config {
    /// Reads everything that a node is told at boot: the files, and then the command line, which overrides them.
    #[must_use]
    pub fn read(files: Files<'_>, line: &[u8]) -> Self {
        let mut config = Self::default();
        if let Some(file) = files.node_toml {
            config.apply_toml(file);
        }
        if let Some(file) = files.authorized_keys {
            config.apply_keys(file);
        }
        if let Some(file) = files.rack_key {
            config.apply_secret(file);
        }
        config.apply_line(line);
        config
    }

    fn apply_toml(&mut self, file: &[u8]) {
        let place = |line| Place::File { name: NODE_TOML, line };
        let mut warnings = List::new();
        // Windows puts it in front (the byte order mark).
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        if file.len() > FILE_LEN_MAX {
            return self.warn(Warning::note(place(1), Reason::FileLength));
        }
        let text = str::from_utf8(file).unwrap_or_else(|error| {
            let (good, _) = file.split_at_checked(error.valid_up_to()).unwrap_or_default();
            warnings.push(Warning::note(place(line_of(good)), Reason::FileText));
            str::from_utf8(good).unwrap_or_default()
        });
        let document = toml::read(text);
        for table in &document.tables {
            let is_known = Section::ALL.iter().any(|section| section.name() == table.name);
            if !is_known {
                let names = Section::ALL.into_iter().map(Section::name);
                let meant = nearest(table.name.as_bytes(), names);
                warnings.push(Warning::of_table(place(table.line), &table.name, meant));
            }
        }
        let mut seen = List::new();
        let mut workloads = Workloads::default();
        for setting in &document.settings {
            if let Err((key, reason)) = self.apply_setting(setting, &mut seen, &mut workloads) {
                let value = Some(setting.value.as_bytes());
                warnings.push(Warning::new(place(setting.line), key.as_bytes(), value, reason));
            }
        }
        for workload in workloads.list {
            if let Err(reason) = self.add_workload(&workload) {
                warnings.push(Warning::new(place(workload.line), b"workload", Some(workload.name.as_bytes()), reason));
            }
            self.place_workloads(place(workload.line));
        }
        for mistake in document.errors {
            warnings.push(Warning::of_syntax(place(mistake.line), mistake.column, &mistake.what));
        }
        warnings.sort_by_key(|warning| warning.place);
        warnings.into_iter().for_each(|warning| self.warn(warning));
    }

    /// `seen` has the keys that were set, each with its statement.
    fn apply_setting<'a>(
        &mut self,
        setting: &'a Setting,
        seen: &mut List<(&'a str, usize, usize)>,
        workloads: &mut Workloads<'a>,
    ) -> Result<(), (&'a str, Reason)> {
        let (table, name) = setting.path.rsplit_once('.').unwrap_or(("", &setting.path));
        let Some(section) = Section::ALL.into_iter().find(|section| section.name() == table) else {
            // A wrong table was reported; its keys are not looked at.
            let found = Key::find(name.as_bytes()).filter(|_| table.is_empty());
            return match found {
                Some(key) => Err((name, Reason::Misplaced(key.section))),
                None if table.is_empty() => Err((name, Reason::UnknownKey)),
                None => Ok(()),
            };
        };
        let instance = if section == Section::Workload { setting.table } else { 0 };
        let first = seen.iter().find(|(path, table, _)| *path == setting.path && *table == instance);
        if first.is_some_and(|(.., statement)| *statement != setting.statement) {
            return Err((name, Reason::Twice));
        }
        if first.is_none() {
            seen.push((&setting.path, instance, setting.statement));
        }
        if section == Section::Workload {
            return workloads.add(name, setting).map_err(|reason| (name, reason));
        }
        match Key::find(name.as_bytes()) {
            Some(key) if key.section != section => Err((name, Reason::Misplaced(key.section))),
            Some(key) if setting.is_item && key.kind != Kind::Texts => Err((name, Reason::List)),
            Some(key) => key.read(self, setting.value.as_bytes()).map_err(|reason| (name, reason)),
            None => Err((name, Reason::UnknownKey)),
        }
    }

    fn add_workload(&mut self, workload: &Workload<'_>) -> Result<(), Reason> {
        let mut spec = Text::from(workload.name);
        for (index, (name, value)) in workload.parameters.iter().enumerate() {
            let separator = if index == 0 { ':' } else { ',' };
            // Writing to a String does not fail.
            let _ = write!(spec, "{separator}{name}={value}");
        }
        if workload.name.is_empty() {
            return Err(Reason::NoName);
        }
        value::no_controls(&spec)?;
        self.workloads.push(value::workload(&spec)?).map_err(|_| Reason::TooManyWorkloads)
    }

    fn apply_keys(&mut self, file: &[u8]) {
        for (index, line) in file.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let Some(key) = Key::find(b"ssh-key") else { continue };
            if let Err(reason) = key.read(self, line) {
                let place = Place::File { name: AUTHORIZED_KEYS, line: index + 1 };
                // Only the type: it may be a private key that was put here by mistake.
                let kind = line.iter().position(|byte| *byte == b' ').and_then(|end| line.get(..end));
                self.warn(Warning::new(place, b"ssh-key", Some(kind.unwrap_or(b"...")), reason));
            }
        }
    }

    fn apply_secret(&mut self, file: &[u8]) {
        let Some(key) = Key::find(b"rack-secret") else { return };
        if let Err(reason) = key.read(self, file.trim_ascii()) {
            let place = Place::File { name: RACK_KEY, line: 1 };
            self.warn(Warning::new(place, b"rack-secret", Some(b""), reason));
        }
    }

    pub(crate) fn warn(&mut self, warning: Warning) {
        if self.warnings.push(warning).is_err() {
            self.warnings_dropped += 1;
        }
    }
}

/// Returns the line, counted from 1, in which a text ends.
fn line_of(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// The tables `[[workload]]`.
#[derive(Default)]
struct Workloads<'a> {
    list: List<Workload<'a>>,
}

struct Workload<'a> {
    table: usize,
    line: usize,
    name: &'a str,
    parameters: List<(&'a str, &'a str)>,
}

impl<'a> Workloads<'a> {
    fn add(&mut self, name: &'a str, setting: &'a Setting) -> Result<(), Reason> {
        if self.list.last().is_none_or(|last| last.table != setting.table) {
            self.list.push(Workload { table: setting.table, line: setting.line, name: "", parameters: List::new() });
        }
        let Some(workload) = self.list.last_mut() else { return Ok(()) };
        if setting.is_item {
            return Err(Reason::List);
        }
        // These separate parameters in what is made of them.
        if setting.value.contains(',') || name.contains(['=', ',']) {
            return Err(Reason::Comma);
        }
        if name == "name" {
            workload.name = &setting.value;
        } else {
            workload.parameters.push((name, &setting.value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
