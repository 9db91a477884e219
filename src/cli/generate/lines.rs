//! One line a container, for people.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use serde::Deserialize;

use super::super::progress::{Screen, columns};
use super::super::table::{WIDTH, cut, wrap_to};
use crate::app::survey::Survey;
use crate::config::Settings;
use crate::files::RecordWriter;
use crate::flow::Outgoing;

/// A brief's name is not shown wider than this.
const NAME_WIDTH: usize = 36;
/// A project without an alias is shown by so much of its id.
const PROJECT_CHARS: usize = 8;
/// Columns of a line beside the name and what is behind it.
const BESIDE_NAME: usize = 33;
/// At least so much is shown of an address.
const ROOM_MIN: usize = 16;
/// Longest reason that is shown; what is cut off here was never meant for people.
const REASON_CHARS: usize = 1_000;
/// Before the lines of a reason: under the format.
const REASON_INDENT: &str = "           ";

/// Shows records on standard output.
pub(super) struct Lines {
    /// Project id → alias.
    aliases: BTreeMap<String, String>,
    /// Briefs of several batches: the batch is part of the name.
    with_batch: bool,
    name_width: usize,
    /// Columns of the terminal.
    width: usize,
    screen: Screen,
}

/// What is shown of a record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    r#type: String,
    project_id: String,
    batch_id: Option<String>,
    brief_id: String,
    variant: Option<u8>,
    format: Option<String>,
    container: Option<Container>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    assets: Vec<Asset>,
}

#[derive(Deserialize)]
struct Asset {
    url: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    message: String,
}

impl Lines {
    pub(super) fn new(survey: &Survey, settings: &Settings, screen: Screen) -> Self {
        let aliases: BTreeMap<_, _> =
            settings.projects.iter().map(|(alias, id)| (id.clone(), alias.clone())).collect();
        let project =
            aliases.values().map(|alias| alias.chars().count()).max().unwrap_or(0).max(PROJECT_CHARS);
        let batch = survey.batches.iter().map(|batch| batch.chars().count() + 1).max().unwrap_or(0);
        let with_batch = survey.batches.len() > 1;
        let longest = project + 1 + survey.longest_id + if with_batch { batch } else { 0 };
        let width = columns().unwrap_or(WIDTH).max(WIDTH);
        let name_width = longest.min(NAME_WIDTH).min(width - BESIDE_NAME - ROOM_MIN);
        Self { aliases, with_batch, name_width, width, screen }
    }

    pub(super) fn into_writer(self) -> RecordWriter {
        Box::new(move |outgoing: &Outgoing| {
            let line = self.line(&outgoing.body).map_err(io::Error::other)?;
            self.screen.aside(|| writeln!(io::stdout(), "{line}"))
        })
    }

    fn line(&self, record: &[u8]) -> Result<String, serde_json::Error> {
        let told: Told = serde_json::from_slice(record)?;
        let word = told.r#type.rsplit('.').next().unwrap_or_default();
        let format = told.format.as_deref().unwrap_or("-");
        let variant = told.variant.map(|variant| format!("#{variant}")).unwrap_or_default();
        let name = cut(&self.name(&told), self.name_width);
        let start = plain(&format!(
            "{word:<9}  {format:<15}  {name:<width$} {variant:<2}  ",
            width = self.name_width
        ));
        let room = self.width.saturating_sub(start.chars().count()).max(ROOM_MIN);
        let url =
            told.container.and_then(|container| container.assets.into_iter().find_map(|asset| asset.url));
        let rest = match (told.error, url) {
            (Some(error), _) => {
                let why = plain(&format!("{}: {}", error.code, error.message));
                return Ok(self.with_reason(&start, &cut(&why, REASON_CHARS), room));
            }
            (None, Some(url)) => link(&plain(&url), room),
            (None, None) => String::new(),
        };
        Ok(format!("{start}{rest}").trim_end().to_owned())
    }

    /// What went wrong, behind the name if there is room, else in lines of its own: all of it matters.
    fn with_reason(&self, start: &str, why: &str, room: usize) -> String {
        if why.chars().count() <= room {
            return format!("{start}{why}").trim_end().to_owned();
        }
        let mut lines = vec![start.trim_end().to_owned()];
        lines.extend(wrap_to(self.width, REASON_INDENT, why));
        lines.join("\n")
    }

    fn name(&self, told: &Told) -> String {
        let project = match self.aliases.get(&told.project_id) {
            Some(alias) => alias.clone(),
            None => told.project_id.chars().take(PROJECT_CHARS).collect(),
        };
        let batch = told.batch_id.as_deref().filter(|_| self.with_batch);
        let parts: Vec<&str> =
            [Some(project.as_str()), batch, Some(&told.brief_id)].into_iter().flatten().collect();
        parts.join("/")
    }
}

/// What comes from outside must not move the cursor.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// An address as wide as there is room for; where something is cut off, terminals that know links still open all of it.
fn link(url: &str, room: usize) -> String {
    if url.chars().count() <= room {
        return url.to_owned();
    }
    format!("\x1b]8;;{url}\x1b\\{}\x1b]8;;\x1b\\", cut(url, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(with_batch: bool) -> Lines {
        let aliases = BTreeMap::from([("254a4ce1-f4ca".to_owned(), "acme-fit".to_owned())]);
        Lines { aliases, with_batch, name_width: 24, width: 80, screen: Screen::default() }
    }

    #[test]
    fn a_container_is_one_line_with_its_first_asset_or_with_what_went_wrong() {
        let completed = br#"{"type":"container.completed","projectId":"254a4ce1-f4ca","batchId":"spring","briefId":"run-001",
            "variant":1,"format":"video_remix","error":null,"container":{"assets":[{"kind":"video","url":"https://m.example/a.mp4"}]}}"#;
        let failed = br#"{"type":"brief.failed","projectId":"7d0f7a52-3a0c-4a55","batchId":"spring","briefId":"run-002",
            "variant":null,"format":null,"container":null,"error":{"code":"MODERATION_BLOCKED","message":"no"}}"#;
        assert_eq!(
            lines(false).line(completed).unwrap(),
            "completed  video_remix      acme-fit/run-001         #1  https://m.example/a.mp4"
        );
        assert_eq!(
            lines(true).line(failed).unwrap(),
            "failed     -                7d0f7a52/spring/run-002      MODERATION_BLOCKED: no"
        );
    }

    #[test]
    fn a_long_reason_is_wrapped_and_told_to_its_end() {
        let message =
            "the reference https://cdn.example/".to_owned() + &"a".repeat(90) + " is not a video of ours";
        let failed = serde_json::json!({
            "type": "brief.failed", "projectId": "254a4ce1-f4ca", "batchId": null, "briefId": "run-003",
            "error": { "code": "VALIDATION_FAILED", "message": message },
        });
        let text = lines(false).line(failed.to_string().as_bytes()).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text, @r"
        failed     -                acme-fit/run-003
                   VALIDATION_FAILED: the reference
                   https://cdn.example/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
                   aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa is not a video of ours
        ");
    }

    #[test]
    fn a_long_address_is_cut_to_the_terminal_and_stays_a_link() {
        assert_eq!(link("https://m.example/a.mp4", 30), "https://m.example/a.mp4");
        assert_eq!(
            link("https://m.example/a.mp4?signature=0123456789", 20),
            "\x1b]8;;https://m.example/a.mp4?signature=0123456789\x1b\\https://m.example/a…\x1b]8;;\x1b\\"
        );
        assert_eq!(plain("a\x1b[2Jb\n"), "a?[2Jb?");
    }
}
