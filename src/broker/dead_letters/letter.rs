//! PURE. One dead letter: why it was set aside, by whom, and how it looked before.

use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::FieldTable;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::wire;
use crate::flow::{COUNTED_BY_BROKER, Properties};

/// Headers that tell of a message's death: ours, and the broker's.
const OF_DEATH: [&str; 4] = ["x-briefd-", "x-death", "x-first-death-", "x-last-death-"];
/// Hex digits of an id: enough to tell a million apart, and short enough to be typed.
const ID_DIGITS: usize = 10;
/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// One message of the dead-letter queue.
#[derive(Debug)]
pub struct DeadLetter {
    pub(super) tag: u64,
    raw: BasicProperties,
    properties: Properties,
    body: Vec<u8>,
}

impl DeadLetter {
    pub(super) fn of(delivery: Delivery) -> Self {
        let properties = wire::incoming_properties(&delivery.properties);
        Self { tag: delivery.delivery_tag, properties, raw: delivery.properties, body: delivery.data }
    }

    /// The bytes as they came in.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// What travels beside them, the headers of its death among it.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// What it goes by in commands: the same at each look, made of what it says and of its death.
    pub fn id(&self) -> String {
        let mut hasher = Sha256::new();
        for part in
            [self.text("x-briefd-id"), self.properties.message_id.as_deref(), self.text("x-briefd-at")]
        {
            hasher.update(part.unwrap_or_default());
            hasher.update([0]);
        }
        hasher.update(self.death("time").map(Value::to_string).unwrap_or_default());
        hasher.update([0]);
        hasher.update(&self.body);
        let digest = hasher.finalize();
        let mut id: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        id.truncate(ID_DIGITS);
        id
    }

    /// Whether `given` names it: its id, its AMQP `message_id`, or the one that the worker gave it.
    pub fn goes_by(&self, given: &str) -> bool {
        self.properties.message_id.as_deref() == Some(given)
            || self.text("x-briefd-id") == Some(given)
            || self.id() == given
    }

    /// Why: our reason, or the broker's (`delivery_limit`, `expired`, …).
    pub fn reason(&self) -> &str {
        self.text("x-briefd-reason").or_else(|| self.death("reason")?.as_str()).unwrap_or("unknown")
    }

    /// Why, in a sentence.
    pub fn detail(&self) -> String {
        if let Some(detail) = self.text("x-briefd-detail") {
            return detail.to_owned();
        }
        let queue = self.death("queue").and_then(Value::as_str).unwrap_or("its queue");
        match self.reason() {
            "delivery_limit" => {
                let count = self.properties.headers.get("x-delivery-count").and_then(Value::as_i64);
                let times = count.map_or_else(|| "too often".to_owned(), |count| format!("{count} times"));
                format!("the broker set it aside: {queue} delivered it {times} without an answer")
            }
            "unknown" => "nothing says why".to_owned(),
            reason => format!("the broker set it aside from {queue}: {reason}"),
        }
    }

    /// When it was set aside.
    pub fn at(&self) -> Option<Timestamp> {
        let ours = self.text("x-briefd-at").and_then(|text| text.parse().ok());
        ours.or_else(|| Timestamp::from_second(self.death("time")?.as_i64()?).ok())
    }

    /// What travels beside it when it comes again: as it was before its death, and kept on disk. Without its sender, who
    /// may not be the one who sends it now, and without its time to live, which is over.
    pub(super) fn properties_again(&self) -> BasicProperties {
        let mut again = BasicProperties::default().with_delivery_mode(PERSISTENT);
        macro_rules! keep {
            ($($get:ident $with:ident),*) => {
                $(if let Some(value) = self.raw.$get().clone() { again = again.$with(value); })*
            };
        }
        keep!(
            content_type with_content_type,
            content_encoding with_content_encoding,
            priority with_priority,
            correlation_id with_correlation_id,
            reply_to with_reply_to,
            message_id with_message_id,
            timestamp with_timestamp,
            kind with_type,
            app_id with_app_id
        );
        let mut headers = FieldTable::default();
        for (name, value) in self.raw.headers().iter().flat_map(FieldTable::inner) {
            if !is_of_death(name.as_str()) {
                headers.insert(name.clone(), value.clone());
            }
        }
        if headers.inner().is_empty() { again } else { again.with_headers(headers) }
    }

