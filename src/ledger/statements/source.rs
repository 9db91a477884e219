//! The SQL that stands in the sources of the ledger: every string literal that looks like it.

use std::fs;
use std::path::{Path, PathBuf};

use super::one_line;

/// What no sentence for people has in it.
const WORDS: [&str; 15] = [
    "SELECT ",
    "INSERT INTO",
    "UPDATE ",
    "DELETE FROM",
    " FROM ",
    "WHERE ",
    "VALUES",
    "JOIN ",
    "EXISTS",
    "LIMIT ",
    "ORDER BY",
    "ON CONFLICT",
    "UNION ",
    "AND ",
    "RETURNING ",
];

/// A string literal, on one line.
#[derive(Debug)]
pub(super) struct Text {
    pub file: String,
    pub text: String,
}

impl Text {
    /// Its pieces between the places of a template.
    pub(super) fn pieces(&self) -> Vec<&str> {
        let mut pieces = Vec::new();
        for piece in self.text.split('{') {
            // Of `name} rest` the rest.
            let piece = piece.split_once('}').map_or(piece, |(_, rest)| rest).trim();
            if !piece.is_empty() {
                pieces.push(piece);
            }
        }
        pieces
    }
}

/// All of them.
pub(super) fn texts() -> Vec<Text> {
    let ledger = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ledger");
    let mut texts = Vec::new();
    for path in files(&ledger) {
        let source = fs::read_to_string(&path).unwrap();
        let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let file = path.strip_prefix(&ledger).unwrap().display().to_string();
        for literal in literals(source) {
            let text = one_line(&literal);
            if WORDS.iter().any(|word| text.contains(word.trim_start())) {
                texts.push(Text { file: file.clone(), text });
            }
        }
    }
    texts
}

/// Those of the product.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match name.as_str() {
            "tests" | "statements" => {}
            _ if path.is_dir() => found.extend(files(&path)),
            _ if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

/// The string literals of Rust code, without what is in comments, their escapes undone as far as SQL has any.
fn literals(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (before, from) = rest.split_at(at);
        if from.starts_with("//") {
            rest = from.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(after) = from.strip_prefix('"') {
            let (literal, after) =
                if before.ends_with(['r', '#']) { raw(before, after) } else { plain(after) };
            found.push(literal);
            rest = after;
        } else if from.starts_with("'\"'") || from.starts_with("'/'") {
            rest = &from[3..];
        } else if from.starts_with("'\\") {
            rest = from[3..].split_once('\'').map_or("", |(_, rest)| rest);
        } else {
            rest = &from[1..];
        }
    }
    found
}

/// Up to the quote with as many `#` behind it as are before the first.
fn raw<'a>(before: &str, after: &'a str) -> (String, &'a str) {
    let hashes = before.len() - before.trim_end_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let (literal, rest) = after.split_once(&end).unwrap_or((after, ""));
    (literal.to_owned(), rest)
}

fn plain(after: &str) -> (String, &str) {
    let mut literal = String::new();
    let mut chars = after.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (literal, &after[at + 1..]),
            // The end of the line goes as well, and the spaces of the next.
            '\\' => match chars.next() {
                Some((_, '\n' | 'n')) => literal.push(' '),
                Some((_, escaped)) => literal.push(escaped),
                None => break,
            },
            _ => literal.push(char),
        }
    }
    (literal, "")
}

#[test]
fn literals_are_found_whatever_is_around_them() {
    let code = r##"
        // "a comment"
        let a: &'static str = "SELECT 1 \
            FROM brief"; let quote = '"'; let b = r#"SELECT "x" AS y"#; // it's
        let c = '\''; let d = concat!("WHERE ", "a = 'b'");
    "##;
    let found: Vec<_> = literals(code).iter().map(|literal| one_line(literal)).collect();
    assert_eq!(found, ["SELECT 1 FROM brief", "SELECT \"x\" AS y", "WHERE", "a = 'b'"]);
}
