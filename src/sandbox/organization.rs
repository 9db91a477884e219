//! An organization: its credits, and everything that others must not see.

use std::collections::HashMap;
use std::sync::Arc;

use super::idempotency::IdRecord;

/// The credits of a sandbox that was given none: more than any test can use up.
const PLENTY: u64 = 1_000_000_000_000;

/// Who pays, and for what.
#[derive(Debug)]
pub(super) struct Organization {
    pub(super) id: String,
    /// The organization whose keys made it, by naming it in `X-Layers-Organization`; by its place.
    pub(super) parent: Option<usize>,
    pub(super) kill_switch: bool,
    pub(super) credits: Wallet,
    /// Jobs that have not ended.
    pub(super) running: u64,
    pub(super) jobs_made: u64,
    pub(super) projects: HashMap<Arc<str>, Project>,
    /// Containers by id and alias.
    pub(super) container_ids: HashMap<String, usize>,
    /// What starts were answered that brought an id for their first container.
    pub(super) starts_by_id: HashMap<String, IdRecord>,
}

impl Organization {
    pub(super) fn new(id: &str, parent: Option<usize>, credits: Option<u64>) -> Self {
        Self {
            id: id.to_owned(),
            parent,
            kill_switch: false,
            credits: Wallet { balance: Some(credits.unwrap_or(PLENTY)), ..Wallet::default() },
            running: 0,
            jobs_made: 0,
            projects: HashMap::new(),
            container_ids: HashMap::new(),
            starts_by_id: HashMap::new(),
        }
    }

    /// A project, as new if nothing is known of it.
    pub(super) fn project(&mut self, id: &Arc<str>) -> &mut Project {
        self.projects.entry(Arc::clone(id)).or_default()
    }

    /// What a start in a project can spend.
    pub(super) fn available(&self, project: &str) -> u64 {
        let own = self.projects.get(project).map_or(u64::MAX, |project| project.credits.available());
        self.credits.available().min(own)
    }

    /// Gives a project a budget of its own, or takes it away.
    pub(super) fn budget(&mut self, project: &str, balance: Option<u64>) {
        self.projects.entry(project.into()).or_default().credits.balance = balance;
    }
}

/// A project: its containers, and what it spends.
#[derive(Debug, Default)]
pub(super) struct Project {
    /// Oldest first.
    pub(super) containers: Vec<usize>,
    pub(super) credits: Wallet,
}

/// Credits. They are reserved at the start of a job; at its end, what completed is charged, the rest is released.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wallet {
    /// What is left, reservations included; `None`: no limit.
    pub(super) balance: Option<u64>,
    pub(super) reserved: u64,
    pub(super) charged: u64,
}

impl Wallet {
    pub(super) fn balance(self) -> u64 {
        self.balance.unwrap_or(u64::MAX)
    }

    pub(super) fn available(self) -> u64 {
        self.balance().saturating_sub(self.reserved)
    }

    pub(super) fn reserve(&mut self, credits: u64) {
        self.reserved += credits;
    }

    pub(super) fn settle(&mut self, reserved: u64, charged: u64) {
        self.reserved -= reserved;
        self.balance = self.balance.map(|balance| balance.saturating_sub(charged));
        self.charged += charged;
    }
}
