//! README's tables say what the code does, no less and no more.

use keyturn_tests::source::{checkout, read, shipped};
use std::collections::BTreeSet;
use std::path::Path;

fn sources() -> String {
    ["shared/src", "functions/rotate-postgres/src", "functions/rotate-mongo/src", "functions/oncall-sync/src"]
        .map(|folder| shipped(folder).unwrap())
        .concat()
}

/// Every `LIKE_THIS` that stands between two `around` characters.
fn shouted(text: &str, around: char) -> BTreeSet<String> {
    let is_shout = |word: &&str| {
        word.contains('_') && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    text.split(around).filter(is_shout).map(str::to_owned).collect()
}

#[test]
fn every_code_and_setting_is_in_readme_and_every_one_there_exists() {
    let readme = read("README.md").unwrap();
    let in_code = shouted(&sources(), '"');
    let in_readme = shouted(&readme, '`');
    // The audit lines of what went well need no remedy; some words are no codes: the SDK's endpoint of a service, what
    // codes of one kind begin with, what Cargo or Lambda sets.
    let told_elsewhere = [
        "ALERT_SENT",
        "ALREADY_CURRENT",
        "CARGO_PKG_VERSION",
        "GRANT_INTENDED",
        "GROUP_",
        "HTTP_CALL",
        "NOT_IDENTIFIED",
        "PASSWORD_SET",
        "PENDING_CREATED",
        "PENDING_KEPT",
        "PENDING_PROVEN",
        "REVOKE_ASKED",
        "REVOKE_INTENDED",
        "ROTATION_FINISHED",
        "TICK_DONE",
        "WAITING",
        // Atlas's words and its role.
        "ACCESS_LIST",
        "GROUP_DATABASE_ACCESS_ADMIN",
        "GROUP_READ_ONLY",
        "GROUP_USERS_LIMIT_EXCEEDED",
        "USERNAME_NOT_FOUND",
        "USER_UNAUTHORIZED",
        "AWS_ENDPOINT_URL_SSM",
        "AWS_LAMBDA_FUNCTION_NAME",
    ];
    let missing: Vec<_> =
        in_code.difference(&in_readme).filter(|word| !told_elsewhere.contains(&word.as_str())).collect();
    assert!(missing.is_empty(), "in the code, not in README: {missing:?}");
    let invented: Vec<_> = in_readme.difference(&in_code).collect();
    assert!(invented.is_empty(), "in README, not in the code: {invented:?}");
}

#[test]
fn every_test_that_readme_names_exists() {
    let readme = read("README.md").unwrap();
    let suites = checkout().join("tests/suites");
    let folders = ["rotate_postgres", "rotate_mongo", "oncall_sync"].map(|folder| suites.join(folder));
    let files: BTreeSet<&str> = readme
        .split('`')
        .filter(|word| Path::new(word).extension().is_some_and(|e| e == "rs") && !word.contains('/'))
        .collect();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let is_there = folders.iter().any(|folder| folder.join(file).is_file());
        assert!(is_there, "{file} is not there");
    }
}
