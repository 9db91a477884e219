use lapin::BasicProperties;
use lapin::message::{BasicReturnMessage, Delivery};
use lapin::types::ShortString;

use super::*;
use crate::flow::{Channel, Properties};

fn record(id: &str) -> Outgoing {
    Outgoing {
        row: 1,
        channel: Channel::Record,
        routing_key: "key".into(),
        message_id: id.into(),
        body: Vec::new(),
        properties: Properties::default(),
    }
}

fn returned(id: &str) -> BasicReturnMessage {
    let mut delivery = Delivery::mock(0, ShortString::default(), ShortString::default(), false, Vec::new());
    delivery.properties = BasicProperties::default().with_message_id(ShortString::try_new(id).unwrap());
    BasicReturnMessage { delivery, reply_code: 312, reply_text: ShortString::default() }
}

#[test]
fn a_return_that_came_with_another_messages_confirm_still_counts_against_its_own_message() {
    let flight = [record("a"), record("b"), record("c"), record("d")];
    let confirms = vec![
        Some(Ok(Confirmation::Ack(Some(returned("b"))))),
        Some(Ok(Confirmation::Ack(None))),
        Some(Ok(Confirmation::Nack(None))),
        None,
    ];
    let Ok(outcomes) = settle(&flight, confirms) else { panic!("the batch is known") };
    let expected =
        [SendOutcome::Sent, SendOutcome::Unroutable, SendOutcome::Refused, SendOutcome::Impossible];
    assert_eq!(outcomes, expected);
}

#[test]
fn one_error_makes_the_whole_batch_unknown() {
    let flight = [record("a"), record("b")];
    let error = lapin::Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    let confirms = vec![Some(Ok(Confirmation::Ack(None))), Some(Err(error))];
    let Err(lost) = settle(&flight, confirms) else { panic!("the batch is unknown") };
    assert!(!lost.channel_closed, "a lost connection says nothing about the messages");
}

#[test]
fn a_returned_message_that_nobody_knows_makes_the_batch_unknown() {
    let flight = [record("a")];
    assert!(settle(&flight, vec![Some(Ok(Confirmation::Ack(Some(returned("z")))))]).is_err());
}

#[test]
fn a_confirm_that_was_never_asked_for_is_no_success() {
    assert!(settle(&[record("a")], vec![Some(Ok(Confirmation::NotRequested))]).is_err());
}

fn refused(by: AMQPSoftError) -> lapin::Error {
    lapin::ErrorKind::ProtocolError(lapin::protocol::AMQPError::new(by.into(), "no".into())).into()
}

#[test]
fn only_a_refusal_that_a_message_can_be_the_reason_for_is_blamed_on_one() {
    for (by, forbidden) in [
        (AMQPSoftError::PRECONDITIONFAILED, false),
        (AMQPSoftError::CONTENTTOOLARGE, false),
        (AMQPSoftError::ACCESSREFUSED, true),
        (AMQPSoftError::NOTFOUND, true),
        (AMQPSoftError::RESOURCELOCKED, true),
    ] {
        let Err(lost) = settle(&[record("a")], vec![Some(Err(refused(by.clone())))]) else {
            panic!("nothing is known of it")
        };
        assert!(lost.channel_closed && lost.forbidden == forbidden, "{by:?}");
    }
}
