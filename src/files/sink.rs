//! Records as JSON Lines: into a file, to standard output, or through a hook that shows them to a person.
//!
//! Dead letters are not records: they are noted for the end of the command, and not written.

use std::collections::HashSet;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::FileError;
use super::part_file::PartFile;
use super::report::SinkReport;
use crate::flow::{Channel, Outgoing, SendOutcome, Sink};

/// What is wrong after a write that was given up half-way.
const UNFINISHED: &str = "an earlier write was not finished";

/// Shows one record to a person.
pub type RecordWriter = Box<dyn FnMut(&Outgoing) -> io::Result<()> + Send>;

/// Where records go when there is no broker. The same record is written once, however often it is sent.
pub struct JsonlSink {
    /// `None` only while a write is under way.
    target: Option<Target>,
    /// The file that was asked for.
    path: Option<PathBuf>,
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
        Ok(Self { path: path.map(Path::to_owned), ..Self::new(target) })
    }

    /// A sink that hands each record to `writer`, once.
    pub fn with(writer: RecordWriter) -> Self {
        Self::new(Target::Writer(writer))
    }

    fn new(target: Target) -> Self {
        Self { target: Some(target), path: None, written: HashSet::new(), report: SinkReport::default() }
    }

    /// What happened so far; stays readable while a stage owns the sink.
    pub fn report(&self) -> SinkReport {
        self.report.clone()
    }

    /// Puts the file under its name, once everything in it is on disk. Refused while the latest write has failed: the
    /// file would lack records. For other sinks there is nothing to do.
    pub fn finish(self) -> Result<(), FileError> {
        let Some(path) = self.path else { return Ok(()) };
        match (self.target, self.report.trouble()) {
            (Some(Target::File(file)), None) => file.finish(),
            (_, trouble) => {
                let problem = trouble.unwrap_or_else(|| UNFINISHED.to_owned());
                Err(FileError::Write { path, source: io::Error::other(problem) })
            }
        }
    }

    /// Writes records that are new, in order. Returns how many are written: all or none, but for a hook.
    async fn write(&mut self, fresh: &[&Outgoing]) -> (usize, io::Result<()>) {
        let (target, written, result) = match self.target.take() {
            None => (None, 0, Err(io::Error::other(UNFINISHED))),
            Some(Target::Writer(mut writer)) => {
                let mut written = 0;
                let result = fresh.iter().try_for_each(|outgoing| {
                    writer(outgoing)?;
                    written += 1;
                    Ok(())
                });
                (Some(Target::Writer(writer)), written, result)
            }
            Some(Target::Stdout) => {
                let lines = lines(fresh);
                // A reader that pauses (`| less`) shall not block a thread of the runtime.
                let write = move || {
                    let mut stdout = io::stdout().lock();
                    stdout.write_all(&lines).and_then(|()| stdout.flush())
                };
                let result = tokio::task::spawn_blocking(write).await.map_err(io::Error::other).flatten();
                (Some(Target::Stdout), if result.is_ok() { fresh.len() } else { 0 }, result)
            }
            Some(Target::File(mut file)) => {
                let lines = lines(fresh);
                match tokio::task::spawn_blocking(move || (file.append(&lines), file)).await {
                    Ok((Ok(()), file)) => (Some(Target::File(file)), fresh.len(), Ok(())),
                    Ok((Err(error), file)) => (Some(Target::File(file)), 0, Err(error)),
                    Err(error) => (None, 0, Err(io::Error::other(error))),
                }
            }
        };
        self.target = target;
        (written, result)
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
        if !fresh.is_empty() && !self.report.closed() {
            let (written, result) = self.write(&fresh).await;
            self.report.note_write(written, result);
            self.written.extend(fresh.iter().take(written).map(|outgoing| outgoing.message_id.clone()));
        }
        let outcomes = batch.iter().map(|outgoing| match outgoing.channel {
            Channel::Record if self.written.contains(&outgoing.message_id) => SendOutcome::Sent,
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
