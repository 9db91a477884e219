//! One integration binary, a file per behaviour.

#![expect(
    unreachable_pub,
    reason = "a test binary has no outside; `pub` is what a module shows to the others"
)]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic")]

mod account_trouble;
mod alerting;
mod api_contract;
mod batch_finished;
mod broker;
mod broker_faults;
mod broker_loss;
mod cancel;
mod dashboards;
mod dead_letters;
mod deployment;
mod disk;
mod documents;
mod end_to_end;
mod examples;
mod figures;
mod five_hundred;
mod generate;
mod holds;
mod hostile;
mod intake_table;
mod layering;
mod ledger_file;
mod moods;
mod patience;
mod races;
mod rate_limits;
mod reconcile;
mod rerun;
mod resolve;
mod secrets;
mod start_errors;
mod support;
mod terminal;
mod tls;
mod trace;
mod unknown;
