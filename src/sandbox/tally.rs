//! The counters: what arrived, and what was sent.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use axum::http::HeaderMap;
use serde_json::Value;

use super::account::{KeyAccount, Posts, Reads, RefusedPost};
use super::call::{Call, Class};
use super::draw::hex;
use super::faults::Fault;
use super::reply::Reply;
use super::state::World;
use super::time::iso;

/// How many refused POSTs are told one by one.
const REFUSED_POSTS_MAX: usize = 10_000;

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Everything that arrived; also numbers the requests.
    pub(super) requests: u64,
    pub(super) reads: Reads,
    pub(super) posts: Posts,
    pub(super) endpoints: BTreeMap<&'static str, u64>,
    pub(super) answers: BTreeMap<u16, u64>,
    pub(super) rate_limited: BTreeMap<&'static str, u64>,
    pub(super) refusals: BTreeMap<String, u64>,
    pub(super) refused_posts: VecDeque<RefusedPost>,
    pub(super) faults: BTreeMap<Fault, u64>,
    /// By key; starts without one are told apart by their body.
    keys: HashMap<String, KeyUse>,
    keyless: HashMap<[u8; 32], u64>,
}

#[derive(Debug, Default)]
struct KeyUse {
    posts: u64,
    bodies: Vec<[u8; 32]>,
}

/// Which request an answer belongs to.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    pub(super) endpoint: &'static str,
    pub(super) class: Class,
    /// Its API key by its place, if it is known.
    pub(super) caller: Option<usize>,
    pub(super) now_ms: i64,
    pub(super) headers: &'a HeaderMap,
}

impl Tally {
    /// Counts a request that arrived.
    pub(super) fn arrived(&mut self, endpoint: &'static str, call: &Call) {
        self.requests += 1;
        *self.endpoints.entry(endpoint).or_default() += 1;
        let counter = match call {
            Call::Start { .. } => &mut self.posts.generate,
            Call::Regenerate { .. } => &mut self.posts.regenerate,
            Call::Clone { .. } => &mut self.posts.clone,
            Call::Cancel { .. } => &mut self.posts.cancel,
            Call::Approve { .. } => &mut self.posts.approve,
            Call::Reject { .. } => &mut self.posts.reject,
            Call::List { .. } => &mut self.reads.list,
            Call::Container { .. } => &mut self.reads.container,
            Call::Progress { .. } => &mut self.reads.progress,
            Call::Asset { .. } => &mut self.reads.asset,
            Call::Job { .. } => &mut self.reads.job,
            Call::Whoami => &mut self.reads.whoami,
            Call::Credits => &mut self.reads.credits,
            Call::Unknown | Call::OtherMethod => return,
        };
        *counter += 1;
    }

    /// Counts a start, and tells the how-manieth of its key (or body) it is, from 1.
    pub(super) fn posted(&mut self, key: Option<&str>, body_sha: [u8; 32]) -> u64 {
        let Some(key) = key else {
            let posts = self.keyless.entry(body_sha).or_default();
            *posts += 1;
            return *posts;
        };
        if !self.keys.contains_key(key) {
            self.keys.insert(key.to_owned(), KeyUse::default());
        }
        let Some(record) = self.keys.get_mut(key) else { return 1 };
        record.posts += 1;
        if !record.bodies.contains(&body_sha) {
            record.bodies.push(body_sha);
        }
        record.posts
    }

    /// Counts a fault that struck.
    pub(super) fn struck(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Each `Idempotency-Key` that came.
    pub(super) fn keys(&self) -> BTreeMap<String, KeyAccount> {
        let account = |seen: &KeyUse| {
            let bodies: BTreeSet<_> = seen.bodies.iter().map(|sha| hex(sha)).collect();
            KeyAccount { posts: seen.posts, bodies }
        };
        self.keys.iter().map(|(key, seen)| (key.clone(), account(seen))).collect()
    }
}

impl World {
    /// Counts an answer that is sent.
    pub(super) fn answered(&mut self, sent: &Sent<'_>, reply: &Reply) {
        *self.tally.answers.entry(reply.status).or_default() += 1;
        let key = sent.caller.and_then(|caller| self.keys.get_mut(caller));
        let label = key.as_ref().map(|key| key.label.clone());
        if reply.status == 429 {
            *self.tally.rate_limited.entry(sent.class.name()).or_default() += 1;
            if let Some(key) = key {
                key.counts.rate_limited += 1;
            }
        }
        if reply.status < 400 || sent.class == Class::Read {
            return;
        }
        let envelope = serde_json::from_str::<Value>(&reply.body).unwrap_or_default();
        let code = envelope["error"]["code"].as_str().map(str::to_owned);
        let name = code.clone().unwrap_or_else(|| reply.status.to_string());
        *self.tally.refusals.entry(name).or_default() += 1;
        if self.tally.refused_posts.len() == REFUSED_POSTS_MAX {
            self.tally.refused_posts.pop_front();
        }
        let idempotency_key = sent.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        self.tally.refused_posts.push_back(RefusedPost {
            at: iso(sent.now_ms),
            status: reply.status,
            code,
            endpoint: sent.endpoint.to_owned(),
            idempotency_key: idempotency_key.map(str::to_owned),
            api_key: label,
        });
    }
}
