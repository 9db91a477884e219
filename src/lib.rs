//! **briefd** — a queue-driven batch generation worker for the Layers content API.

pub mod app;
pub mod brief;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod files;
pub mod flow;
pub mod job;
pub mod layers;
pub mod ledger;
pub mod record;
pub mod sandbox;
pub mod stages;
pub mod telemetry;
