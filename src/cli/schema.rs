//! `briefd schema`: the published JSON Schemas.

use std::io::Write;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::status;
use crate::{brief, record};

/// Print the JSON Schema of a brief message, of a record, or of briefd status --json
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  briefd schema brief > brief.schema.json")]
pub struct SchemaArgs {
    /// Which of them
    pub which: Which,
}

/// What there are schemas of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The message that asks for content
    Brief,
    /// The message that tells what became of it
    Record,
    /// What briefd status --json prints
    Status,
}

/// Prints the schema, indented, with a line break at its end.
pub fn run(args: &SchemaArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let schema = match args.which {
        Which::Brief => brief::schema(),
        Which::Record => record::schema(),
        Which::Status => status::schema(),
    };
    writeln!(out, "{schema:#}").context("cannot print the schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_the_published_schema_on_lines_of_its_own() {
        let all = [
            (Which::Brief, brief::schema()),
            (Which::Record, record::schema()),
            (Which::Status, status::schema()),
        ];
        for (which, schema) in all {
            let mut out = Vec::new();
            run(&SchemaArgs { which }, &mut out).unwrap();
            assert!(out.ends_with(b"}\n"));
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), schema);
        }
    }
}
