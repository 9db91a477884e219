use lapin::types::ByteArray;
use serde_json::json;

use super::*;
use crate::broker::example_amqp;

fn outgoing(channel: Channel, headers: impl IntoIterator<Item = (&'static str, Value)>) -> Outgoing {
    Outgoing {
        row: 1,
        channel,
        routing_key: "key".into(),
        message_id: "ours".into(),
        body: b"{}".to_vec(),
        properties: Properties {
            message_id: Some("theirs".into()),
            correlation_id: Some("correlation".into()),
            kind: Some("container.completed".into()),
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            timestamp: Some(Timestamp::from_second(1_700_000_000).unwrap()),
            app_id: Some("cms".into()),
            reply_to: Some("answers".into()),
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        },
    }
}

fn packet(outgoing: &Outgoing) -> Option<Packet> {
    Packet::of(outgoing, &example_amqp("amqp://127.0.0.1", "127.0.0.1:5672/"))
}

#[test]
fn properties_survive_the_way_out_and_in() {
    let headers = [
        ("traceparent", json!("00-abc")),
        ("count", json!(-3)),
        ("ratio", json!(0.5)),
        ("flag", json!(true)),
        ("nothing", json!(null)),
        ("x-death", json!([{"queue": "briefs", "count": 2}])),
    ];
    let sent = outgoing(Channel::Record, headers);
    let packet = packet(&sent).unwrap();
    assert_eq!(packet.exchange.as_str(), "containers");
    assert_eq!(*packet.properties.delivery_mode(), Some(2));
    assert_eq!(*packet.properties.user_id(), None);
    let expected = Properties { message_id: Some("ours".into()), ..sent.properties };
    assert_eq!(incoming_properties(&packet.properties), expected);
}

#[test]
fn what_json_cannot_hold_comes_in_as_text() {
    let mut table = FieldTable::default();
    table.insert("bytes".into(), AMQPValue::ByteArray(ByteArray::from(vec![0xff, b'a'])));
    table.insert("nan".into(), AMQPValue::Double(f64::NAN));
    let milliseconds = 1_700_000_000_000_000;
    let properties = BasicProperties::default().with_headers(table).with_timestamp(milliseconds);
    let read = incoming_properties(&properties);
    assert_eq!(read.headers["bytes"], json!("\u{fffd}a"));
    assert_eq!(read.headers["nan"], json!("NaN"));
    assert_eq!(read.timestamp, None);
}

#[test]
fn a_dead_letter_keeps_its_message_id_and_carries_ours_in_a_header() {
    let packet = packet(&outgoing(Channel::DeadLetter, [("x-briefd-reason", json!("UNREADABLE"))])).unwrap();
    assert_eq!(packet.exchange.as_str(), "briefs.dead");
    assert_eq!(packet.properties.message_id().as_ref().unwrap().as_str(), "theirs");
    assert_eq!(returned_id(&packet.properties).as_deref(), Some("ours"));
}

#[test]
fn an_enqueued_brief_is_known_by_its_own_id_even_if_it_was_a_dead_letter_once() {
    let packet = packet(&outgoing(Channel::Brief, [("x-briefd-row", json!("old"))])).unwrap();
    assert_eq!(packet.exchange.as_str(), "briefs");
    assert_eq!(returned_id(&packet.properties).as_deref(), Some("ours"));
}

#[test]
fn a_dead_letters_headers_fit_into_a_frame_by_losing_the_largest_original() {
    let headers = [
        ("huge", json!("x".repeat(90 * 1024))),
        ("large", json!(["y".repeat(20 * 1024)])),
        ("small", json!("kept")),
        ("x-briefd-reason", json!("UNREADABLE")),
        ("x-briefd-detail", json!("é".repeat(600))),
    ];
    let read = incoming_properties(&packet(&outgoing(Channel::DeadLetter, headers)).unwrap().properties);
    let names: Vec<&str> = read.headers.keys().map(String::as_str).collect();
    assert_eq!(names, ["large", "small", "x-briefd-detail", "x-briefd-reason", "x-briefd-row"]);
    assert_eq!(read.headers["x-briefd-detail"].as_str().unwrap().len(), 1_000);
}

#[test]
fn what_amqp_cannot_express_is_impossible() {
    let long = "é".repeat(128);
    let mut record = outgoing(Channel::Record, []);
    record.properties.correlation_id = Some(long.clone());
    assert!(packet(&record).is_none());

    let mut record = outgoing(Channel::Record, []);
    record.routing_key = long;
    assert!(packet(&record).is_none());

    let record = outgoing(Channel::Record, [("huge", json!("x".repeat(200 * 1024)))]);
    assert!(packet(&record).is_none());
}
