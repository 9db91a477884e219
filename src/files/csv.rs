//! A CSV row as the JSON object that a person would have written: field names as columns, dotted when nested,
//! lists split at `|`, an empty cell is an absent field.

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Number, Value};

use super::tree::Tree;
use crate::wording::cut;

/// Fields that are lists in a brief message.
const LISTS: [&str; 7] = [
    "targetPlatforms",
    "brief.valuePropositions",
    "brief.targetPlatforms",
    "brief.themeTags",
    "brief.referenceMediaIds",
    "references.sourcePostIds",
    "references.assetIds",
];
/// Fields that are numbers in a brief message.
const NUMBERS: [&str; 5] = ["run", "batchSize", "priority", "variantCount", "budget.maxCredits"];
/// The field that is an object of the user's own.
const METADATA: &str = "metadata";

/// Deepest field; the API's own are three deep.
const DEPTH_MAX: usize = 32;
/// Most characters of a column's name that are repeated; a longer one is no field of the API.
const NAME_CHARS_MAX: usize = 100;
/// Most columns; each is compared with each.
const COLUMNS_MAX: usize = 1_000;

/// The header line: which field each column holds.
#[derive(Debug)]
pub(super) struct Columns {
    delimiter: u8,
    columns: Vec<Column>,
}

/// What a cell of the column `field` (`brief.hook`) is in a message; an empty one is `null`. The error completes "the
/// header line …".
pub fn cell_value(field: &str, cell: &str) -> Result<Value, String> {
    if cell.is_empty() {
        return Ok(Value::Null);
    }
    let json = Column::named(field)?.kind.json(cell);
    serde_json::from_str(&json).map_err(|error| format!("has a cell that cannot be read: {error}"))
}

#[derive(Debug)]
struct Column {
    /// The field's path; empty for a column without a name.
    path: Vec<String>,
    kind: Kind,
}

/// What the cells of a column become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unnamed,
    Text,
    Number,
    List,
    Object,
}

impl Columns {
    /// Reads the header line. The error completes "the header line …".
    pub(super) fn of_header(header: &[u8]) -> Result<Self, String> {
        let delimiter = delimiter(header)?;
        let cells = cells(header, delimiter)?;
        if cells.len() > COLUMNS_MAX {
            return Err(format!("names {} columns; {COLUMNS_MAX} are the most", cells.len()));
        }
        let columns: Vec<_> = cells.iter().map(|name| Column::named(name)).collect::<Result<_, _>>()?;
        if columns.iter().all(|column| column.kind == Kind::Unnamed) {
            return Err("is empty; it names the field of each column".to_owned());
        }
        for (index, column) in columns.iter().enumerate().filter(|(_, column)| column.kind != Kind::Unnamed) {
            let clash = columns[..index]
                .iter()
                .filter(|other| other.kind != Kind::Unnamed)
                .find(|other| column.path.starts_with(&other.path) || other.path.starts_with(&column.path));
            match clash {
                Some(other) if other.path == column.path => {
                    return Err(format!("names `{}` twice", shown(&column.path.join("."))));
                }
                Some(other) => {
                    let (one, two) = (other.path.join("."), column.path.join("."));
                    let (one, two) = (shown(&one), shown(&two));
                    return Err(format!("has both `{one}` and `{two}`; keep one of them"));
                }
                None => {}
            }
        }
        Ok(Self { delimiter, columns })
    }

    /// Between which bytes the fields stand.
    pub(super) const fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// The JSON object of a row; `None` when all its cells are empty. The error completes "line 7: …".
    pub(super) fn object(&self, row: &[u8]) -> Result<Option<String>, String> {
        let cells = cells(row, self.delimiter)?;
        if cells.iter().all(String::is_empty) {
            return Ok(None);
        }
        if cells.len() != self.columns.len() {
            let (found, named) = (cells.len(), self.columns.len());
            return Err(format!("{found} fields, but the header line names {named}"));
        }
        let mut object = Tree::new();
        for (index, (column, cell)) in self.columns.iter().zip(&cells).enumerate() {
            if cell.is_empty() {
                continue;
            }
            if column.kind == Kind::Unnamed {
                return Err(format!("column {} has a value, but no name in the header line", index + 1));
            }
            object.put(&column.path, column.kind.json(cell));
        }
        Ok(Some(object.to_json()))
    }
}

