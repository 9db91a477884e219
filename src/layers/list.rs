//! PURE. What to list, and the walk from page to page.
//!
//! A walk always ends: at the page without a next one, at the caller's bound, at a cursor that was there before (a
//! server that repeats itself would be asked for ever), or at the first page that cannot be had. Only the first of
//! these has seen everything, and [`Pages::is_whole`] says so: what is missing from less than the whole list may
//! still be there.
//!
//! It asks nobody. Each page is a request of its own with a rate permit of its own, and both are the caller's:
//!
//! ```text
//! let mut pages = Pages::new(query, MAX_PAGES);
//! while let Some(query) = pages.next_query() {
//!     let permit = limits.acquire_read(Priority::Sweep).await;
//!     let answer = client.list(project, query).await;
//!     permit.answered();
//!     for container in pages.turn(answer)? { … }
//! }
//! if pages.is_whole() { … }
//! ```

use std::collections::HashSet;

use jiff::Timestamp;

use super::wire::ListPage;
use crate::job::{ListedContainer, Trouble};

/// What to list; `Default` is the API's default. Filters of one kind widen, filters of different kinds narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only containers with one of these statuses; empty: all.
    pub statuses: Vec<String>,
    /// Only containers of one of these formats; empty: all.
    pub formats: Vec<String>,
    /// Created then or later.
    pub since: Option<Timestamp>,
    /// Created then or earlier.
    pub until: Option<Timestamp>,
    /// Containers a page, 1 to 200.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl ListQuery {
    /// Names and values of the URL's query, in the order of the reference.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let statuses = self.statuses.iter().map(|status| ("status", status.clone()));
        let formats = self.formats.iter().map(|format| ("format", format.clone()));
        let single = [
            ("since", self.since.map(|time| time.to_string())),
            ("until", self.until.map(|time| time.to_string())),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("cursor", self.cursor.clone()),
        ];
        let single = single.into_iter().filter_map(|(name, value)| Some((name, value?)));
        statuses.chain(formats).chain(single).collect()
    }
}

/// A walk through the pages of one list.
#[derive(Clone, Debug)]
pub struct Pages {
    query: ListQuery,
    /// Every cursor that led to a page of this walk.
    seen: HashSet<String>,
    /// Pages that may still be asked for.
    left: u32,
    end: Option<PagesEnd>,
}

/// Why a walk is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PagesEnd {
    /// The last page was read.
    Whole,
    /// The caller's bound was reached; there are more pages.
    PageLimit,
    /// The API named a page as the next one that was read before.
    CursorRepeated,
    /// A page could not be had.
    Failed,
}

impl Pages {
    /// A walk that starts with `query` and asks for at most `max_pages` pages.
    pub fn new(query: ListQuery, max_pages: u32) -> Self {
        let end = (max_pages == 0).then_some(PagesEnd::PageLimit);
        let seen = query.cursor.iter().cloned().collect();
        Self { query, seen, left: max_pages, end }
    }

    /// The page to ask for next; the same one until [`Pages::turn`] has taken its answer. `None`: the walk is over.
    pub fn next_query(&self) -> Option<&ListQuery> {
        self.end.is_none().then_some(&self.query)
    }

