//! Translates between AMQP's properties and the flow's, and measures what must fit into one frame. No I/O.

use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};
use serde_json::{Map, Value};

use crate::config::Amqp;
use crate::flow::{Channel, Outgoing, Properties};

/// The header by which we know a dead letter, whose `message_id` is the original's, while it is under way. (In
/// `x-briefd-id` it has an id for its readers, which two of the same kind share.)
pub(super) const ROW_HEADER: &str = "x-briefd-row";

/// The header that says in a sentence why a message was set aside.
const DETAIL_HEADER: &str = "x-briefd-detail";

/// Prefix of our own headers.
const OWN_PREFIX: &str = "x-briefd-";

/// Longest detail.
const DETAIL_BYTES_MAX: usize = 1_000;

/// All headers together. Headers and properties must fit into one frame of 128 KiB: a larger one makes the broker
/// close the whole connection, again with every repeat.
const HEADER_BYTES_MAX: usize = 100 * 1024;

/// Stored on disk, confirmed after that.
const PERSISTENT: u8 = 2;

/// Sets one property.
type Set = fn(BasicProperties, ShortString) -> BasicProperties;

/// A message as lapin wants it.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
}

impl Packet {
    /// `None`: AMQP cannot express it (a name over 255 bytes, headers over a frame).
    pub(super) fn of(outgoing: &Outgoing, amqp: &Amqp) -> Option<Self> {
        let exchange = match outgoing.channel {
            Channel::Record => &amqp.output.exchange,
            Channel::DeadLetter => &amqp.dead_letter.exchange,
            Channel::Brief => &amqp.input.exchange,
        };
        Some(Self {
            exchange: ShortString::try_new(exchange.as_str()).ok()?,
            routing_key: ShortString::try_new(outgoing.routing_key.as_str()).ok()?,
            properties: outgoing_properties(outgoing)?,
        })
    }
}

/// The id by which we know a message that the broker returned.
pub(super) fn returned_id(properties: &BasicProperties) -> Option<String> {
    let own = properties.headers().as_ref().and_then(|headers| headers.inner().get(ROW_HEADER));
    match own {
        Some(id) => json(id).as_str().map(ToOwned::to_owned),
        None => properties.message_id().as_ref().map(ToString::to_string),
    }
}

fn outgoing_properties(outgoing: &Outgoing) -> Option<BasicProperties> {
    let given = &outgoing.properties;
    let message_id = match outgoing.channel {
        Channel::Record | Channel::Brief => Some(&outgoing.message_id),
        Channel::DeadLetter => given.message_id.as_ref(),
    };
    let mut properties = BasicProperties::default()
        // Survives a restart of the broker; a confirm then means "on disk".
        .with_delivery_mode(PERSISTENT);
    // `user_id` is never set: one that is not the connection's own user closes the channel.
    let texts: [(Option<&String>, Set); 7] = [
        (message_id, BasicProperties::with_message_id),
        (given.correlation_id.as_ref(), BasicProperties::with_correlation_id),
        (given.kind.as_ref(), BasicProperties::with_type),
        (given.content_type.as_ref(), BasicProperties::with_content_type),
        (given.content_encoding.as_ref(), BasicProperties::with_content_encoding),
        (given.app_id.as_ref(), BasicProperties::with_app_id),
        (given.reply_to.as_ref(), BasicProperties::with_reply_to),
    ];
    for (text, set) in texts {
        if let Some(text) = text {
            properties = set(properties, ShortString::try_new(text.as_str()).ok()?);
        }
    }
    if let Some(seconds) = given.timestamp.and_then(|at| u64::try_from(at.as_second()).ok()) {
        properties = properties.with_timestamp(seconds);
    }
    let headers = outgoing_headers(outgoing)?;
    if !headers.inner().is_empty() {
        properties = properties.with_headers(headers);
    }
    Some(properties)
}

