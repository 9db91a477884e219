//! Tables and sentences that fit a terminal of 80 columns.

pub(super) use crate::wording::{counted, cut, thousands};

/// Columns of the narrowest terminal that is served.
pub(super) const WIDTH: usize = 80;
/// A name is not cut below this.
const NAME_MIN: usize = 8;
/// Text is not squeezed below this beside a long label.
const ROOM_MIN: usize = 16;
/// Between columns, if there is room.
const GAP: usize = 2;

/// One column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Its title.
    title: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Left-aligned; cut where the line would be too long.
    Name,
    /// Left-aligned; never cut.
    Word,
    /// Right-aligned; never cut.
    Number,
}

impl Column {
    pub(super) const fn name(title: &'static str) -> Self {
        Self { title, kind: Kind::Name }
    }

    pub(super) const fn word(title: &'static str) -> Self {
        Self { title, kind: Kind::Word }
    }

    pub(super) const fn number(title: &'static str) -> Self {
        Self { title, kind: Kind::Number }
    }
}

/// Columns with their widths, fitted to a first page of rows; later pages are cut to the same.
#[derive(Debug)]
pub(super) struct Layout {
    columns: Vec<Column>,
    widths: Vec<usize>,
    gap: &'static str,
}

impl Layout {
    /// Gives each column what it needs, and takes from the widest names until a line fits.
    pub(super) fn fit(columns: &[Column], rows: &[Vec<String>]) -> Self {
        let mut widths: Vec<usize> = columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
                cells.max().unwrap_or(0).max(column.title.len())
            })
            .collect();
        let gaps = columns.len().saturating_sub(1);
        let gap = if widths.iter().sum::<usize>() + GAP * gaps > WIDTH { 1 } else { GAP };
        while widths.iter().sum::<usize>() + gap * gaps > WIDTH {
            let widest = columns
                .iter()
                .zip(widths.iter_mut())
                .filter(|(column, width)| column.kind == Kind::Name && **width > NAME_MIN)
                .max_by_key(|(_, width)| **width);
            let Some((_, width)) = widest else { break };
            *width -= 1;
        }
        Self { columns: columns.to_vec(), widths, gap: if gap == 1 { " " } else { "  " } }
    }

    /// The titles.
    pub(super) fn head(&self) -> String {
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_owned()).collect();
        self.line(&titles)
    }

    /// One row.
    pub(super) fn line(&self, cells: &[String]) -> String {
        let cell = |((column, width), cell): ((&Column, &usize), &String)| {
            let width = *width;
            match column.kind {
                Kind::Name => format!("{:width$}", cut(cell, width)),
                Kind::Word => format!("{cell:width$}"),
                Kind::Number => format!("{cell:>width$}"),
            }
        };
        let cells: Vec<_> = self.columns.iter().zip(&self.widths).zip(cells).map(cell).collect();
        let mut line = cells.join(self.gap);
        line.truncate(line.trim_end().len());
        line
    }

    /// Titles and rows.
    pub(super) fn lines(&self, rows: &[Vec<String>]) -> Vec<String> {
        std::iter::once(self.head()).chain(rows.iter().map(|row| self.line(row))).collect()
    }
}

/// `text` in lines of at most [`WIDTH`], broken between words, the first behind `label`, the others under its text.
pub(super) fn wrap(label: &str, text: &str) -> Vec<String> {
    wrap_to(WIDTH, label, text)
}

/// The same for a terminal of another width.
pub(super) fn wrap_to(width: usize, label: &str, text: &str) -> Vec<String> {
    broken(width, label, text.split_whitespace(), " ")
}

/// The same for facts that are kept together: broken between them, and within one only where it is longer than a line.
pub(super) fn wrap_facts(label: &str, facts: &[String]) -> Vec<String> {
    let room = WIDTH.saturating_sub(label.chars().count());
    if facts.iter().all(|fact| fact.chars().count() <= room) {
        return broken(WIDTH, label, facts.iter().map(String::as_str), " · ");
    }
    let indent = " ".repeat(label.chars().count());
    let runs = facts.chunk_by(|one, other| one.chars().count() <= room && other.chars().count() <= room);
    let lines = runs.enumerate().flat_map(|(at, facts)| {
        let label = if at == 0 { label } else { &indent };
        match facts {
            [long] if long.chars().count() > room => wrap(label, long),
            facts => broken(WIDTH, label, facts.iter().map(String::as_str), " · "),
        }
    });
    lines.collect()
}

/// What is longer than a line goes on in the next one: nothing is left out.
fn broken<'a>(width: usize, label: &str, items: impl Iterator<Item = &'a str>, between: &str) -> Vec<String> {
    let indent = label.chars().count();
    let room = width.saturating_sub(indent).max(ROOM_MIN);
    let mut lines = vec![String::new()];
    for item in items {
        let Some(line) = lines.last_mut() else { break };
        let length = line.chars().count();
        let added = item.chars().count();
        if length > 0 && length + between.chars().count() + added <= room {
            line.push_str(between);
            line.push_str(item);
        } else if length == 0 && added <= room {
            line.push_str(item);
        } else {
            let characters: Vec<char> = item.chars().collect();
            lines.extend(characters.chunks(room).map(|part| part.iter().collect::<String>()));
        }
    }
    if lines.len() > 1 {
        lines.retain(|line| !line.is_empty());
    }
    let rest = " ".repeat(indent);
    let label = |at| if at == 0 { label } else { &rest };
    lines.iter().enumerate().map(|(at, line)| format!("{}{line}", label(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_a_line_goes_on_in_the_next_and_nothing_is_left_out() {
        let text = format!("one {} two", "x".repeat(100));
        let lines = wrap("  label: ", &text);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:#?}");
        assert_eq!(lines[0], "  label: one");
        assert!(lines[1..].iter().all(|line| line.starts_with("         ")));
        assert_eq!(lines.join("").matches('x').count(), 100);
        assert!(lines.last().is_some_and(|line| line.ends_with("x two")), "{lines:#?}");
        assert_eq!(wrap("", ""), [""]);
        let facts = ["a".repeat(70), "b".repeat(200), "c".to_owned()];
        let lines = wrap_facts("  ", &facts);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:#?}");
        assert_eq!(lines.join("").matches('b').count(), 200);
    }
}
