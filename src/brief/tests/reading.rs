//! What can be read, and what is unreadable for which reason.

use super::*;

#[test]
fn a_full_message_is_read_field_by_field() {
    let brief = read(
        r#"{"projectId":"p","batchId":"b","briefId":"1","run":3,"batchSize":10,"priority":9,"notBefore":"2026-05-01T09:00:00Z",
            "expiresAt":"2026-05-02T09:00:00+02:00","format":"video_remix","variantCount":5,"brief":{"topic":"t"},"metadata":{"a": 1}}"#,
    );
    assert_eq!(brief.identity.to_string(), "p/b/1");
    assert_eq!((brief.run, brief.batch_size, brief.priority, brief.variant_count), (3, Some(10), 9, 5));
    assert_eq!(brief.not_before.unwrap().to_string(), "2026-05-01T09:00:00Z");
    assert_eq!(brief.expires_at.unwrap().to_string(), "2026-05-02T07:00:00Z");
    assert_eq!(brief.format.as_deref(), Some("video_remix"));
    assert_eq!(brief.metadata.as_deref(), Some(r#"{"a": 1}"#));
    assert_eq!(shown(&brief), [""; 0]);
}

#[test]
fn the_request_keeps_the_bytes_and_the_order_of_its_values_and_drops_routing() {
    let brief = read(
        r#"{ "metadata" : {"z":1e2, "a":"\/"}, "run":1, "projectId":"p", "brief":{ "hook" :"caf\u00e9","topic":"x"} , "variantCount":2.0 }"#,
    );
    let request =
        r#"{"metadata":{"z":1e2, "a":"\/"},"brief":{ "hook" :"caf\u00e9","topic":"x"},"variantCount":2.0}"#;
    assert_eq!(brief.request, request);
    assert_eq!(brief.variant_count, 2);
    assert!(brief.is_valid());
}

#[test]
fn what_cannot_be_read_is_unreadable_with_one_line_that_says_why() {
    let deep = format!(r#"{{"projectId":"p","brief":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "the message is not JSON: it is empty"),
        (
            b"\xef\xbb\xbf{}".to_vec(),
            "the message is not JSON: it starts with a byte order mark; leave that out",
        ),
        (b"{\"a\":\"\xff\"}".to_vec(), "the message is not UTF-8: byte 7 fits no character"),
        (b"hello".to_vec(), "the message is not JSON: expected value at column 1"),
        (br#"["p"]"#.to_vec(), "the message is not a JSON object"),
        (br#"{"projectId":"p"} {}"#.to_vec(), "the message is not JSON: trailing characters at column 19"),
        (br#"{"brief":{}}"#.to_vec(), "projectId is missing; every brief names its project"),
        (br#"{"projectId":null}"#.to_vec(), "projectId is missing; every brief names its project"),
        (
            br#"{"projectId":7}"#.to_vec(),
            "projectId is not a text; ids are texts of 1 to 200 bytes without control characters",
        ),
        (
            br#"{"projectId":"p","batchId":""}"#.to_vec(),
            "batchId is empty; ids are texts of 1 to 200 bytes without control characters",
        ),
        (
            br#"{"projectId":"p","briefId":"a\nb"}"#.to_vec(),
            "briefId has control characters in it; ids are texts of 1 to 200 bytes without control characters",
        ),
        (deep.into_bytes(), "the message is not JSON: recursion limit exceeded at column 152"),
    ];
    for (body, text) in cases {
        assert_eq!(refused(body).to_string(), text);
    }
}

#[test]
fn an_id_may_have_200_bytes_and_not_201() {
    let message =
        |bytes: usize| json!({"projectId": "é".repeat(bytes / 2) + &"x".repeat(bytes % 2)}).to_string();
    assert_eq!(read(&message(200)).identity.project_id.len(), 200);
    assert!(matches!(refused(message(201)), Unreadable::UnfitId { field: "projectId", .. }));
}

#[test]
fn a_repeated_key_makes_a_message_unreadable_at_any_depth_and_however_it_is_spelled() {
    for body in [
        r#"{"projectId":"p","projectId":"q","brief":{}}"#,
        r#"{"projectId":"p","brief":{"topic":"a","top\u0069c":"b"}}"#,
        r#"{"projectId":"p","brief":{},"metadata":{"a":[{"b":1,"b":1}]}}"#,
        r#"{"projectId":"p","brief":{"$serde_json::private::RawValue":"1","$serde_json::private::RawValue":"2"}}"#,
    ] {
        assert!(matches!(refused(body), Unreadable::Ambiguous(_)), "{body}");
    }
}

#[test]
fn a_number_that_canonical_json_cannot_tell_apart_makes_a_message_unreadable() {
    let message = |number: &str| format!(r#"{{"projectId":"p","brief":{{}},"metadata":{{"n":{number}}}}}"#);
    for number in [
        "9007199254740993",
        "-9007199254740993",
        "9007199254740993.0",
        "9.1e15",
        "-1e300",
        "123456789012345678901234",
    ] {
        assert!(matches!(refused(message(number)), Unreadable::Ambiguous(_)), "{number}");
    }
    assert!(matches!(refused(message("1e400")), Unreadable::NotJson(_)));
    for number in ["9007199254740992", "-9007199254740992", "9007199254740991.0", "0.1", "-0"] {
        assert!(read(&message(number)).is_valid(), "{number}");
    }
}

#[test]
fn the_envelope_is_judged_before_the_body() {
    let good = br#"{"projectId":"p","brief":{}}"#.to_vec();
    let with_encoding = |encoding: &str| Delivery {
        properties: Properties { content_encoding: Some(encoding.to_owned()), ..Properties::default() },
        ..delivery(good.clone())
    };
    assert!(parse(&with_encoding("UTF-8"), &rules()).is_ok());
    let gzip = parse(&with_encoding("gzip"), &rules()).unwrap_err();
    assert_eq!(gzip.to_string(), "content_encoding is \"gzip\"; send plain UTF-8 JSON, not compressed");
    let small = Rules { max_message_bytes: 27, ..rules() };
    let long = parse(&delivery(good.clone()), &small).unwrap_err();
    assert_eq!(long.to_string(), "the message has 28 bytes; intake.max_message_bytes allows 27");
    let fault = Delivery { fault: Some("line 4: 3 fields, not 5".to_owned()), ..delivery(good) };
    assert_eq!(parse(&fault, &rules()).unwrap_err().to_string(), "line 4: 3 fields, not 5");
}