/// Headers that fit. Of a dead letter the largest original ones are left out if they must be: body and reason
/// are worth more. Anything else that does not fit is not sent at all.
fn outgoing_headers(outgoing: &Outgoing) -> Option<FieldTable> {
    let mut headers: Vec<(String, Value)> = outgoing
        .properties
        .headers
        .iter()
        // A requeued dead letter brings an id of ours that would be taken for this message's.
        .filter(|(name, _)| *name != ROW_HEADER)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if outgoing.channel == Channel::DeadLetter {
        for (name, value) in &mut headers {
            if let (DETAIL_HEADER, Value::String(detail)) = (name.as_str(), value) {
                detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
            }
        }
        headers.push((ROW_HEADER.to_owned(), Value::String(outgoing.message_id.clone())));
        // Ours first, then the originals, small ones before large ones: what is cut off is the end.
        headers.sort_by_key(|(name, value)| (!name.starts_with(OWN_PREFIX), bytes(value)));
        let mut total = 0;
        let fitting = headers.iter().take_while(|(name, value)| {
            total += name.len() + bytes(value);
            total <= HEADER_BYTES_MAX
        });
        let keep = fitting.count();
        if headers[..keep].iter().all(|(name, _)| name != ROW_HEADER) {
            return None;
        }
        headers.truncate(keep);
        headers.retain(|(name, _)| ShortString::try_new(name.as_str()).is_ok());
    } else if headers.iter().map(|(name, value)| name.len() + bytes(value)).sum::<usize>() > HEADER_BYTES_MAX
        || headers.iter().any(|(name, _)| ShortString::try_new(name.as_str()).is_err())
    {
        return None;
    }
    Some(table(headers.iter().map(|(name, value)| (name.as_str(), value))))
}

/// Roughly what a value takes in a frame, never less.
fn bytes(value: &Value) -> usize {
    const OVERHEAD: usize = 16;
    OVERHEAD
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(bytes).sum(),
            Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + bytes(value)).sum(),
        }
}

/// A table of AMQP values. Names over 255 bytes are left out.
pub(super) fn table<'a>(fields: impl IntoIterator<Item = (&'a str, &'a Value)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in fields {
        if let Ok(name) = ShortString::try_new(name) {
            table.insert(name, amqp(value));
        }
    }
    table
}

fn amqp(value: &Value) -> AMQPValue {
    match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(value) => AMQPValue::Boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => AMQPValue::LongLongInt(integer),
            (None, Some(float)) if !number.is_u64() => AMQPValue::Double(float),
            // Above 2^63: RabbitMQ's tables have no such integer.
            (None, _) => AMQPValue::LongString(number.to_string().into()),
        },
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(values) => {
            AMQPValue::FieldArray(FieldArray::from(values.iter().map(amqp).collect::<Vec<_>>()))
        }
        Value::Object(fields) => {
            AMQPValue::FieldTable(table(fields.iter().map(|(name, value)| (name.as_str(), value))))
        }
    }
}

/// What came beside a body.
pub(super) fn incoming_properties(from: &BasicProperties) -> Properties {
    let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
    // Publishers that send milliseconds name a year no calendar has: as good as none.
    let timestamp =
        from.timestamp().and_then(|seconds| Timestamp::from_second(i64::try_from(seconds).ok()?).ok());
    let headers = from.headers().iter().flat_map(FieldTable::inner);
    Properties {
        message_id: text(from.message_id()),
        correlation_id: text(from.correlation_id()),
        kind: text(from.kind()),
        content_type: text(from.content_type()),
        content_encoding: text(from.content_encoding()),
        timestamp,
        app_id: text(from.app_id()),
        reply_to: text(from.reply_to()),
        headers: headers.map(|(name, value)| (name.to_string(), json(value))).collect(),
    }
}

/// An AMQP value as JSON; what JSON does not have becomes text.
fn json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Void => Value::Null,
        AMQPValue::Boolean(value) => Value::Bool(*value),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Timestamp(value) => (*value).into(),
        AMQPValue::Float(value) => float(f64::from(*value)),
        AMQPValue::Double(value) => float(*value),
        AMQPValue::DecimalValue(value) => float(f64::from(value.value) / 10_f64.powi(i32::from(value.scale))),
        AMQPValue::ShortString(value) => value.as_str().into(),
        AMQPValue::LongString(value) => String::from_utf8_lossy(value.as_bytes()).into(),
        AMQPValue::ByteArray(value) => String::from_utf8_lossy(value.as_slice()).into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json).collect(),
        AMQPValue::FieldTable(fields) => {
            let fields = fields.inner().iter().map(|(name, value)| (name.to_string(), json(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

/// JSON has no NaN and no infinity.
fn float(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number)
}

#[cfg(test)]
mod tests;
