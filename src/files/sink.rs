//! Records as JSON Lines: into a file, to standard output, or through a hook that shows them to a person.
//!
//! Dead letters are not records: they are noted for the end of the command, and not written.

use std::collections::HashSet;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use super::FileError;
use super::part_file::PartFile;
use super::report::SinkReport;
use crate::flow::{Channel, Outgoing, SendOutcome, Sink};

/// Shows one record to a person.
pub type RecordWriter = Box<dyn FnMut(&Outgoing) -> io::Result<()> + Send>;

/// Where records go when there is no broker. The same record is written once, however often it is sent.
pub struct JsonlSink {
    /// `None` only while a write is under way.
    target: Option<Target>,
    /// Ids of what was written; as many as the input's briefs have records.
    written: HashSet<String>,
    report: SinkReport,
}

enum Target {
    File(PartFile),
    Stdout,
    Writer(RecordWriter),
}

impl JsonlSink {
    /// A sink into `path`, written as `path.part` until [`JsonlSink::finish`]; without a path to standard output.
    pub fn create(path: Option<&Path>) -> Result<Self, FileError> {
        let target = match path {
            Some(path) => Target::File(PartFile::create(path)?),
            None => Target::Stdout,
        };
        Ok(Self::new(target))
    }

    /// A sink that hands each record to `writer`, once.
    pub fn with(writer: RecordWriter) -> Self {
        Self::new(Target::Writer(writer))
    }

    fn new(target: Target) -> Self {
        Self { target: Some(target), written: HashSet::new(), report: SinkReport::default() }
    }

    /// What happened so far; stays readable while a stage owns the sink.
    pub fn report(&self) -> SinkReport {
        self.report.clone()
    }

    /// Puts the file under its name, once everything in it is on disk. For other sinks there is nothing to do.
    pub fn finish(self) -> Result<(), FileError> {
        match self.target {
            Some(Target::File(file)) => file.finish(),
            Some(Target::Stdout | Target::Writer(_)) | None => Ok(()),
        }
    }

    /// Writes records that are new: all of them, or (in a file) none.
    async fn write(&mut self, fresh: &[&Outgoing]) -> io::Result<()> {
        let broken = || io::Error::other("an earlier write was not finished");
        match self.target.take().ok_or_else(broken)? {
            Target::Writer(mut writer) => {
                let result = fresh.iter().try_for_each(|outgoing| writer(outgoing));
                self.target = Some(Target::Writer(writer));
                result
            }
            Target::Stdout => {
                let lines = lines(fresh);
                // A reader that pauses (`| less`) shall not block a thread of the runtime.
                let write = move || {
                    let mut stdout = io::stdout().lock();
                    stdout.write_all(&lines).and_then(|()| stdout.flush())
                };
                let result = tokio::task::spawn_blocking(write).await;
                self.target = Some(Target::Stdout);
                result.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            Target::File(mut file) => {
                let lines = lines(fresh);
                let write = move || (file.append(&lines), file);
                let (result, file) = tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?;
                self.target = Some(Target::File(file));
                result
            }
        }
    }
}

impl Sink for JsonlSink {
    async fn send(&mut self, batch: &[Outgoing]) -> ControlFlow<(), Vec<SendOutcome>> {
        let mut in_batch = HashSet::new();
        let fresh: Vec<_> = batch
            .iter()
            .filter(|outgoing| outgoing.channel == Channel::Record)
            .filter(|outgoing| {
                !self.written.contains(&outgoing.message_id) && in_batch.insert(&outgoing.message_id)
            })
            .collect();
        let written = if fresh.is_empty() {
            true
        } else if self.report.closed() {
            false
        } else {
            let result = self.write(&fresh).await;
            self.report.note_write(result, fresh.len())
        };
        if written {
            self.written.extend(fresh.iter().map(|outgoing| outgoing.message_id.clone()));
        }
        let outcomes = batch.iter().map(|outgoing| match outgoing.channel {
            Channel::Record if written || self.written.contains(&outgoing.message_id) => SendOutcome::Sent,
            Channel::Record => SendOutcome::Refused,
            Channel::DeadLetter => {
                self.report.note_dead_letter(outgoing);
                SendOutcome::Sent
            }
            Channel::Brief => SendOutcome::Impossible,
        });
        ControlFlow::Continue(outcomes.collect())
    }

    async fn ready(&mut self) {}
}

/// One line a record. The API's record may have line breaks between its tokens; in JSON they are white space there,
/// and nowhere else.
fn lines(records: &[&Outgoing]) -> Vec<u8> {
    let line_break = |byte: u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte };
    let mut lines = Vec::new();
    for record in records {
        lines.extend(record.body.iter().copied().map(line_break));
        lines.push(b'\n');
    }
    lines
}
