//! Reads which modules and crates a source file names. No parser of Rust: tokens, and what follows `crate`, `super` or
//! a name that begins a path.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// One source file.
#[derive(Debug)]
pub struct Module {
    /// Its file, as people write it.
    pub file: String,
    /// Its place below the crate.
    path: Vec<String>,
    /// The modules directly below the crate that it names.
    pub ours: BTreeSet<String>,
    /// The first names of all other paths: crates, and local names; of `std` the first two.
    pub foreign: BTreeSet<String>,
}

impl Module {
    /// The module directly below the crate that it belongs to; `crate` for `lib.rs`, `main` for `main.rs`.
    pub fn top(&self) -> &str {
        self.path.first().map_or("crate", String::as_str)
    }

    /// Reads a source text; also returns the names of the modules that only tests have.
    pub fn read(file: String, path: Vec<String>, source: &str) -> (Self, BTreeSet<String>) {
        let mut tokens = tokens(source);
        let test_modules = remove_tests(&mut tokens);
        let mut module = Self { file, path, ours: BTreeSet::new(), foreign: BTreeSet::new() };
        for at in 0..tokens.len() {
            let begins = is_name(&tokens[at]) && (at == 0 || tokens[at - 1] != "::");
            let leads =
                tokens.get(at + 1).is_some_and(|next| next == "::") || at > 0 && tokens[at - 1] == "use";
            if begins && leads {
                module.add(&tokens, at);
            }
        }
        (module, test_modules)
    }

    /// Adds the path that begins at a token, or the paths if it is a tree.
    fn add(&mut self, tokens: &[String], mut at: usize) {
        let mut above = match tokens[at].as_str() {
            "crate" => self.path.len(),
            "super" => 1,
            "self" => 0,
            "std" => {
                let names = heads(tokens, at + 2).into_iter().map(|name| format!("std::{name}"));
                return self.foreign.extend(names);
            }
            name => {
                self.foreign.insert(name.to_owned());
                return;
            }
        };
        at += 2;
        while tokens.get(at).is_some_and(|token| token == "super") {
            above += 1;
            at += 2;
        }
        if above >= self.path.len() {
            self.ours.extend(heads(tokens, at));
        }
    }
}

/// The first names of what follows a `::`: one, or those of a group.
fn heads(tokens: &[String], at: usize) -> Vec<String> {
    let Some(first) = tokens.get(at) else { return Vec::new() };
    if first != "{" {
        return vec![first.clone()];
    }
    let (mut depth, mut names) = (0, Vec::new());
    for pair in tokens[at..].windows(2) {
        match pair[0].as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && (pair[0] == "{" || pair[0] == ",") && is_name(&pair[1]) {
            names.push(pair[1].clone());
        }
    }
    names
}

/// Takes out every item under `#[cfg(test)]`; returns the names of modules among them that are files of their own.
fn remove_tests(tokens: &mut Vec<String>) -> BTreeSet<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut files = BTreeSet::new();
    while let Some(begin) = tokens.windows(MARK.len()).position(|window| window == MARK) {
        let mut depth = 0;
        let mut end = begin + MARK.len();
        while let Some(token) = tokens.get(end) {
            match token.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            end += 1;
            if depth == 0 && (token == ";" || token == "}") {
                break;
            }
        }
        if let [.., keyword, name, semicolon] = &tokens[begin..end]
            && keyword == "mod"
            && semicolon == ";"
        {
            files.insert(name.clone());
        }
        tokens.drain(begin..end);
    }
    files
}

/// Every source file below `src` but those of tests.
pub fn modules(src: &Path) -> Vec<Module> {
    let mut files = Vec::new();
    collect(src, &mut files);
    let mut modules = Vec::new();
    let mut tests: BTreeSet<Vec<String>> = BTreeSet::new();
    for file in files {
        let relative = file.strip_prefix(src).expect("it was found below src").with_extension("");
        let mut path: Vec<_> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if path.last().is_some_and(|last| last == "mod" || last == "lib") {
            path.pop();
        }
        let source = fs::read_to_string(&file).expect("a source file can be read");
        let name = format!("src/{}.rs", relative.display());
        let (module, files_of_tests) = Module::read(name, path.clone(), &source);
        tests.extend(files_of_tests.into_iter().map(|name| [path.as_slice(), &[name]].concat()));
        modules.push(module);
    }
    modules.retain(|module| !tests.iter().any(|test| module.path.starts_with(test)));
    modules
}

/// Every source file below `src`, with its text up to where its tests begin.
pub fn texts(src: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    collect(src, &mut files);
    files.retain(|file| !file.iter().any(|part| part == "tests.rs" || part == "tests"));
    let text = |file: &std::path::PathBuf| {
        let relative = file.strip_prefix(src).expect("it was found below src");
        let source = fs::read_to_string(file).expect("a source file can be read");
        let tested = source.find("#[cfg(test)]\nmod tests {").unwrap_or(source.len());
        (format!("src/{}", relative.display()), source[..tested].to_owned())
    };
    files.iter().map(text).collect()
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources can be read") {
        let path = entry.expect("a folder of sources can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single characters; without comments, texts and white space.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = skipped(rest);
        if skipped > 0 {
            rest = &rest[skipped..];
            continue;
        }
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push(rest[..length].to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}

/// Bytes of the comment, text or character that a source begins with; 0: none.
fn skipped(source: &str) -> usize {
    if source.starts_with("//") {
        return source.find('\n').unwrap_or(source.len());
    }
    if source.starts_with("/*") {
        return source.find("*/").map_or(source.len(), |end| end + 2);
    }
    for prefix in ["r#\"", "br#\"", "r##\"", "r\"", "br\""] {
        if source.starts_with(prefix) {
            let close = format!("\"{}", "#".repeat(prefix.matches('#').count()));
            let begin = prefix.len();
            return source[begin..].find(&close).map_or(source.len(), |end| begin + end + close.len());
        }
    }
    let quote = match source.as_bytes() {
        [b'"', ..] => '"',
        [b'\'', b'\\', ..] => '\'',
        // A lifetime has no closing quote after its first character.
        [b'\'', ..] if source.chars().nth(2) == Some('\'') => '\'',
        _ => return 0,
    };
    let mut escaped = false;
    for (at, character) in source.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    source.len()
}
