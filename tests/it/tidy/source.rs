//! Rust source as the checks see it: code without comments and without what is in quotes.

use crate::tidy::File;

/// The code of a file: every comment and every character in quotes is a space, so that lines and
/// columns stay.
pub struct Rust {
    pub code: String,
    /// Where the tests at the end of the file begin, as a line index.
    pub tests_from: usize,
}

impl Rust {
    pub fn of(file: &File) -> Self {
        let code = blank(&file.text);
        let lines: Vec<&str> = code.lines().collect();
        let inline_tests = |pair: &[&str]| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        };
        let tests_from = lines.windows(2).position(inline_tests).unwrap_or(lines.len());
        Self { code, tests_from }
    }

    /// The first names after `root::`, as in `root::a` and `root::{a, b::c}`, with their lines
    /// counted from 1.
    pub fn paths(&self, root: &str) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (at, _) in word(&self.code, root) {
            let Some(rest) = self.code[at + root.len()..].strip_prefix("::") else { continue };
            let line = self.line_of(at);
            match rest.strip_prefix('{') {
                Some(list) => found.extend(firsts(list).into_iter().map(|name| (line, name))),
                None => found.push((line, identifier(rest))),
            }
        }
        found
    }

    /// Lines, counted from 1, on which this stands as a word of its own.
    pub fn lines_with(&self, name: &str) -> Vec<usize> {
        let mut lines: Vec<usize> =
            word(&self.code, name).into_iter().map(|(at, _)| self.line_of(at)).collect();
        lines.dedup();
        lines
    }

    fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }
}

/// Where `name` stands with no letter, digit or underscore on either side.
pub fn word<'a>(text: &'a str, name: &'a str) -> Vec<(usize, &'a str)> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let alone = |(at, _): &(usize, &str)| {
        let ends = name.ends_with(part) && text[at + name.len()..].starts_with(part);
        let begins = name.starts_with(part) && text[..*at].ends_with(part);
        !ends && !begins
    };
    text.match_indices(name).filter(alone).collect()
}

pub fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first name of each item of a list in braces, up to its closing brace.
fn firsts(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut at_start) = (0, Vec::new(), true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                names.push(identifier(&list[at..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let covered = covered(rest, after_word);
        if covered == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let hidden = rest[..covered].chars();
            code.extend(hidden.map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[covered..];
        }
    }
    code
}

/// How many bytes of comment, string or character begin here.
fn covered(rest: &str, after_word: bool) -> usize {
    let bytes = rest.as_bytes();
    match bytes {
        [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => rest.find("*/").map_or(rest.len(), |at| at + 2),
        [b'"', ..] => 1 + quoted(&bytes[1..], b'"'),
        [b'r', b'"' | b'#', ..] if !after_word => raw_string(rest),
        [b'b', b'r', b'"' | b'#', ..] if !after_word => 1 + raw_string(&rest[1..]),
        [b'\'', b'\\', ..] => 1 + quoted(&bytes[1..], b'\''),
        // A character, and not a lifetime.
        [b'\'', ..] => {
            let mut chars = rest[1..].char_indices();
            match (chars.next(), chars.next()) {
                (Some(_), Some((at, '\''))) => at + 2,
                _ => 0,
            }
        }
        _ => 0,
    }
}

/// The length up to and with the closing quote.
fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// `r"…"`, `r#"…"#`; 0 for a raw identifier.
fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
    if rest.as_bytes().get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let begin = 2 + hashes;
    let end = format!("\"{}", "#".repeat(hashes));
    rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len())
}

#[test]
fn comments_and_quotes_are_not_code() {
    let text = "a(\"x\\\"y\", 'z', '\\'', r#\"b\"c\"#, b\"d\"); // e\n/* f */ fn g<'h>() {}\n";
    let shown: String = blank(text).split_whitespace().collect();
    assert_eq!(shown, "a(,,,,b);fng<'h>(){}");
}

#[test]
fn paths_are_found_in_lists_too() {
    let text = "use crate::log::Log;\nuse crate::{\n    base::{ids, net},\n    wire,\n};\n";
    let file = File { path: "src/x.rs".to_owned(), text: text.to_owned() };
    let paths = Rust::of(&file).paths("crate");
    let expected = [(1, "log"), (2, "base"), (2, "wire")];
    assert_eq!(paths, expected.map(|(line, name)| (line, name.to_owned())));
}
