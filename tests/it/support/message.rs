//! One message that was received: a record, or a dead letter.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::types::AMQPValue;
use serde_json::Value;

/// One message that was received.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The exact bytes.
    pub body: Vec<u8>,
    /// What travelled beside them; `None` for a line of a file.
    pub envelope: Option<Envelope>,
}

/// What travels beside a body in AMQP.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Envelope {
    pub routing_key: String,
    pub message_id: Option<String>,
    pub correlation_id: Option<String>,
    pub kind: Option<String>,
    pub content_type: Option<String>,
    pub delivery_mode: Option<u8>,
    pub content_encoding: Option<String>,
    pub app_id: Option<String>,
    pub reply_to: Option<String>,
    pub user_id: Option<String>,
    /// Seconds since 1970.
    pub timestamp: Option<u64>,
    /// Headers that are texts.
    pub headers: BTreeMap<String, String>,
}

impl Message {
    /// A line of a record file.
    pub fn of_line(line: &str) -> Self {
        Self { body: line.as_bytes().to_vec(), envelope: None }
    }

    /// A message as the broker delivered it.
    pub fn of_delivery(routing_key: &str, properties: &BasicProperties, body: Vec<u8>) -> Self {
        let text = |value: &AMQPValue| {
            if let AMQPValue::LongString(text) = value { Some(text.to_string()) } else { None }
        };
        let headers = properties.headers().as_ref().map(|table| table.inner().iter()).into_iter().flatten();
        let envelope = Envelope {
            routing_key: routing_key.to_owned(),
            message_id: properties.message_id().as_ref().map(ToString::to_string),
            correlation_id: properties.correlation_id().as_ref().map(ToString::to_string),
            kind: properties.kind().as_ref().map(ToString::to_string),
            content_type: properties.content_type().as_ref().map(ToString::to_string),
            delivery_mode: *properties.delivery_mode(),
            content_encoding: properties.content_encoding().as_ref().map(ToString::to_string),
            app_id: properties.app_id().as_ref().map(ToString::to_string),
            reply_to: properties.reply_to().as_ref().map(ToString::to_string),
            user_id: properties.user_id().as_ref().map(ToString::to_string),
            timestamp: *properties.timestamp(),
            headers: headers.filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect(),
        };
        Self { body, envelope: Some(envelope) }
    }

    /// The body as JSON, `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A header that is a text; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.envelope.as_ref().and_then(|envelope| envelope.headers.get(name)).map_or("", String::as_str)
    }
}
