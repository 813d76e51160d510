//! Examples of one program on several runtimes differ in the import and in `main`, and in nothing else.
#![allow(clippy::disallowed_methods, reason = "it reads the source")]

use std::fs;
use std::path::Path;

const PROGRAMS: [&str; 4] = ["tour", "download", "ticker", "chat"];

/// Adapters, with what the names of their examples end with: a workspace has each name once.
const ADAPTERS: [(&str, &str); 4] = [
    ("tokio", ""),
    ("smol", "_smol"),
    ("async-std", "_async_std"),
    ("blocking", "_blocking"),
];

fn source(adapter: &str, ending: &str, program: &str) -> String {
    let path = format!("../adapters/{adapter}/examples/{program}{ending}.rs");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The source up to `main`, without the import of the adapter, of which there is one.
fn common(adapter: &str, source: &str) -> String {
    let import = format!("use fulmar_{}::", adapter.replace('-', "_"));
    let (before, main) = source.split_once("fn main()").expect("a main");
    let body = main.lines().skip(1).count();
    assert!(
        body <= 2,
        "a `main` of {body} lines: logic belongs into the crate"
    );
    let lines = before.trim_end_matches("async ").trim_end();
    let lines = lines.trim_end_matches("#[tokio::main]").trim_end().lines();
    let (imports, rest): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with(&import));
    assert_eq!(imports.len(), 1, "imports of {adapter}'s adapter");
    rest.join("\n")
}

#[test]
fn examples_of_one_program_differ_in_the_import_and_main_alone() {
    for program in PROGRAMS {
        let commons = ADAPTERS.map(|(adapter, ending)| {
            let source = source(adapter, ending, program);
            (adapter, common(adapter, &source))
        });
        let (_, first) = &commons[0];
        assert!(first.contains(&format!("use fulmar_examples::{program};")));
        for (adapter, common) in &commons {
            assert_eq!(common, first, "{program} on {adapter}");
        }
    }
}

#[test]
#[should_panic(expected = "logic belongs into the crate")]
fn a_main_with_logic_of_its_own_is_noticed() {
    let source = "use fulmar_smol::Smol;\n\nfn main() {\n    let a = 1;\n    run(a)\n}\n";
    common("smol", source);
}
