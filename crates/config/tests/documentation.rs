//! docs/configuration.md says what the table of keys says. `MINIPIRACK_UPDATE_DOCS=1 cargo test -p config` writes that part.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::Write;
use std::fs;

use config::keys::{KEYS, Key, Kind, Section};
use config::{Config, Files};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
const BEGIN: &str = "<!-- From the table of keys (crates/config/src/keys/table.rs): a test compares it. -->\n";
const END: &str = "<!-- End of the table of keys. -->\n";

fn about(section: Section) -> &'static str {
    match section {
        Section::Node => "The node itself.",
        Section::Network => "How it gets onto the network.",
        Section::Access => "Who may change it.",
        Section::Services => "What it offers on the network.",
        Section::Sinks => "Where its telemetry and log go.",
        Section::Workload => {
            "What it runs. In the file each workload is a table of its own, with its `name` and its parameters as \
             `workload help NAME` in the shell lists them:\n\n    [[workload]]\n    name = \"cpu\"\n    load = \"50%\"\n    \
             cores = \"1-2\"\n\nOn the command line the same is one word."
        }
    }
}

fn example(key: &Key) -> String {
    let in_file = match key.kind {
        Kind::Number => format!("{} = {}", key.name, key.example),
        Kind::Switch => format!("{} = {}", key.name, key.example == "on"),
        Kind::Texts if key.section == Section::Workload => return format!("`{}={}`", key.name, key.example),
        Kind::Texts => format!("{} = [\"{}\"]", key.name, key.example),
        Kind::Text | Kind::Secret => format!("{} = \"{}\"", key.name, key.example),
    };
    format!("`{in_file}`, `{}={}`", key.name, key.example)
}

fn render() -> String {
    let mut text = BEGIN.to_owned();
    for section in Section::ALL {
        let header = if section == Section::Workload { "[[workload]]".into() } else { format!("[{section}]") };
        write!(text, "\n### {header}\n\n{}\n\n", about(section)).unwrap();
        text += "| key | kind | what | allowed | default | example: file, command line |\n|---|---|---|---|---|---|\n";
        for key in KEYS.iter().filter(|key| key.section == section) {
            let (name, kind, example) = (key.name, key.kind.name(), example(key));
            writeln!(text, "| `{name}` | {kind} | {} | {} | {} | {example} |", key.help, key.allowed, key.default)
                .unwrap();
        }
    }
    text + "\n" + END
}

#[test]
fn the_documentation_has_every_key_as_the_table_has_it() {
    let text = fs::read_to_string(PATH).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let expected = format!("{before}{}{after}", render());
    if std::env::var_os("MINIPIRACK_UPDATE_DOCS").is_some() {
        fs::write(PATH, &expected).unwrap();
    } else {
        assert!(
            text == expected,
            "docs/configuration.md is not up to date: MINIPIRACK_UPDATE_DOCS=1 cargo test -p config"
        );
    }
}

/// The first code block of the page is a whole file.
#[test]
fn the_example_is_understood_without_a_complaint() {
    let text = fs::read_to_string(PATH).unwrap();
    let block: String = text
        .lines()
        .skip_while(|line| !line.starts_with("    ["))
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| line.trim_start().to_owned() + "\n")
        .collect();
    let config = Config::read(Files { node_toml: Some(block.as_bytes()), ..Files::default() }, b"");
    assert_eq!(config.warnings, [], "{block}");
    assert!(config.name.is_some() && config.workloads.len() == 2 && config.ssh_keys.len() == 1, "{block}");
}
