//! The core's levels: a module imports only from lower ones.
#![allow(clippy::disallowed_methods, reason = "it reads the source")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of each level, the lowest first.
const LEVELS: [&[&str]; 6] = [
    &["time", "fault", "buf", "lane"],
    &[
        "trace", "timer", "backoff", "budget", "origin", "pattern", "http", "lru", "spool",
    ],
    &["h1", "h2", "deadline", "cookie", "dns", "tls", "decode"],
    &["ws", "retry", "redirect", "pool", "dial", "proxy"],
    &["call", "session", "adaptive"],
    &["turnstile"],
];

/// Other crates that `lib.rs` hands on: below every level.
const HANDED_ON: [&str; 1] = ["rand_core"];

fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|modules| modules.contains(&module))
}

#[test]
fn modules_import_only_from_lower_levels() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 10, "found {} files only", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let source = fs::read_to_string(&file).expect("readable source");
        let place = file.strip_prefix(&root).expect("a file below the root");
        wrong.extend(violations(&module_path(place), &source));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_upward_import_is_caught() {
    let caught = |source| violations(&["h1".into(), "state".into()], source);
    assert_eq!(
        caught("use crate::pool::Pool;"),
        ["h1/state (level 2) imports pool (level 3)"]
    );
    assert_eq!(caught("fn f(x: &crate::call::Call) {}").len(), 1);
    assert_eq!(
        caught("use crate::{buf::WriteBuf, call::{Call, Verdict}, dial};").len(),
        2
    );
    assert_eq!(caught("use super::super::retry::Retry;").len(), 1);
}

#[test]
fn a_sideways_import_is_caught() {
    let caught = |source| violations(&["h1".into()], source);
    assert_eq!(
        caught("use crate::deadline::Clocks;"),
        ["h1 (level 2) imports deadline (level 2)"]
    );
    assert_eq!(caught("use super::tls::Tls;").len(), 1);
    assert_eq!(
        violations(&["fault".into()], "use crate::time::Instant;").len(),
        1
    );
}

#[test]
fn a_module_without_a_level_is_caught() {
    assert_eq!(violations(&["util".into()], ""), ["util has no level"]);
    let caught = violations(&["h1".into()], "use crate::util::twice;");
    assert_eq!(caught, ["h1 (level 2) imports util, which has no level"]);
}

