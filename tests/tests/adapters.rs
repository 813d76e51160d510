//! What an adapter may be: thin, and safe.
#![allow(clippy::disallowed_methods, reason = "it reads the source")]

use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of code that a runtime's adapter has.
const MOST: usize = 150;

fn sources(of: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(of)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let source = fs::read_to_string(&path).expect("readable source");
                found.push((path, source));
            }
        }
    }
    assert!(!found.is_empty(), "no source in {of}");
    found
}

/// Lines that are neither empty nor a comment.
fn code(source: &str) -> impl Iterator<Item = &str> {
    let lines = source.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//"))
}

#[test]
fn every_adapter_is_at_most_150_lines_of_code() {
    for adapter in ["tokio", "smol", "async-std", "blocking", "hickory"] {
        let sources = sources(&format!("adapters/{adapter}/src"));
        let lines: usize = sources.iter().map(|(_, source)| code(source).count()).sum();
        assert!(
            lines <= MOST,
            "adapters/{adapter} has {lines} lines of code"
        );
    }
}

#[test]
fn there_is_one_line_of_unsafe_code() {
    let mut found = Vec::new();
    for folder in ["core/src", "adapters"] {
        for (path, source) in sources(folder) {
            let lines = code(&source).filter(|line| line.contains("unsafe "));
            found.extend(lines.map(|line| (path.clone(), line.to_owned())));
        }
    }
    let [(path, line)] = &found[..] else {
        panic!("{found:#?}");
    };
    assert!(path.ends_with("adapters/socket/src/reactor.rs"), "{path:?}");
    assert!(line.starts_with("unsafe { poller.add("), "{line}");
}

#[test]
fn comments_and_empty_lines_are_no_code() {
    let source = "//! a\n\n/// b\nfn f() {\n    // c\n    g(); // d\n}\n";
    assert_eq!(code(source).count(), 3);
}
