//! Names as people give and read them: project aliases, batches, arguments for the shell.

use std::collections::BTreeMap;

use crate::wording::NO_BATCH;
pub(super) use crate::wording::{batch_name, quoted};

/// The aliases of `[projects]`, in both directions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Projects<'a>(pub(super) &'a BTreeMap<String, String>);

impl<'a> Projects<'a> {
    /// The id of what was given: an alias, or an id already.
    pub(super) fn id<'b>(self, given: &'b str) -> &'b str
    where
        'a: 'b,
    {
        self.0.get(given).map_or(given, String::as_str)
    }

    /// The alias of an id, or the id.
    pub(super) fn name<'b>(self, id: &'b str) -> &'b str
    where
        'a: 'b,
    {
        self.alias(id).unwrap_or(id)
    }

    /// The alias of an id.
    pub(super) fn alias(self, id: &str) -> Option<&'a str> {
        self.0.iter().find(|(_, known)| *known == id).map(|(alias, _)| alias.as_str())
    }
}

/// A batch as it was given: what it is listed under works too.
pub(super) fn batch_id(given: &str) -> &str {
    if given == NO_BATCH { "" } else { given }
}
