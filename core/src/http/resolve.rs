//! References against a base, on strings (RFC 3986 section 5.2).
//!
//! Strict: a reference with a scheme stands alone. Nothing is decoded or normalised but the dot
//! segments of the path. The fragment of the result is the reference's own.

/// The parts of a reference; a missing part differs from an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reference<'a> {
    /// Before the first colon.
    pub scheme: Option<&'a str>,
    /// After `//`.
    pub authority: Option<&'a str>,
    /// What is left.
    pub path: &'a str,
    /// After `?`.
    pub query: Option<&'a str>,
    /// After `#`.
    pub fragment: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Takes a reference apart. Every string is one (RFC 3986 appendix B).
    pub fn parse(text: &'a str) -> Self {
        let (text, fragment) = cut(text, '#');
        let (text, query) = cut(text, '?');
        let (scheme, text) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            _ => (None, text),
        };
        let Some(rest) = text.strip_prefix("//") else {
            return Self {
                scheme,
                authority: None,
                path: text,
                query,
                fragment,
            };
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Self {
            scheme,
            authority: Some(authority),
            path,
            query,
            fragment,
        }
    }
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at)
        .map_or((text, None), |(before, after)| (before, Some(after)))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The target of `reference`, as seen from `base`, which has a scheme.
pub fn resolve(base: &str, reference: &str) -> String {
    let base = Reference::parse(base);
    let wanted = Reference::parse(reference);
    let from_base = wanted.scheme.is_none();
    let same_authority = from_base && wanted.authority.is_none();
    let same_path = same_authority && wanted.path.is_empty();
    let path = if same_path {
        base.path.to_owned()
    } else if !same_authority || wanted.path.starts_with('/') {
        remove_dot_segments(wanted.path)
    } else {
        remove_dot_segments(&merge(&base, wanted.path))
    };
    compose(Reference {
        scheme: if from_base {
            base.scheme
        } else {
            wanted.scheme
        },
        authority: if same_authority {
            base.authority
        } else {
            wanted.authority
        },
        path: &path,
        query: if same_path {
            wanted.query.or(base.query)
        } else {
            wanted.query
        },
        fragment: wanted.fragment,
    })
}

fn merge(base: &Reference<'_>, path: &str) -> String {
    match base.path.rfind('/') {
        Some(slash) => format!("{}{path}", &base.path[..=slash]),
        None if base.authority.is_some() => format!("/{path}"),
        None => path.to_owned(),
    }
}

/// RFC 3986 section 5.2.4, in one pass and linear time.
fn remove_dot_segments(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let (absolute, rest) = match path.strip_prefix('/') {
        Some(rest) => (true, rest),
        None => (false, path),
    };
    let mut segments = rest.split('/').peekable();
    // Each segment is written with the slash before it; a relative path's first has none.
    let mut slash = absolute;
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    let parent = out.rfind('/');
                    slash |= parent.is_some();
                    out.truncate(parent.unwrap_or(0));
                }
                if is_last && slash {
                    out.push('/');
                }
            }
            _ => {
                if slash {
                    out.push('/');
                }
                out.push_str(segment);
                slash = true;
            }
        }
    }
    out
}

fn compose(parts: Reference<'_>) -> String {
    let mut out = String::new();
    if let Some(scheme) = parts.scheme {
        out.push_str(scheme);
        out.push(':');
    }
    if let Some(authority) = parts.authority {
        out.push_str("//");
        out.push_str(authority);
    } else if parts.path.starts_with("//") {
        // RFC 3986 section 5.3 would make an authority of it (erratum 4547).
        out.push_str("/.");
    }
    out.push_str(parts.path);
    for (mark, part) in [('?', parts.query), ('#', parts.fragment)] {
        if let Some(part) = part {
            out.push(mark);
            out.push_str(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3986 sections 5.4.1 and 5.4.2.
    const EXAMPLES: [(&str, &str); 42] = [
        ("g:h", "g:h"),
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q#s"),
        ("g#s", "http://a/b/c/g#s"),
        ("g?y#s", "http://a/b/c/g?y#s"),
        (";x", "http://a/b/c/;x"),
        ("g;x", "http://a/b/c/g;x"),
        ("g;x?y#s", "http://a/b/c/g;x?y#s"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("../../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        (".g", "http://a/b/c/.g"),
        ("g..", "http://a/b/c/g.."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/./x", "http://a/b/c/g?y/./x"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        ("g#s/./x", "http://a/b/c/g#s/./x"),
        ("g#s/../x", "http://a/b/c/g#s/../x"),
        ("http:g", "http:g"),
    ];

    #[test]
    fn the_examples_of_the_rfc_resolve() {
        for (reference, expected) in EXAMPLES {
            assert_eq!(
                resolve("http://a/b/c/d;p?q", reference),
                expected,
                "{reference}"
            );
        }
    }

    #[test]
    fn a_base_without_a_path_gets_one() {
        assert_eq!(resolve("https://a.test", "x"), "https://a.test/x");
        assert_eq!(resolve("https://a.test?q", "?r"), "https://a.test?r");
        assert_eq!(
            resolve("https://a.test/a//b/../c", "../d"),
            "https://a.test/a/d"
        );
        assert_eq!(
            resolve("https://a.test/x", "/a/b//../c"),
            "https://a.test/a/b/c"
        );
        assert_eq!(resolve("https://a.test/x", "/..//g"), "https://a.test//g");
    }
}