    /// Takes the answer to [`Pages::next_query`] and hands out its containers. After an error the walk is over.
    #[expect(
        clippy::result_large_err,
        reason = "the error of every call of the client; one HTTP request dwarfs its copy"
    )]
    pub fn turn(&mut self, answer: Result<ListPage, Trouble>) -> Result<Vec<ListedContainer>, Trouble> {
        let page = answer.inspect_err(|_| self.end = Some(PagesEnd::Failed))?;
        self.left = self.left.saturating_sub(1);
        self.end = match page.next_cursor {
            None => Some(PagesEnd::Whole),
            Some(cursor) if !self.seen.insert(cursor.clone()) => Some(PagesEnd::CursorRepeated),
            Some(_) if self.left == 0 => Some(PagesEnd::PageLimit),
            Some(cursor) => {
                self.query.cursor = Some(cursor);
                None
            }
        };
        Ok(page.items)
    }

    /// Why the walk is over; `None` while it is not.
    pub fn end(&self) -> Option<PagesEnd> {
        self.end
    }

    /// Whether the last page was read, so that what was not in any of them was not listed.
    pub fn is_whole(&self) -> bool {
        self.end == Some(PagesEnd::Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{NoAnswer, NoAnswerKind};

    fn page(next_cursor: Option<&str>) -> ListPage {
        ListPage { items: Vec::new(), next_cursor: next_cursor.map(str::to_owned) }
    }

    /// The cursors that a walk asked with, and how it ended.
    fn walked(answers: &[Option<&str>], max_pages: u32) -> (Vec<Option<String>>, Option<PagesEnd>) {
        let mut pages = Pages::new(ListQuery::default(), max_pages);
        let (mut asked, mut answers) = (Vec::new(), answers.iter());
        while let Some(query) = pages.next_query() {
            asked.push(query.cursor.clone());
            pages.turn(Ok(page(*answers.next().unwrap()))).unwrap();
        }
        assert_eq!(answers.next(), None, "no page was left out");
        (asked, pages.end())
    }

    #[test]
    fn a_walk_ends_at_the_page_without_a_next_one() {
        let (asked, end) = walked(&[Some("a"), Some("b"), None], 9);
        assert_eq!(asked, [None, Some("a".to_owned()), Some("b".to_owned())]);
        assert_eq!(end, Some(PagesEnd::Whole));
    }

    #[test]
    fn a_server_that_repeats_a_cursor_is_not_asked_for_ever() {
        assert_eq!(walked(&[Some("a"), Some("a")], 9).1, Some(PagesEnd::CursorRepeated));
        assert_eq!(walked(&[Some("a"), Some("b"), Some("a")], 9).1, Some(PagesEnd::CursorRepeated));
        let from_the_middle = ListQuery { cursor: Some("a".to_owned()), ..ListQuery::default() };
        let mut pages = Pages::new(from_the_middle, 9);
        pages.turn(Ok(page(Some("a")))).unwrap();
        assert_eq!((pages.next_query(), pages.end()), (None, Some(PagesEnd::CursorRepeated)));
    }

    #[test]
    fn a_walk_asks_for_no_more_pages_than_the_caller_allows() {
        let (asked, end) = walked(&[Some("a"), Some("b")], 2);
        assert_eq!((asked.len(), end), (2, Some(PagesEnd::PageLimit)));
        assert_eq!(walked(&[Some("a"), None], 2).1, Some(PagesEnd::Whole), "exactly as many as there are");
        assert_eq!(walked(&[], 0), (Vec::new(), Some(PagesEnd::PageLimit)));
    }

    #[test]
    fn a_page_that_cannot_be_had_ends_the_walk_with_its_trouble() {
        let no_answer = NoAnswer { kind: NoAnswerKind::Timeout, status: None, detail: String::new() };
        let trouble = Trouble::NoAnswer(no_answer);
        let mut pages = Pages::new(ListQuery::default(), 9);
        pages.turn(Ok(page(Some("a")))).unwrap();
        assert_eq!(pages.turn(Err(trouble.clone())).unwrap_err(), trouble);
        assert_eq!((pages.next_query(), pages.end()), (None, Some(PagesEnd::Failed)));
        assert!(!pages.is_whole(), "what was not seen may still be there");
    }

    #[test]
    fn a_page_is_asked_for_again_until_its_answer_was_taken() {
        let pages = Pages::new(ListQuery { limit: Some(7), ..ListQuery::default() }, 9);
        assert_eq!(pages.next_query(), pages.next_query());
        assert_eq!(pages.next_query().unwrap().pairs(), [("limit", "7".to_owned())]);
    }
}
