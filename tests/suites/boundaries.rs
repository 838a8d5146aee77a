//! Which crate may depend on which: the rule that `deny.toml` could say only by listing every function.

use keyturn_tests::source;

#[test]
fn neither_shared_code_nor_a_function_uses_a_function() {
    let functions = source::functions().unwrap();
    let crates = functions
        .iter()
        .map(|name| format!("functions/{name}"))
        .chain(["shared", "shared/mongo", "shared/postgres"].map(str::to_owned));
    for folder in crates {
        let manifest = source::read(&format!("{folder}/Cargo.toml")).unwrap();
        let used: Vec<_> =
            functions.iter().filter(|name| !folder.ends_with(*name) && depends(&manifest, name)).collect();
        assert!(used.is_empty(), "{folder}/Cargo.toml names {used:?}");
    }
}

fn depends(manifest: &str, name: &str) -> bool {
    manifest.lines().any(|line| line.starts_with(name) || line.contains(&format!("/{name}\"")))
}
