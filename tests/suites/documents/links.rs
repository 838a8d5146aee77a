//! Everything that a document points at is there: files, headings, tests, `make` targets.

use keyturn_tests::source::{checkout, read};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

#[derive(Debug, Default)]
struct Document {
    /// The anchors of its headings.
    anchors: BTreeSet<String>,
    links: Vec<String>,
    /// What stands in code: spans, and lines of blocks.
    code: Vec<String>,
    text: String,
}

impl Document {
    fn parse(text: &str) -> Self {
        let mut document = Self { text: text.to_owned(), ..Self::default() };
        let mut fence = None;
        for line in text.lines() {
            let start = line.trim_start();
            let marks = start.split(|c| !matches!(c, '`' | '~')).next().unwrap_or_default();
            match fence {
                None if marks.len() >= 3 => fence = Some(marks),
                None => document.add_prose(line),
                Some(open) if marks.starts_with(open) => fence = None,
                Some(_) => document.code.push(start.to_owned()),
            }
        }
        document
    }

    fn add_prose(&mut self, line: &str) {
        let (mut prose, mut plain) = (String::new(), String::new());
        for (n, part) in line.split('`').enumerate() {
            plain.push_str(part);
            if n % 2 == 0 {
                prose.push_str(part);
            } else {
                self.code.push(part.to_owned());
            }
        }
        if let Some(title) = plain.strip_prefix('#').map(|rest| rest.trim_start_matches('#'))
            && title.starts_with(' ')
        {
            let anchor = anchor(&without_targets(title));
            let nth = (1..).map(|n| format!("{anchor}-{n}"));
            let free = std::iter::once(anchor.clone()).chain(nth).find(|anchor| !self.anchors.contains(anchor));
            self.anchors.extend(free);
        }
        let inline = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let reference =
            prose.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target.trim());
        self.links.extend(inline.chain(reference).map(str::to_owned));
    }
}

/// `[words](target)` as `words`.
fn without_targets(title: &str) -> String {
    let mut parts = title.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or(part, |(_, rest)| rest))
}

/// GitHub's rule: lower case, spaces as hyphens, of everything else only letters, digits, hyphens and underscores.
fn anchor(title: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    title.trim().to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Every document that git tracks, by its path.
fn documents() -> BTreeMap<String, Document> {
    let listed = Command::new("git").args(["ls-files", "-z", "*.md"]).current_dir(checkout()).output().unwrap();
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let paths = String::from_utf8(listed.stdout).unwrap();
    // Listed, but deleted and not committed yet: no document any more.
    let paths = paths.split_terminator('\0').filter(|path| checkout().join(path).is_file());
    paths.map(|path| (path.to_owned(), Document::parse(&read(path).unwrap()))).collect()
}

/// `docs/a.md` and `../b.md` as `b.md`.
fn resolved(document: &str, link: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in link.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

/// What is wrong with a link of this document.
fn broken(documents: &BTreeMap<String, Document>, document: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = if path.is_empty() { document.to_owned() } else { resolved(document, path) };
    if !checkout().join(&target).exists() {
        return Some(format!("{document}: {link} leads to no file"));
    }
    let anchors = documents.get(&target).map(|target| &target.anchors);
    let is_there = anchor.is_none_or(|anchor| anchors.is_some_and(|anchors| anchors.contains(anchor)));
    (!is_there).then(|| format!("{document}: {link} leads to no heading"))
}

/// Every `tests/...` that a text names.
fn tests_named(text: &str) -> Vec<&str> {
    let in_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let words = text.split(|c| !in_path(c)).map(|word| word.trim_end_matches(['.', '-']));
    words.filter(|word| word.starts_with("tests/")).collect()
}

/// The targets of the `make` commands in a line of code.
fn targets(code: &str) -> impl Iterator<Item = &str> {
    let commands = code.split("&&").filter_map(|command| command.trim_start().strip_prefix("make "));
    let words = commands.flat_map(|rest| rest.split('#').next().unwrap_or_default().split_whitespace());
    words.filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    let links = documents.iter().flat_map(|(path, document)| document.links.iter().map(move |link| (path, link)));
    let broken: Vec<String> = links.filter_map(|(path, link)| broken(&documents, path, link)).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_test_that_a_document_names_exists() {
    for (path, document) in documents() {
        for named in tests_named(&document.text) {
            assert!(Path::new(&checkout()).join(named).exists(), "{path}: {named} is not there");
        }
    }
}

#[test]
fn every_make_target_that_a_document_names_exists() {
    let makefile = read("Makefile").unwrap();
    let known: BTreeSet<&str> =
        makefile.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    for (path, document) in documents() {
        for target in document.code.iter().flat_map(|code| targets(code)) {
            assert!(known.contains(target), "{path}: there is no `make {target}`");
        }
    }
}

#[test]
fn what_is_not_there_is_noticed() {
    let text = "# A *b* `C_d` (e)\n## Two\n## Two\n[x](#two-1) [y](#two-2) [z](other.md)\n```\n[n](no.md)\nmake nothing\n```\n`make demo`";
    let document = Document::parse(text);
    assert_eq!(document.anchors, ["a-b-c_d-e", "two", "two-1"].map(str::to_owned).into());
    assert_eq!(document.code.iter().flat_map(|code| targets(code)).collect::<Vec<_>>(), ["nothing", "demo"]);
    assert_eq!(tests_named("see `tests/suites/x.rs`, ../tests/kit."), ["tests/suites/x.rs"]);
    let documents = BTreeMap::from([("README.md".to_owned(), document)]);
    let broken: Vec<_> =
        documents["README.md"].links.iter().filter_map(|link| broken(&documents, "README.md", link)).collect();
    assert_eq!(
        broken,
        ["README.md: #two-2 leads to no heading", "README.md: other.md leads to no file"].map(str::to_owned)
    );
}
