//! The Layers content API: the only place that knows reqwest.
//!
//! [`Client`] speaks the API's endpoints, one HTTP request a call. [`Limits`] says when a request may leave.
//! They know nothing of each other: who calls takes a permit first and gives it back when the answer is there.
//!
//! Invariants:
//! - One call is at most one request. Nothing here retries, follows a redirect, or follows a `locationUrl`.
//! - [`Trouble::NotConnected`](crate::job::Trouble) means that the request provably never left; whatever is not
//!   sure is [`Trouble::NoAnswer`](crate::job::Trouble).
//! - The API key leaves only in its header. In what comes back it is blanked before anybody else sees it.
//! - Every wait has an end and every answer a longest length.
//!
//! What an answer means for a job is [`crate::job::answer`]'s part, what follows from it the stages'.

mod client;
mod endpoint;
mod fields;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod http;
mod key;
pub mod limits;
mod list;
mod retry_after;
mod transport;
mod wire;

#[cfg(test)]
mod tests;

pub use client::{Client, TraceContext};
pub use http::BuildError;
pub use key::KeyError;
pub use limits::{Bound, Class, Limits, Numbers, Permit, Priority, Slice, StartAnswer};
pub use list::{ListQuery, Pages, PagesEnd};
pub use wire::{CancelAnswer, Credits, ListPage, Progress, Whoami};
