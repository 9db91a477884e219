//! What a file of briefs asks for: read once from end to end before anything is recorded, sent or bought.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::brief::{Brief, Identity, Rules, parse};
use crate::config::Settings;
use crate::files::{BriefFile, FileError};
use crate::flow::Delivery;

/// Formats, and batches, that are told apart; what a lenient validation lets through beyond that is `other`.
const DISTINCT_MAX: usize = 20;

/// The rules for the lines of one file.
#[derive(Clone, Copy, Debug)]
pub struct Batching<'a> {
    /// `--batch`: the batch of every line.
    pub batch: Option<&'a str>,
    /// The file's stem: the batch of lines that name none.
    pub default_batch: Option<&'a str>,
    /// The size of the batch that one of these makes.
    pub batch_size: Option<u64>,
}

impl<'a> Batching<'a> {
    /// How lines of this file are read under `settings`.
    pub fn rules(self, settings: &'a Settings) -> Rules<'a> {
        Rules {
            max_message_bytes: settings.intake.max_message_bytes,
            validation: settings.intake.validation,
            missing_brief_id: settings.intake.identity,
            projects: &settings.projects,
            batch: self.batch,
            default_batch: self.default_batch,
            batch_size: self.batch_size,
        }
    }
}

/// What a file asks for. A line that repeats another one counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Briefs that are named, valid or not.
    pub named: u64,
    /// Briefs that may be submitted.
    pub briefs: u64,
    /// Their containers, by format.
    pub containers: BTreeMap<String, u64>,
    /// Readable briefs in the batch that `--batch` or the file's stem makes.
    pub batch_size: u64,
    /// Batches that the lines belong to, some of them if there are many.
    pub batches: BTreeSet<String>,
    /// Characters of the longest `briefId`.
    pub longest_id: usize,
}

impl Survey {
    /// Reads the whole file, which starts again at its beginning afterwards.
    pub fn of(file: &mut BriefFile, settings: &Settings, batch: Option<&str>) -> Result<Self, FileError> {
        let stem = file.stem().map(str::to_owned);
        // Without the stem, so that it shows which lines name no batch of their own.
        let own = Batching { batch, default_batch: None, batch_size: None };
        let rules = own.rules(settings);
        let mut survey = Self::default();
        let mut seen: HashSet<Identity> = HashSet::new();
        file.count_readable(|delivery: &Delivery| {
            let Ok(mut brief) = parse(delivery, &rules) else { return false };
            let makes_batch = batch.is_some() || brief.identity.batch_id.is_empty();
            if brief.identity.batch_id.is_empty() {
                brief.identity.batch_id = stem.clone().unwrap_or_default();
            }
            if seen.insert(brief.identity.clone()) {
                survey.count(brief, makes_batch);
            }
            true
        })?;
        Ok(survey)
    }

    /// All containers.
    pub fn container_count(&self) -> u64 {
        self.containers.values().sum()
    }

    /// What all containers cost; `None` when the price of a format is not known.
    pub fn credits(&self, price: impl Fn(&str) -> Option<u64>) -> Option<u64> {
        self.containers
            .iter()
            .map(|(format, containers)| Some(price(format)?.saturating_mul(*containers)))
            .try_fold(0_u64, |sum, credits| Some(sum.saturating_add(credits?)))
    }

    fn count(&mut self, brief: Brief, makes_batch: bool) {
        self.named += 1;
        self.batch_size += u64::from(makes_batch);
        self.longest_id = self.longest_id.max(brief.identity.brief_id.chars().count());
        if self.batches.len() < DISTINCT_MAX {
            self.batches.insert(brief.identity.batch_id.clone());
        }
        if !brief.is_valid() {
            return;
        }
        self.briefs += 1;
        let format = brief.format.unwrap_or_else(|| "auto".to_owned());
        let known = self.containers.len() < DISTINCT_MAX || self.containers.contains_key(&format);
        let format = if known { format } else { "other".to_owned() };
        *self.containers.entry(format).or_default() += u64::from(brief.variant_count);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn surveyed(text: &str, batch: Option<&str>) -> Survey {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spring.jsonl");
        fs::write(&path, text).unwrap();
        Survey::of(&mut BriefFile::open(&path).unwrap(), &Settings::builtin(), batch).unwrap()
    }

    const LINES: &str = r#"{"projectId":"p","briefId":"a","format":"video_remix","variantCount":3,"brief":{}}
{"projectId":"p","briefId":"a","format":"video_remix","variantCount":3,"brief":{}}
{"projectId":"p","briefId":"b","brief":{}}
{"projectId":"p","briefId":"c","batchId":"own","variantCount":9,"brief":{}}
nonsense
"#;

    #[test]
    fn a_survey_counts_what_may_be_submitted_and_a_repeated_line_once() {
        let survey = surveyed(LINES, None);
        assert_eq!((survey.named, survey.briefs, survey.container_count()), (3, 2, 4));
        let prices = BTreeMap::from([("auto", 120), ("video_remix", 100)]);
        assert_eq!(survey.credits(|format| prices.get(format).copied()), Some(420));
        assert_eq!(survey.credits(|_| None), None);
    }

    #[test]
    fn only_lines_without_a_batch_of_their_own_are_in_the_batch_that_the_stem_makes() {
        let survey = surveyed(LINES, None);
        assert_eq!(survey.batch_size, 2);
        assert_eq!(survey.batches, BTreeSet::from(["own".to_owned(), "spring".to_owned()]));
        let all = surveyed(LINES, Some("b-1"));
        assert_eq!((all.batch_size, all.batches), (3, BTreeSet::from(["b-1".to_owned()])));
    }
}
