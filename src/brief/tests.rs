//! What a message is, told by examples and by hostile input.

mod hostile;
mod identity;
mod reading;
mod violations;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use super::*;
use crate::config::work::{MissingBriefId, Validation};
use crate::flow::{Delivery, Properties};

fn rules() -> Rules<'static> {
    Rules::strict(256 * 1024)
}

fn delivery(body: impl Into<Vec<u8>>) -> Delivery {
    Delivery { body: body.into(), ..Delivery::default() }
}

fn read(body: &str) -> Brief {
    parse(&delivery(body), &rules()).unwrap()
}

fn refused(body: impl Into<Vec<u8>>) -> Unreadable {
    parse(&delivery(body), &rules()).unwrap_err()
}

fn shown(brief: &Brief) -> Vec<String> {
    brief.violations.iter().map(|violation| format!("{}: {}", violation.path, violation.problem)).collect()
}

#[test]
fn the_published_schema_does_not_drift() {
    insta::assert_json_snapshot!("brief_schema", schema());
}
