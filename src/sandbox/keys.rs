//! The keys that are let in, each with its organization, its buckets and its counts.

use std::sync::Arc;

use super::auth::key_id;
use super::errors::Refusal;
use super::limits::Buckets;
use super::organization::Organization;
use super::state::World;

/// How many organizations there may be; requests can name new ones.
const ORGANIZATIONS_MAX: usize = 1_000;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) text: Arc<str>,
    /// What it is called where its secret part must not be shown.
    pub(super) label: String,
    /// By its place.
    pub(super) organization: usize,
    pub(super) revoked: bool,
    pub(super) buckets: Buckets,
    pub(super) counts: KeyCounts,
}

/// What came with one key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyCounts {
    pub(super) requests: u64,
    pub(super) jobs: u64,
    pub(super) rate_limited: u64,
    pub(super) while_revoked: u64,
    pub(super) while_killed: u64,
}

/// `KEY[=ORGANIZATION]`, as in options and in `addKey`.
pub(super) fn split_key(text: &str) -> (&str, Option<&str>) {
    text.split_once('=').map_or((text, None), |(key, organization)| (key, Some(organization)))
}

impl World {
    /// Lets a key in, for the default organization if none is named. A key that is there already changes its owner.
    pub(super) fn add_key(&mut self, text: &str, organization: Option<&str>) {
        let organization = organization.map_or(0, |id| self.organization_named(id, None));
        if let Some(known) = self.keys.iter_mut().find(|key| *key.text == *text) {
            known.organization = organization;
            known.revoked = false;
            return;
        }
        let id = key_id(text);
        let number = self.keys.len() + 1;
        let is_new = !id.is_empty() && self.keys.iter().all(|key| key.label != id);
        self.keys.push(Key {
            text: text.into(),
            label: if is_new { id } else { format!("key_{number}") },
            organization,
            revoked: false,
            buckets: Buckets::default(),
            counts: KeyCounts::default(),
        });
    }

    /// The organization with this id, made if there is none.
    pub(super) fn organization_named(&mut self, id: &str, parent: Option<usize>) -> usize {
        if let Some(known) = self.organizations.iter().position(|known| known.id == id) {
            return known;
        }
        let mut organization = Organization::new(id, parent, self.first_credits);
        for (project, credits) in &self.first_project_credits {
            organization.budget(project, Some(*credits));
        }
        self.organizations.push(organization);
        self.organizations.len() - 1
    }

    /// Whose data a request is about: the key's own organization, or the child that `X-Layers-Organization` names.
    /// Every id is taken as that of a child, but those of others.
    pub(super) fn select_organization(
        &mut self,
        own: usize,
        selected: Option<&str>,
    ) -> Result<usize, Refusal> {
        let Some(selected) = selected.filter(|id| !id.is_empty() && self.organizations[own].id != *id) else {
            return Ok(own);
        };
        let known = self.organizations.iter().position(|known| known.id == selected);
        let is_child = known.is_some_and(|known| self.organizations[known].parent == Some(own));
        let has_room = known.is_none() && self.organizations.len() < ORGANIZATIONS_MAX;
        if is_child || has_room {
            Ok(self.organization_named(selected, Some(own)))
        } else {
            Err(Refusal::not_found("organization", selected))
        }
    }
}