impl Column {
    fn named(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Ok(Self { path: Vec::new(), kind: Kind::Unnamed });
        }
        let path: Vec<_> = name.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            let name = shown(name);
            return Err(format!("names `{name}`; dots stand between two names, like `brief.hook`"));
        }
        if path.len() > DEPTH_MAX {
            return Err(format!("names a field {} levels deep; {DEPTH_MAX} are the most", path.len()));
        }
        Ok(Self { path, kind: kind_of(name) })
    }
}

/// A column's name in a text for people.
fn shown(name: &str) -> String {
    cut(name, NAME_CHARS_MAX)
}

/// What the cells of the column with this name become.
pub(super) fn kind_of(name: &str) -> Kind {
    if LISTS.contains(&name) {
        Kind::List
    } else if NUMBERS.contains(&name) {
        Kind::Number
    } else if name == METADATA {
        Kind::Object
    } else {
        Kind::Text
    }
}

impl Kind {
    pub(super) const fn is_object(self) -> bool {
        matches!(self, Self::Object)
    }

    /// The JSON text of a cell that is not empty. A cell that is not what its column wants stays a text, so that
    /// validation names it.
    pub(super) fn json(self, cell: &str) -> String {
        match self {
            Self::Number if serde_json::from_str::<Number>(cell).is_ok() => cell.to_owned(),
            // As it is, so that repeated keys and too large numbers are found in it.
            Self::Object if cell.starts_with('{') && is_json_inside(cell) => cell.to_owned(),
            Self::List => {
                let entries = cell.split('|').map(str::trim).filter(|entry| !entry.is_empty());
                entries.map(Value::from).collect::<Value>().to_string()
            }
            Self::Number | Self::Object | Self::Text | Self::Unnamed => Value::from(cell).to_string(),
        }
    }
}

/// Whether this is JSON also where it stands in a message: a level deeper, and so deep is read.
fn is_json_inside(cell: &str) -> bool {
    serde_json::from_str::<Vec<Value>>(&format!("[{cell}]")).is_ok_and(|values| values.len() == 1)
}

/// Comma, semicolon or tab: what stands most often in the header line, outside of quotation marks.
fn delimiter(header: &[u8]) -> Result<u8, String> {
    let mut counts = [(b',', 0_u32), (b';', 0), (b'\t', 0)];
    let mut quoted = false;
    for byte in header {
        quoted ^= *byte == b'"';
        for (_, count) in counts.iter_mut().filter(|(delimiter, _)| !quoted && delimiter == byte) {
            *count += 1;
        }
    }
    if quoted {
        return Err("has a quotation mark that is not closed on it".to_owned());
    }
    // The comma comes last, because `max_by_key` takes the last of equals.
    Ok(counts.into_iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(delimiter, _)| delimiter))
}

/// The cells of one row, without surrounding white space.
fn cells(row: &[u8], delimiter: u8) -> Result<Vec<String>, String> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true) // the length is compared with the header's, with a better message
        .delimiter(delimiter)
        .buffer_capacity(row.len() + 1) // a reader a row: the default of 8 KiB would be allocated for each
        .from_reader(row);
    let mut record = ByteRecord::new();
    let mut more = ByteRecord::new();
    let cannot = |error: csv::Error| format!("cannot be read as CSV: {error}");
    reader.read_byte_record(&mut record).map_err(cannot)?;
    if reader.read_byte_record(&mut more).map_err(cannot)? {
        return Err("has a bare carriage return in it; save the file with LF or CRLF line ends".to_owned());
    }
    record
        .iter()
        .map(|cell| std::str::from_utf8(cell).map(|cell| cell.trim().to_owned()))
        .collect::<Result<_, _>>()
        .map_err(|_| "is not UTF-8; save the file as UTF-8".to_owned())
}
