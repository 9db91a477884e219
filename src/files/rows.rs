//! Splits a file into rows: lines, or for CSV logical lines, in which a quoted field may hold line breaks.
//!
//! The csv crate could do that too, but it has no bound on the length of a row, and its line numbers count from the
//! blank lines before a row.

use std::io::{self, BufRead, Seek};
use std::mem;

/// Longest row.
pub(super) const ROW_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What rows are read from: a file, or memory.
pub(super) trait Input: BufRead + Seek + Send {}

impl<T: BufRead + Seek + Send> Input for T {}

/// One row, without its line break.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// Number of its first line, from 1.
    pub(super) line: u64,
    /// Its bytes, at most [`ROW_BYTES_MAX`].
    pub(super) bytes: Vec<u8>,
    /// It was longer; the rest was skipped up to the next line break.
    pub(super) too_long: bool,
    /// The file ended within quotation marks.
    pub(super) open_quote: bool,
}

impl Row {
    /// Whether there is nothing in it but white space.
    pub(super) fn is_blank(&self) -> bool {
        self.bytes.trim_ascii().is_empty() && !self.too_long
    }
}

/// The rows of an input.
pub(super) struct Rows {
    input: Box<dyn Input>,
    /// The delimiter after which a quotation mark opens a quoted field; `None`: quotation marks mean nothing.
    delimiter: Option<u8>,
    /// Lines read so far.
    lines: u64,
    /// Nothing was read yet, so a byte order mark may come.
    at_start: bool,
}

/// Where the reader stands within a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Field,
    Quoted,
    /// Behind a quotation mark in a quoted field: its end, or the first of a doubled one.
    QuoteInQuoted,
}

impl Rows {
    /// Rows of an input that stands at its start; quotation marks mean nothing yet.
    pub(super) fn new(input: Box<dyn Input>) -> Self {
        Self { input, delimiter: None, lines: 0, at_start: true }
    }

    /// From here on a quotation mark behind this delimiter opens a quoted field.
    pub(super) fn set_delimiter(&mut self, delimiter: u8) {
        self.delimiter = Some(delimiter);
    }

    /// Back to the start; quotation marks mean nothing again.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        self.lines = 0;
        self.at_start = true;
        self.delimiter = None;
        self.input.rewind()
    }

    /// The next row, blank ones too; `None` at the end. A byte order mark at the start of the input is left out.
    pub(super) fn next_row(&mut self) -> io::Result<Option<Row>> {
        let mut row = Row { line: self.lines + 1, ..Row::default() };
        let mut place = Place::FieldStart;
        let mut read_any = false;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                row.open_quote = place == Place::Quoted;
                return Ok(read_any.then(|| row.finished()));
            }
            read_any = true;
            let is_marked = mem::take(&mut self.at_start) && chunk.starts_with(BYTE_ORDER_MARK);
            let mut used = if is_marked { BYTE_ORDER_MARK.len() } else { 0 };
            let mut ended = false;
            for &byte in &chunk[used..] {
                used += 1;
                if byte == b'\n' {
                    self.lines += 1;
                    // Once a row is too long, an unclosed quote shall not swallow the rest of the file as well.
                    ended = place != Place::Quoted || row.too_long;
                    if ended {
                        break;
                    }
                }
                place = place.after(byte, self.delimiter);
                if row.bytes.len() < ROW_BYTES_MAX {
                    row.bytes.push(byte);
                } else {
                    row.too_long = true;
                }
            }
            self.input.consume(used);
            if ended {
                return Ok(Some(row.finished()));
            }
        }
    }
}

impl Row {
    fn finished(mut self) -> Self {
        if self.bytes.ends_with(b"\r") {
            self.bytes.pop();
        }
        self
    }
}

impl Place {
    fn after(self, byte: u8, delimiter: Option<u8>) -> Self {
        let Some(delimiter) = delimiter else { return Self::Field };
        match self {
            Self::FieldStart | Self::QuoteInQuoted if byte == b'"' => Self::Quoted,
            Self::Quoted if byte == b'"' => Self::QuoteInQuoted,
            Self::Quoted => Self::Quoted,
            Self::FieldStart | Self::Field | Self::QuoteInQuoted if byte == delimiter => Self::FieldStart,
            Self::FieldStart | Self::Field | Self::QuoteInQuoted => Self::Field,
        }
    }
}
