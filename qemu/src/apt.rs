//! Where this machine gets its packages from: apt's sources, in both formats.
//!
//! Sources: sources.list(5) and deb822(5) of apt 2.6. Only what is needed to add a suite of the same mirror is kept.

pub mod world;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Places of binary packages: one stanza of a `.sources` file, or one `deb` line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Addresses of the mirrors.
    pub uris: Vec<String>,
    /// Suites (`bookworm`, `bookworm-updates`).
    pub suites: Vec<String>,
    /// Components (`main`, `contrib`).
    pub components: Vec<String>,
    /// Everything else, as deb822 fields (`Signed-By`); a value of several lines keeps them.
    pub options: Vec<(String, String)>,
}

impl Source {
    /// Returns whether it has `suite` with the component `main`.
    #[must_use]
    pub fn has_main_of(&self, suite: &str) -> bool {
        self.suites.iter().any(|name| name == suite) && self.components.iter().any(|name| name == "main")
    }

    /// Returns the same mirror with nothing but the component `main` of `suite`.
    #[must_use]
    pub fn with_suite(&self, suite: &str) -> Self {
        Self { suites: vec![suite.into()], components: vec!["main".into()], ..self.clone() }
    }

    /// Returns it as a stanza of a `.sources` file.
    #[must_use]
    pub fn to_deb822(&self) -> String {
        let mut stanza = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\n",
            self.uris.join(" "),
            self.suites.join(" "),
            self.components.join(" ")
        );
        for (name, value) in &self.options {
            stanza.push_str(&format!("{name}: {value}\n"));
        }
        stanza
    }

    /// Returns it as one line of a `.list` file; an option that does not fit on a line (a key in full) is left out.
    #[must_use]
    pub fn to_line(&self) -> String {
        let options: Vec<String> = (self.options.iter())
            .filter(|(_, value)| !value.contains(['\n', ' ']))
            .map(|(name, value)| format!("{}={value}", line_option(name)))
            .collect();
        let options = if options.is_empty() { String::new() } else { format!("[{}] ", options.join(" ")) };
        let uri = self.uris.first().map_or("", String::as_str);
        format!("deb {options}{uri} {} {}", self.suites.join(" "), self.components.join(" "))
    }
}

/// Returns the value of a key in the text of an os-release(5) file; empty when it is not there.
#[must_use]
pub fn os_release(text: &str, key: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_default().trim().trim_matches('"').to_owned()
}

/// Returns the mirror that this machine gets Debian from, with its component `main` for any architecture.
///
/// # Errors
/// When this system is not Debian, or has no source of its own suite.
pub fn debian_mirror() -> Result<Source> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let (id, codename) = (os_release(&release, "ID"), os_release(&release, "VERSION_CODENAME"));
    mirror_of(&id, &codename, &sources_of(Path::new("/etc/apt")))
}

fn mirror_of(id: &str, codename: &str, sources: &[Source]) -> Result<Source> {
    if id != "debian" {
        bail!("this system is not Debian");
    }
    let mirror = sources.iter().find(|source| source.has_main_of(codename));
    let mut mirror = mirror.with_context(|| format!("no source of apt has {codename}"))?.with_suite(codename);
    mirror.options.retain(|(name, _)| !name.eq_ignore_ascii_case("Architectures"));
    Ok(mirror)
}

/// Reads every source under `etc_apt` (`/etc/apt`). Files that can't be read are passed over, as apt does.
#[must_use]
pub fn sources_of(etc_apt: &Path) -> Vec<Source> {
    let mut sources = parse_list(&fs::read_to_string(etc_apt.join("sources.list")).unwrap_or_default());
    let mut files: Vec<_> = fs::read_dir(etc_apt.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    for file in files {
        let parse = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => parse_list,
            Some("sources") => parse_deb822,
            _ => continue,
        };
        sources.extend(parse(&fs::read_to_string(&file).unwrap_or_default()));
    }
    sources
}

/// Reads a `.list` file: `deb [option=value …] uri suite component …`.
#[must_use]
pub fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let mut rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t']) {
        return None; // deb-src
    }
    rest = rest.trim_start();
    let mut options = Vec::new();
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (inside, behind) = bracketed.split_once(']')?;
        let pairs = inside.split_whitespace().filter_map(|option| option.split_once('='));
        options.extend(pairs.map(|(name, value)| (deb822_field(name), value.replace(',', " "))));
        rest = behind;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    let (uri, suite) = (words.next()?, words.next()?);
    Some(Source { uris: vec![uri], suites: vec![suite], components: words.collect(), options })
}

