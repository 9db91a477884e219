//! `briefd schema`: the two published JSON Schemas.

use std::io::Write;

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::{brief, record};

/// Print the JSON Schema of a brief message or of a record
///
/// Example: briefd schema brief > brief.schema.json
#[derive(Args, Clone, Debug)]
pub struct SchemaArgs {
    /// Which of the two
    pub which: Which,
}

/// What there are schemas of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The message that asks for content
    Brief,
    /// The message that tells what became of it
    Record,
}

/// Prints the schema, indented, with a line break at its end.
pub fn run(args: &SchemaArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let schema = match args.which {
        Which::Brief => brief::schema(),
        Which::Record => record::schema(),
    };
    writeln!(out, "{schema:#}").context("cannot print the schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_the_published_schema_on_lines_of_its_own() {
        for (which, schema) in [(Which::Brief, brief::schema()), (Which::Record, record::schema())] {
            let mut out = Vec::new();
            run(&SchemaArgs { which }, &mut out).unwrap();
            assert!(out.ends_with(b"}\n"));
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), schema);
        }
    }
}