#[test]
fn what_is_no_import_is_passed_over() {
    let sources = [
        "use crate::h1::chunked; use super::chunked; use crate::buf::WriteBuf; use ::http::Method;",
        "//! See [`Pool`](crate::pool::Pool).\n/* crate::pool /* */ crate::call */",
        r##"const A: &str = "crate::pool \" {"; const B: &str = r#"crate::pool " {"#;"##,
        "const C: [char; 3] = ['\"', '\\'', '{']; fn f<'a>(x: &'a str) -> &'a str { x }",
        "fn ünï() { '\\u{e9}'; 'é'; r#type }",
        "use crate::rand_core::Rng;",
        "pub(crate) fn f() {} pub(in crate::h1) struct S;",
        "#[cfg(test)]\n#[allow(unused)]\nmod tests { use crate::pool::Pool; fn f() { {} } }",
    ];
    for source in sources {
        let found = violations(&["h1".into(), "state".into()], source);
        assert!(found.is_empty(), "{source}: {found:?}");
    }
    let behind = "#[cfg(test)] mod tests { fn f() {} } use crate::pool::Pool;";
    assert_eq!(violations(&["h1".into()], behind).len(), 1);
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("src/lib.rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// `h1/mod.rs` is `h1`, `h1/state.rs` is `h1::state`.
fn module_path(place: &Path) -> Vec<String> {
    let place = place.with_extension("");
    let parts = place.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| part != "mod").collect()
}

/// What is wrong with the imports of one file.
fn violations(path: &[String], source: &str) -> Vec<String> {
    let Some(own) = level(&path[0]) else {
        return vec![format!("{} has no level", path.join("/"))];
    };
    let text = without_text(source);
    let tokens = without_tests(&tokens(&text));
    let mut wrong = Vec::new();
    for module in imports(&tokens, path.len()) {
        if module == path[0] || HANDED_ON.contains(&module.as_str()) {
            continue;
        }
        let from = format!("{} (level {own})", path.join("/"));
        match level(&module) {
            None => wrong.push(format!("{from} imports {module}, which has no level")),
            Some(theirs) if theirs >= own => {
                wrong.push(format!("{from} imports {module} (level {theirs})"));
            }
            Some(_) => {}
        }
    }
    wrong
}

/// The modules of the crate's root that are named behind `crate::`, or behind as many `super::` as
/// lead there.
fn imports(tokens: &[&str], depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut supers = 0;
    for (place, token) in tokens.iter().enumerate() {
        let goes_on = tokens.get(place + 1) == Some(&"::");
        match *token {
            "super" if goes_on => supers += 1,
            "::" => continue,
            "crate" if goes_on => supers = depth,
            _ => supers = 0,
        }
        if goes_on && supers == depth {
            found.extend(first_names(&tokens[place + 2..]));
        }
    }
    found
}

/// The name that follows, or the first of each path in the braces that follow.
fn first_names(tokens: &[&str]) -> Vec<String> {
    if tokens.first() != Some(&"{") {
        let name = tokens.first().filter(|token| **token != "super");
        return name
            .map(|name| vec![(*name).to_owned()])
            .unwrap_or_default();
    }
    let mut names = Vec::new();
    let (mut depth, mut begins) = (0, false);
    for token in tokens {
        match *token {
            "{" => (depth, begins) = (depth + 1, depth == 0),
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," => begins = depth == 1,
            name if begins => {
                names.push(name.to_owned());
                begins = false;
            }
            _ => {}
        }
    }
    names
}

/// Leaves out every item under `#[cfg(test)]`.
fn without_tests<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some((first, behind)) = rest.split_first() {
        if rest.starts_with(&MARK) {
            rest = &rest[item_end(rest)..];
        } else {
            kept.push(*first);
            rest = behind;
        }
    }
    kept
}

/// How many tokens an item takes: to its `;`, or to the brace that closes its first.
fn item_end(tokens: &[&str]) -> usize {
    let mut depth = 0;
    for (place, token) in tokens.iter().enumerate() {
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(*token, "}" | ";") {
            return place + 1;
        }
    }
    tokens.len()
}

/// Words, `::`, and single characters.
fn tokens(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, behind) = rest.split_at(length);
        tokens.push(token);
        rest = behind.trim_start();
    }
    tokens
}

/// Blanks comments, strings and characters.
fn without_text(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let in_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skipped = text_length(rest, in_word);
        if skipped == 0 {
            code.push(first);
        } else {
            code.push(' ');
        }
        rest = &rest[skipped.max(first.len_utf8())..];
    }
    code
}

/// How long the comment, string or character at the front is; 0 if it is something else.
fn text_length(rest: &str, in_word: bool) -> usize {
    let upto = |end: &str, from: usize| {
        rest[from..]
            .find(end)
            .map_or(rest.len(), |place| from + place + end.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest);
    }
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !in_word) {
        let hashes = raw.bytes().take_while(|byte| *byte == b'#').count();
        if raw[hashes..].starts_with('"') {
            return upto(&format!("\"{}", "#".repeat(hashes)), 2 + hashes);
        }
    }
    let mut quote = rest.chars();
    match (quote.next(), quote.next(), quote.next()) {
        (Some('\''), Some('\\'), Some(_)) => upto("'", 3),
        (Some('\''), Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (place, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return place + 1,
            _ => {}
        }
    }
    rest.len()
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut place = 0;
    while place < rest.len() {
        let here = &rest.as_bytes()[place..];
        if here.starts_with(b"/*") {
            (depth, place) = (depth + 1, place + 2);
        } else if here.starts_with(b"*/") {
            (depth, place) = (depth - 1, place + 2);
        } else {
            place += 1;
        }
        if depth == 0 {
            return place;
        }
    }
    rest.len()
}