/// Reads a `.sources` file: stanzas of `Field: value`, where a line that starts with a space goes on with the value.
#[must_use]
pub fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(stanza(std::mem::take(&mut fields)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    sources
}

fn stanza(fields: Vec<(String, String)>) -> Option<Source> {
    let mut source = Source::default();
    let mut is_binary = false;
    for (name, value) in fields {
        let words = || value.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        match name.to_ascii_lowercase().as_str() {
            "types" => is_binary = words().iter().any(|kind| kind == "deb"),
            "uris" => source.uris = words(),
            "suites" => source.suites = words(),
            "components" => source.components = words(),
            "enabled" if matches!(value.as_str(), "no" | "false" | "0") => return None,
            "enabled" => {}
            _ => source.options.push((name, value)),
        }
    }
    (is_binary && !source.uris.is_empty() && !source.suites.is_empty()).then_some(source)
}

/// Names of options: in a `.list` file, and in a `.sources` file.
const OPTION_NAMES: [(&str, &str); 4] =
    [("arch", "Architectures"), ("signed-by", "Signed-By"), ("trusted", "Trusted"), ("lang", "Languages")];

fn deb822_field(option: &str) -> String {
    let known = OPTION_NAMES.iter().find(|(line, _)| *line == option);
    known.map_or(option, |(_, field)| field).to_owned()
}

fn line_option(field: &str) -> String {
    let known = OPTION_NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(field));
    known.map_or_else(|| field.to_ascii_lowercase(), |(line, _)| (*line).to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    const DEB822: &str = "\
Types: deb
# a remark in the middle
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
";

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn stanzas_of_binary_packages_that_are_enabled_are_read() {
        let sources = parse_deb822(DEB822);
        let [source] = &sources[..] else { unreachable!("one stanza counts: {sources:?}") };
        assert_eq!(source.uris, words("http://mirror.example/debian"));
        assert_eq!(source.suites, words("bookworm bookworm-updates"));
        assert!(source.has_main_of("bookworm") && !source.has_main_of("bookworm-backports"));
    }

    #[test]
    fn the_backports_of_a_mirror_keep_its_key() {
        let backports = parse_deb822(DEB822)[0].with_suite("bookworm-backports");
        let text = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm-backports\nComponents: main\n\
                    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        assert_eq!(backports.to_deb822(), text);
        assert_eq!(
            backports.to_line(),
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian \
             bookworm-backports main"
        );
    }

    #[test]
    fn a_key_in_full_survives() {
        let text =
            "Types: deb\nURIs: http://m/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN\n .\n x\n";
        let source = &parse_deb822(text)[0];
        assert_eq!(source.to_deb822().replace("Signed-By: \n", "Signed-By:\n"), text);
        assert_eq!(source.to_line(), "deb http://m/debian bookworm main");
    }

    #[test]
    fn lines_are_read_with_and_without_options() {
        let text = "# deb http://off/debian bookworm main\n\
                    deb-src http://m/debian bookworm main\n\
                    deb http://m/debian bookworm main contrib # why\n\
                    deb [ arch=amd64,arm64 signed-by=/k.gpg ] http://n/debian bookworm main\n";
        let sources = parse_list(text);
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].components, words("main contrib"));
        assert_eq!(
            sources[1].options,
            [("Architectures".into(), "amd64 arm64".into()), ("Signed-By".into(), "/k.gpg".into())]
        );
        assert!(sources[1].to_deb822().contains("Architectures: amd64 arm64\nSigned-By: /k.gpg\n"));
    }

    #[test]
    fn packages_come_from_the_mirror_that_the_machine_uses() {
        let sources = parse_list(
            "deb http://s/debian-security bookworm-security main\n\
             deb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main contrib\n",
        );
        let mirror = mirror_of("debian", "bookworm", &sources).unwrap();
        let text = "Types: deb\nURIs: http://m/debian\nSuites: bookworm\nComponents: main\nSigned-By: /k.gpg\n";
        assert_eq!(mirror.to_deb822(), text);
        assert!(mirror_of("ubuntu", "bookworm", &sources).is_err());
        assert!(mirror_of("debian", "trixie", &sources).is_err());
    }

    #[test]
    fn broken_lines_are_passed_over() {
        assert_eq!(parse_list("deb\ndeb http://m\ndeb [arch=amd64 http://m x y\nnonsense"), []);
        assert_eq!(parse_deb822("nonsense\n more\n\nTypes: deb\n"), []);
    }

    #[test]
    fn both_formats_of_a_machine_are_found() {
        let etc = tempfile::tempdir().unwrap();
        fs::create_dir(etc.path().join("sources.list.d")).unwrap();
        fs::write(etc.path().join("sources.list"), "deb http://a/debian bookworm main\n").unwrap();
        fs::write(etc.path().join("sources.list.d/b.sources"), DEB822).unwrap();
        fs::write(etc.path().join("sources.list.d/c.list.save"), "deb http://c/debian bookworm main\n").unwrap();
        let uris: Vec<String> = sources_of(etc.path()).into_iter().flat_map(|source| source.uris).collect();
        assert_eq!(uris, ["http://a/debian", "http://mirror.example/debian"]);
    }

    #[test]
    fn the_release_file_is_read_with_and_without_quotes() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(os_release(text, "ID"), "debian");
        assert_eq!(os_release(text, "VERSION_CODENAME"), "bookworm");
        assert_eq!(os_release(text, "NAME"), "");
    }
}
