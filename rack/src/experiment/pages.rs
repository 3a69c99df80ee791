//! The pages about reference architectures are held to their files.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use workload::builtin::WORKLOADS;

/// Words before '=' on pages that are neither keys of a file nor parameters of workloads: of faults, and of a command.
const OTHERS: [&str; 4] = ["peer", "for", "dir", "share"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Returns the files of a folder with this ending: name without it, and text.
fn texts(name: &str, ending: &str) -> Vec<(String, String)> {
    let paths = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|is| is == ending))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    found.sort();
    found
}

/// Returns the text that a page has as code, in a line or indented.
fn code(page: &str) -> Vec<String> {
    let mut found: Vec<String> = page.split('`').skip(1).step_by(2).map(Into::into).collect();
    found.extend(page.lines().filter(|line| line.starts_with("    ")).map(|line| line.trim().to_owned()));
    found
}

#[test]
fn every_architecture_has_a_page_that_shows_how_to_run_it() {
    let pages = texts("docs/architectures", "md");
    let index = &pages.iter().find(|(name, _)| name == "README").unwrap().1;
    for (file, _) in texts("rack/experiments", "toml") {
        let command = format!("cargo run -- experiment rack/experiments/{file}.toml");
        let with_it: Vec<_> = pages.iter().filter(|(_, text)| text.contains(&command)).map(|(name, _)| name).collect();
        assert_eq!(with_it.len(), 1, "pages that say how to run {file}: {with_it:?}");
        assert!(index.contains(&format!("({}.md)", with_it[0])) && index.contains(&file), "{file} is not in the index");
    }
    for name in ["README.md", "docs/experiments.md"] {
        let text = fs::read_to_string(folder(name)).unwrap();
        assert!(text.contains("architectures/README.md"), "{name} does not link the index");
    }
}

#[test]
fn what_pages_quote_and_name_is_there() {
    let files = texts("rack/experiments", "toml");
    let parameters: BTreeSet<&str> =
        WORKLOADS.iter().flat_map(|workload| workload.parameters()).map(|parameter| parameter.name).collect();
    for (name, page) in texts("docs/architectures", "md").iter().filter(|(name, _)| name != "README") {
        let own: Vec<&str> = files
            .iter()
            .filter(|(file, _)| page.contains(&format!("rack/experiments/{file}.toml")))
            .map(|(_, text)| text.as_str())
            .collect();
        assert!(!own.is_empty(), "{name} is about no file");
        // Lines of the file.
        for line in page.lines().filter_map(|line| line.strip_prefix("    ")) {
            let is_of_file = line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
            let is_there = own.iter().any(|text| text.lines().any(|other| other == line));
            assert!(!is_of_file || is_there, "{name}: no file has the line {line:?}");
        }
        // KEY=VALUE of workloads.
        for code in code(page) {
            for word in code.split([' ', '"', ';', '(', ')']) {
                let Some((key, _)) =
                    word.split_once('=').filter(|(key, value)| !key.is_empty() && !value.starts_with('='))
                else {
                    continue;
                };
                let is_name = key.chars().all(|c| c.is_ascii_lowercase() || c == '-');
                let is_known = parameters.contains(key) || key == "id" || OTHERS.contains(&key);
                assert!(!is_name || is_known, "{name}: no workload has the parameter of {word:?}");
            }
        }
        for part in ["## What was seen", "## What to vary"] {
            assert!(page.contains(part), "{name} has no part {part:?}");
        }
    }
}
