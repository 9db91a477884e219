use super::*;
use crate::broker::example_amqp;

#[test]
fn definitions_describe_the_whole_topology() {
    let amqp = example_amqp("amqp://guest:guest@127.0.0.1:5672/campaigns", "127.0.0.1:5672/campaigns");
    insta::assert_snapshot!(format!("{:#}", definitions(&amqp)));
}

#[test]
fn the_brokers_sentence_about_a_difference_is_understood() {
    for (text, argument, ours, theirs) in [
        (
            "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'q' in vhost '/': received the \
             value '7' of type 'long' but current is none",
            "x-delivery-limit",
            "7",
            "none",
        ),
        (
            "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'a: received b but current is c' in vhost \
             '/': received 'topic' but current is 'direct'",
            "type",
            "topic",
            "direct",
        ),
        (
            "PRECONDITION_FAILED - inequivalent arg 'x-overflow' for queue 'q' in vhost '/': received none but \
             current is the value 'reject-publish' of type 'longstr'",
            "x-overflow",
            "none",
            "reject-publish",
        ),
    ] {
        let expected =
            Difference { argument: argument.to_owned(), ours: ours.to_owned(), theirs: theirs.to_owned() };
        assert_eq!(Difference::read(text), Some(expected));
    }
    assert_eq!(Difference::read("PRECONDITION_FAILED - something else"), None);
}