    fn text(&self, header: &str) -> Option<&str> {
        self.properties.headers.get(header)?.as_str()
    }

    /// A field of its latest death, as the broker tells it.
    fn death(&self, field: &str) -> Option<&Value> {
        self.properties.headers.get("x-death")?.get(0)?.get(field)
    }
}

fn is_of_death(header: &str) -> bool {
    COUNTED_BY_BROKER.contains(&header) || OF_DEATH.iter().any(|prefix| header.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use lapin::types::{AMQPValue, FieldArray, ShortString};

    use super::*;

    fn text(value: &str) -> AMQPValue {
        AMQPValue::LongString(value.into())
    }

    fn table(fields: Vec<(&'static str, AMQPValue)>) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in fields {
            table.insert(name.into(), value);
        }
        table
    }

    fn letter(headers: Vec<(&'static str, AMQPValue)>, body: &str) -> DeadLetter {
        let raw = BasicProperties::default()
            .with_message_id("m1".into())
            .with_user_id("somebody".into())
            .with_expiration("60000".into())
            .with_headers(table(headers));
        let properties = wire::incoming_properties(&raw);
        DeadLetter { tag: 1, raw, properties, body: body.as_bytes().to_vec() }
    }

    fn by_the_broker() -> DeadLetter {
        let death = table(vec![
            ("reason", text("delivery_limit")),
            ("queue", text("briefs")),
            ("time", AMQPValue::Timestamp(1_777_683_600)),
        ]);
        let deaths = FieldArray::from(vec![AMQPValue::FieldTable(death)]);
        letter(
            vec![
                ("x-death", AMQPValue::FieldArray(deaths)),
                ("x-delivery-count", AMQPValue::LongLongInt(101)),
                ("x-first-death-reason", text("delivery_limit")),
                ("traceparent", text("00-a-b-01")),
            ],
            "{}",
        )
    }

    #[test]
    fn what_the_broker_set_aside_tells_why_and_when_too() {
        let letter = by_the_broker();
        assert_eq!(letter.reason(), "delivery_limit");
        assert_eq!(
            letter.detail(),
            "the broker set it aside: briefs delivered it 101 times without an answer"
        );
        assert_eq!(letter.at().unwrap().to_string(), "2026-05-02T01:00:00Z");
    }

    #[test]
    fn what_comes_again_is_as_it_was_before_its_death() {
        let again = by_the_broker().properties_again();
        let headers: Vec<String> =
            again.headers().iter().flat_map(FieldTable::inner).map(|(name, _)| name.to_string()).collect();
        assert_eq!(headers, ["traceparent"]);
        assert_eq!(again.message_id().as_ref().map(ShortString::as_str), Some("m1"));
        assert_eq!((again.user_id(), again.expiration(), again.delivery_mode()), (&None, &None, &Some(2)));
        let ours =
            letter(vec![("x-briefd-reason", text("UNREADABLE")), ("x-briefd-id", text("dead-1"))], "x");
        assert_eq!(ours.properties_again().headers(), &None);
    }

    #[test]
    fn it_goes_by_its_id_which_stays_and_by_those_it_was_given() {
        let ours =
            || letter(vec![("x-briefd-id", text("dead-1")), ("x-briefd-reason", text("UNREADABLE"))], "x");
        assert_eq!(ours().id(), ours().id());
        assert_eq!(ours().id().len(), ID_DIGITS);
        assert_ne!(ours().id(), letter(vec![("x-briefd-id", text("dead-1"))], "y").id());
        for name in ["dead-1", "m1", &ours().id()] {
            assert!(ours().goes_by(name), "{name}");
        }
        assert!(!ours().goes_by("dead-2"));
    }
}
