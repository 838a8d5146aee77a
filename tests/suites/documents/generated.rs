//! What is generated from the declarations of codes and settings: `infra/runbooks/errors.md`, and the tables of the manuals.
//!
//! `make docs` writes them anew; without it, these tests say which page is stale.

use crate::{Library, functions, libraries};
use keyturn::codes::{self, Code, Entry};
use keyturn::settings;
use keyturn_tests::source;
use std::collections::BTreeMap;
use std::env;
use std::fs;

const HEAD: &str = "\
# Every code, alphabetical

<!-- Generated from the crates' src/codes.rs by `make docs`. -->

An error reaches Lambda and Secrets Manager as `<code>: <what happened> <what to do>`, and the function's log as a JSON line with `code`, `msg` and `remedy`.
The message names the secret, user, host or command at hand; this table says what to expect. A code without a remedy asks nothing of anybody.

| code | of | means | what to do |
|---|---|---|---|
";

/// Compares a page with what it should be, or writes it.
fn check(path: &str, expected: &str) {
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(source::checkout().join(path), expected).unwrap();
    }
    let found = source::read(path).unwrap_or_default();
    let stale = expected.lines().zip(found.lines().chain(std::iter::repeat(""))).find(|(new, old)| new != old);
    assert!(found == expected, "{path} is stale: run make docs. The first line that differs: {stale:?}");
}

/// A cell of a table: a pipe would end it, and `<arn>` outside of backticks would be taken for HTML.
fn cell(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(nth, part)| if nth % 2 == 0 { part.replace('<', "\\<") } else { part.to_owned() });
    parts.collect::<Vec<_>>().join("`").replace('|', "\\|")
}

/// The functions that use a library.
fn users_of(library: &Library) -> Vec<String> {
    let uses = |name: &String| source::read(&format!("functions/{name}/Cargo.toml")).unwrap().contains(library.name);
    source::functions().unwrap().into_iter().filter(uses).collect()
}

#[test]
fn errors_md_lists_every_declared_code() {
    let core = ("any function".to_owned(), codes::entries::<Code>());
    let own = functions().into_iter().map(|function| (format!("`{}`", function.name), function.codes));
    let shared = libraries().into_iter().map(|library| {
        let names: Vec<String> = users_of(&library).iter().map(|name| format!("`{name}`")).collect();
        (names.join(", "), library.codes)
    });
    let mut rows = BTreeMap::new();
    for (of, entries) in own.chain(shared).chain([core]) {
        for Entry { name, meaning, remedy } in entries {
            assert!(!meaning.is_empty(), "{name} has no meaning");
            let row = format!("| `{name}` | {of} | {} | {} |\n", cell(&meaning), cell(remedy.unwrap_or_default()));
            rows.insert((name, of.clone()), row);
        }
    }
    check("infra/runbooks/errors.md", &format!("{HEAD}{}", rows.into_values().collect::<String>()));
}

#[test]
fn every_declared_code_is_given_somewhere() {
    let idle = |variants: &[String], folders: &[String]| -> Vec<String> {
        let source: String = folders.iter().map(|folder| source::shipped(folder).unwrap()).collect();
        variants.iter().filter(|variant| !source.contains(&format!("::{variant}"))).cloned().collect()
    };
    let source_of = |name: &str| format!("functions/{name}/src");
    let source_of_library = |library: &Library| format!("{}/src", library.folder);
    let everywhere = [
        vec!["shared/src".to_owned()],
        libraries().iter().map(source_of_library).collect(),
        functions().iter().map(|function| source_of(function.name)).collect(),
    ]
    .concat();
    assert_eq!(idle(&crate::variants::<Code>(), &everywhere), [""; 0]);
    for library in libraries() {
        assert_eq!(idle(&library.variants, &[source_of_library(&library)]), [""; 0], "{}", library.name);
    }
    for function in functions() {
        assert_eq!(idle(&function.variants, &[source_of(function.name)]), [""; 0], "{}", function.name);
    }
}

/// The page with the lines between its two markers replaced.
fn with_lines(path: &str, marker: &str, lines: &str) -> String {
    let page = source::read(path).unwrap();
    let (begin, end) = (format!("<!-- {marker} -->\n"), format!("<!-- end of {marker} -->"));
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{path} has no line {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{path} has no line {end}"));
    format!("{before}{begin}{lines}{end}{after}")
}

/// The page with the lines between its two markers replaced by a table.
fn with_table(path: &str, marker: &str, head: &str, entries: &[settings::Entry]) -> String {
    let row = |entry: &settings::Entry| {
        assert!(!entry.meaning.is_empty(), "{} has no meaning", entry.name);
        format!("| `{}` | {} | {} |\n", entry.name, cell(entry.default), cell(&entry.meaning))
    };
    let rows: String = entries.iter().map(row).collect();
    with_lines(path, marker, &format!("| {head} | default | meaning |\n|---|---|---|\n{rows}"))
}

#[test]
fn the_manual_of_oncall_sync_has_the_planners_table() {
    let planner = source::read("functions/oncall-sync/src/planner/mod.rs").unwrap();
    let rows: Vec<&str> = planner.lines().filter_map(|line| line.strip_prefix("//! ")).collect();
    let rows: Vec<&str> = rows.into_iter().filter(|row| row.starts_with('|')).collect();
    assert!(rows.len() > 10, "{rows:?}");
    let path = "functions/oncall-sync/README.md";
    check(path, &with_lines(path, "transitions", &(rows.join("\n") + "\n")));
}

#[test]
fn the_manuals_list_every_declared_setting() {
    for function in functions() {
        let mut entries = function.settings;
        if function.draws_passwords {
            entries.extend(settings::entries::<keyturn::password::Setting>());
        }
        entries.extend(settings::entries::<settings::Setting>());
        let path = format!("functions/{}/README.md", function.name);
        check(&path, &with_table(&path, "settings", "variable", &entries));
    }
}

#[test]
fn the_manuals_of_the_rotations_list_every_declared_tag() {
    for (name, tags) in [
        ("rotate-mongo", settings::entries::<::rotate_mongo::settings::Tag>()),
        ("rotate-postgres", settings::entries::<::rotate_postgres::settings::Tag>()),
    ] {
        let path = format!("functions/{name}/README.md");
        check(&path, &with_table(&path, "tags", "tag", &tags));
    }
}

#[test]
fn the_states_of_a_fixed_change_are_drawn_alike_in_the_code_and_in_the_manual() {
    let drawn = source::read("functions/rotate-mongo/src/apply/fixed.rs").unwrap().replace("//! ", "");
    let drawing = drawn.split("```").find(|part| part.starts_with("mermaid")).unwrap();
    assert!(source::read("functions/rotate-mongo/README.md").unwrap().contains(drawing), "two drawings");
}
