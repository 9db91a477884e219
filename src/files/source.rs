//! A file of briefs as a source: one delivery a line or row.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use super::FileError;
use super::csv::Columns;
use super::rows::{Input, ROW_BYTES_MAX, Row, Rows};
use crate::flow::{Delivery, Source};

/// Most that is kept in memory of an input that cannot be read twice.
const SPOOL_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes of deliveries after which [`Source::receive`] returns with fewer than asked for.
const RECEIVE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How much of a line that is too long is kept, for a person to recognize it.
const FAULT_BODY_BYTES_MAX: usize = 4096;
/// What standard input is called in messages.
const STDIN: &str = "standard input";

/// Briefs from a file of JSON Lines or CSV. A delivery's position is its line number, from 1; blank lines are skipped.
pub struct BriefFile {
    name: String,
    stem: Option<String>,
    rows: Rows,
    format: Format,
    readable_lines: u64,
    ended: bool,
}

enum Format {
    JsonLines,
    Csv(Columns),
}

impl BriefFile {
    /// Opens a file of briefs and counts its lines. `-` is standard input. JSON Lines or CSV by its ending; what has no
    /// ending is JSON Lines.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        if path == Path::new("-") {
            let input = spooled(io::stdin().lock(), STDIN)?;
            return Self::of(input, STDIN.to_owned(), None, false);
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let is_csv = match ending.as_deref() {
            Some("csv" | "tsv") => true,
            Some("jsonl" | "ndjson" | "json") | None => false,
            Some(_) => return Err(FileError::UnknownEnding(path.to_owned())),
        };
        let name = path.display().to_string();
        let failed = |source: io::Error| {
            if source.kind() == io::ErrorKind::NotFound {
                FileError::NotFound(path.to_owned())
            } else {
                FileError::Read { name: name.clone(), source }
            }
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(FileError::IsDirectory(path.to_owned()));
        }
        // A pipe (`<(…)`) cannot be read twice.
        let input = if metadata.is_file() { Box::new(BufReader::new(file)) } else { spooled(file, &name)? };
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Self::of(input, name, stem, is_csv)
    }

    pub(super) fn of(
        input: Box<dyn Input>,
        name: String,
        stem: Option<String>,
        is_csv: bool,
    ) -> Result<Self, FileError> {
        let mut rows = Rows::new(input);
        let format = if is_csv { Format::Csv(header(&mut rows, &name)?) } else { Format::JsonLines };
        let mut file = Self { name, stem, rows, format, readable_lines: 0, ended: false };
        file.readable_lines = file.count_readable(|_| true)?;
        Ok(file)
    }

    /// Lines (or rows) that are not blank and have no fault of form. See [`BriefFile::count_readable`].
    pub const fn readable_lines(&self) -> u64 {
        self.readable_lines
    }

    /// The file's name without its ending, the default batch; `None` for standard input.
    pub fn stem(&self) -> Option<&str> {
        self.stem.as_deref()
    }

    /// Reads the whole file once, counts the deliveries without a fault that `is_readable` says yes to, and starts
    /// again at the beginning. With `brief::parse(…).is_ok()` this is the size of the batch that the file makes.
    pub fn count_readable(
        &mut self,
        mut is_readable: impl FnMut(&Delivery) -> bool,
    ) -> Result<u64, FileError> {
        let mut count = 0;
        let name = self.name.clone();
        let failed = |source| FileError::Read { name, source };
        let mut counted = || {
            self.restart()?;
            while let Some(delivery) = self.next_delivery()? {
                count += u64::from(delivery.fault.is_none() && is_readable(&delivery));
            }
            self.restart()
        };
        counted().map_err(failed)?;
        Ok(count)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.rows.rewind()?;
        if let Format::Csv(columns) = &self.format {
            while self.rows.next_row()?.is_some_and(|row| row.is_blank()) {}
            self.rows.set_delimiter(columns.delimiter());
        }
        Ok(())
    }

    /// The next line or row that is not blank.
    fn next_delivery(&mut self) -> io::Result<Option<Delivery>> {
        while let Some(row) = self.rows.next_row()? {
            if row.is_blank() {
                continue;
            }
            let position = row.line;
            let fault = |problem: &str| Some(format!("line {position}: {problem}"));
            let (body, fault) = if row.too_long {
                let problem = format!("more than {} MiB", ROW_BYTES_MAX / (1024 * 1024));
                (row.bytes[..FAULT_BODY_BYTES_MAX].to_vec(), fault(&problem))
            } else {
                match self.format.body(&row) {
                    Ok(Some(body)) => (body, None),
                    Ok(None) => continue,
                    Err(problem) => (row.bytes, fault(&problem)),
                }
            };
            return Ok(Some(Delivery { position, body, fault, ..Delivery::default() }));
        }
        Ok(None)
    }
}

impl Format {
    /// The message that a row stands for; `None` when it is empty.
    fn body(&self, row: &Row) -> Result<Option<Vec<u8>>, String> {
        match self {
            Self::JsonLines => Ok(Some(row.bytes.clone())),
            Self::Csv(_) if row.open_quote => {
                Err("a quotation mark is opened and never closed; what follows was not read".to_owned())
            }
            Self::Csv(columns) => Ok(columns.object(&row.bytes)?.map(String::into_bytes)),
        }
    }
}

impl Source for BriefFile {
    async fn receive(&mut self, max: usize) -> Option<Vec<Delivery>> {
        let mut deliveries = Vec::new();
        let mut bytes = 0;
        while !self.ended && deliveries.len() < max.max(1) && bytes < RECEIVE_BYTES_MAX {
            match self.next_delivery() {
                Ok(Some(delivery)) => {
                    bytes += delivery.body.len();
                    deliveries.push(delivery);
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    let fault = Some(format!("{}: cannot be read on: {error}", self.name));
                    deliveries.push(Delivery { fault, ..Delivery::default() });
                }
            }
        }
        (!deliveries.is_empty()).then_some(deliveries)
    }

    /// Nothing to do: a file keeps its lines.
    async fn acknowledge(&mut self) {}

    async fn stop(&mut self) {
        self.ended = true;
    }

    /// Nothing to do: what is not received stays in the file.
    async fn pause(&mut self, _paused: bool) {}
}

/// Reads the header line of a CSV file, the first that is not blank.
fn header(rows: &mut Rows, name: &str) -> Result<Columns, FileError> {
    let wrong = |problem: &str| FileError::Header { name: name.to_owned(), problem: problem.to_owned() };
    loop {
        match rows.next_row().map_err(|source| FileError::Read { name: name.to_owned(), source })? {
            None => return Err(wrong("is missing; it names the field of each column")),
            Some(row) if row.too_long => return Err(wrong("is too long")),
            Some(row) if row.is_blank() => {}
            Some(row) => {
                // The count that follows starts again, and sets the delimiter.
                return Columns::of_header(&row.bytes).map_err(|problem| wrong(&problem));
            }
        }
    }
}

/// Takes an input that cannot be read twice into memory.
fn spooled(input: impl Read, name: &str) -> Result<Box<dyn Input>, FileError> {
    let mut bytes = Vec::new();
    let read = input.take(SPOOL_BYTES_MAX + 1).read_to_end(&mut bytes);
    let length =
        read.map_err(|source| FileError::Read { name: name.to_owned(), source }).map(u64::try_from)?;
    if length.is_ok_and(|length| length <= SPOOL_BYTES_MAX) {
        Ok(Box::new(Cursor::new(bytes)))
    } else {
        Err(FileError::TooLong { name: name.to_owned(), max_bytes: SPOOL_BYTES_MAX })
    }
}
