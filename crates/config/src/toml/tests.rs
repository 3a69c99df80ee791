//! Tests of the syntax.

use super::*;

fn settings(text: &str) -> Vec<(usize, String, String)> {
    let document = read(text);
    assert!(document.errors.is_empty(), "{text}: {:?}", document.errors);
    document.settings.into_iter().map(|setting| (setting.line, setting.path, setting.value)).collect()
}

fn row(line: usize, path: &str, value: &str) -> (usize, String, String) {
    (line, path.into(), value.into())
}

fn mistakes(text: &str) -> Vec<(usize, usize)> {
    read(text).errors.iter().map(|mistake| (mistake.line, mistake.column)).collect()
}

#[test]
fn values_of_every_kind_are_read() {
    let text = "# comment\r\n[node]\r\nname = \"a\\tb\"\r\nreport = 1_0 # s\r\n\n  [ sinks ] \n'api'=true\nx.\"y\" = 'C:\\'\n\
                f = 0.5\nd = 2026-01-02\nlong = \"\"\"\none\ntwo\"\"\"\n";
    let expected = [
        row(3, "node.name", "a\tb"),
        row(4, "node.report", "1_0"),
        row(7, "sinks.api", "true"),
        row(8, "sinks.x.y", "C:\\"),
        row(9, "sinks.f", "0.5"),
        row(10, "sinks.d", "2026-01-02"),
        row(11, "sinks.long", "one\ntwo"),
    ];
    assert_eq!(settings(text), expected);
}

#[test]
fn items_of_lists_have_lines_of_their_own_and_one_statement() {
    let document = read(
        "[access]\nssh-key = [\n  'one', # mine\n  'two',\n]\nother = 1\n[[workload]]\nname='cpu'\n[[workload]]\n",
    );
    let rows: Vec<_> = document
        .settings
        .iter()
        .map(|item| (item.line, &*item.path, item.statement, item.is_item, item.table))
        .collect();
    assert_eq!(
        rows,
        [
            (3, "access.ssh-key", 1, true, 1),
            (4, "access.ssh-key", 1, true, 1),
            (6, "access.other", 2, false, 1),
            (8, "workload.name", 3, false, 2)
        ]
    );
    let tables: Vec<_> = document.tables.iter().map(|table| (table.line, &*table.name)).collect();
    assert_eq!(tables, [(1, "access"), (7, "workload"), (9, "workload")]);
}

#[test]
fn a_mistake_has_its_place_and_costs_only_its_line() {
    for (line, column) in [
        ("name = loud", 8),
        ("name =", 7),
        ("name", 5),
        ("= 1", 1),
        ("name = \"open", 13),
        ("name = 'a' 'b'", 12),
        ("name = { a = 1 }", 8),
        ("name = [[1]]", 9),
        ("name = 1__0", 8),
    ] {
        let text = format!("[node]\nlog = 'info'\n{line}\nreport = 5\n");
        let document = read(&text);
        let paths: Vec<_> = document.settings.iter().map(|setting| &*setting.path).collect();
        assert_eq!(paths, ["node.log", "node.report"], "{line}");
        let first = document.errors.first().map(|mistake| (mistake.line, mistake.column));
        assert_eq!(first.map(|(line, _)| line), Some(3), "{line}: {:?}", document.errors);
        assert!(first.is_some_and(|(_, found)| found.abs_diff(column) <= 2), "{line}: {first:?}, not {column}");
    }
}

#[test]
fn what_is_not_closed_is_told_where_it_was_opened() {
    assert_eq!(mistakes("a = 1\nb = [\n 1,\n 2\n").first(), Some(&(2, 5)));
    assert_eq!(mistakes("a = 1\n[node\nb = 2\n").first().map(|(line, _)| *line), Some(2));
}

#[test]
fn hostile_files_are_bounded() {
    let values = read(&"a = 1\n".repeat(5000));
    assert_eq!((values.settings.len(), values.errors.len()), (SETTINGS_MAX, ERRORS_MAX));
    assert_eq!(read(&"[a]\n".repeat(5000)).tables.len(), SETTINGS_MAX);
    assert_eq!(read(&"=\n".repeat(5000)).errors.len(), ERRORS_MAX);
    // Lists and tables in each other have to end the recursion.
    for nested in ["a = [", "a = {b = ", "[", "[["] {
        assert!(!read(&nested.repeat(10_000)).errors.is_empty(), "{nested}");
        assert!(!read(&format!("a = {}", "[".repeat(30_000))).errors.is_empty());
    }
}
