//! What a message is, told by examples and by hostile input.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use super::*;
use crate::config::work::{MissingBriefId, Validation};
use crate::flow::{Delivery, Properties};

static NO_PROJECTS: BTreeMap<String, String> = BTreeMap::new();

fn rules() -> Rules<'static> {
    Rules {
        max_message_bytes: 256 * 1024,
        validation: Validation::Strict,
        missing_brief_id: MissingBriefId::Content,
        projects: &NO_PROJECTS,
        batch: None,
        default_batch: None,
        batch_size: None,
    }
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

/// `path: problem`, for a message with these fields beside a good project and brief.
fn found(fields: &Value) -> Vec<String> {
    let mut message = json!({"projectId": "p", "brief": {"topic": "t"}});
    message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    shown(&read(&message.to_string()))
}

fn shown(brief: &Brief) -> Vec<String> {
    brief.violations.iter().map(|violation| format!("{}: {}", violation.path, violation.problem)).collect()
}

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

#[test]
fn violations_are_told_in_words_with_their_paths() {
    let cases = [
        (json!({"variantCount": 9}), "variantCount: 9 is more than the maximum of 5"),
        (json!({"variantCount": 0}), "variantCount: 0 is less than the minimum of 1"),
        (json!({"variantCount": 2.5}), "variantCount: 2.5 is not a whole number"),
        (json!({"variantCount": "2"}), "variantCount: \"2\" is not a whole number"),
        (
            json!({"format": "reel"}),
            "format: \"reel\" is not one of auto, video_remix, slideshow_remix, ugc_remix",
        ),
        (
            json!({"targetPlatforms": ["tiktok", "tiktoc"]}),
            "targetPlatforms[1]: \"tiktoc\" is not one of instagram, tiktok, youtube",
        ),
        (json!({"brief": {"valuePropositions": ["a", 3]}}), "brief.valuePropositions[1]: 3 is not a text"),
        (
            json!({"brief": {"valuePropositions": vec!["a"; 21]}}),
            "brief.valuePropositions: 21 entries; at most 20 are allowed",
        ),
        (
            json!({"references": {"sourcePostIds": vec!["a"; 21]}}),
            "references.sourcePostIds: 21 entries; at most 20 are allowed",
        ),
        (json!({"brief": "a text"}), "brief: \"a text\" is not an object"),
        (json!({"brief": null}), "brief: null is not an object"),
        (json!({"metadata": []}), "metadata: a list is not an object"),
        (json!({"budget": {"maxCredits": -1}}), "budget.maxCredits: -1 is less than the minimum of 0"),
        (json!({"id": Uuid::nil()}), "id: is made by briefd; leave it out"),
        (json!({"run": 0}), "run: 0 is less than the minimum of 1"),
        (json!({"run": 4_294_967_296_u64}), "run: 4294967296 is more than the maximum of 4294967295"),
        (json!({"priority": 10}), "priority: 10 is more than the maximum of 9"),
        (json!({"batchSize": 3}), "batchSize: needs a batchId beside it"),
        (json!({"notBefore": "tomorrow"}), "notBefore: \"tomorrow\" is not a time like 2026-05-01T09:00:00Z"),
        (
            json!({"expiresAt": "2026-05-01T09:00:00"}),
            "expiresAt: \"2026-05-01T09:00:00\" is not a time like 2026-05-01T09:00:00Z",
        ),
        (json!({"expiresAt": 5}), "expiresAt: 5 is not a text"),
    ];
    for (fields, text) in cases {
        assert_eq!(found(&fields), [text]);
    }
    assert_eq!(shown(&read(r#"{"projectId":"p"}"#)), ["brief: is missing"]);
}

#[test]
fn an_unknown_field_comes_with_the_field_that_was_meant() {
    let cases = [
        (json!({"brief": {"hok": "x"}}), "brief.hok: unknown field; did you mean `hook`?"),
        (json!({"hook": "x"}), "hook: unknown field; did you mean `brief.hook`?"),
        (
            json!({"brief": {"variantCount": 2}}),
            "brief.variantCount: unknown field; did you mean `variantCount`?",
        ),
        (json!({"variant_count": 2}), "variant_count: unknown field; did you mean `variantCount`?"),
        (json!({"budget": {"max": 2}}), "budget.max: unknown field; did you mean `maxCredits`?"),
        (json!({"zzz": 2}), "zzz: unknown field \"zzz\""),
    ];
    for (fields, text) in cases {
        assert_eq!(found(&fields), [text]);
    }
}

#[test]
fn lenient_lets_unknown_fields_and_enum_values_through_and_nothing_else() {
    let lenient = Rules { validation: Validation::Lenient, ..rules() };
    let body = r#"{"projectId":"p","new":1,"format":"reel","brief":{"new":2,"targetPlatforms":["x"]},"budget":{"new":1}}"#;
    let brief = parse(&delivery(body), &lenient).unwrap();
    assert_eq!(shown(&brief), [""; 0]);
    assert_eq!(brief.request, body.replace(r#""projectId":"p","#, ""));
    assert_eq!(shown(&read(body)).len(), 5);
    let body = r#"{"projectId":"p","id":"x","variantCount":9}"#;
    let brief = parse(&delivery(body), &lenient).unwrap();
    let expected = [
        "brief: is missing",
        "id: is made by briefd; leave it out",
        "variantCount: 9 is more than the maximum of 5",
    ];
    assert_eq!(shown(&brief), expected);
    assert_eq!((brief.variant_count, brief.request.as_str()), (1, r#"{"variantCount":9}"#));
}

#[test]
fn null_stands_for_absent_in_optional_fields() {
    let brief = read(
        r#"{"projectId":"p","batchId":null,"briefId":null,"run":null,"batchSize":null,"priority":null,"notBefore":null,
            "expiresAt":null,"format":null,"variantCount":null,"brief":{"hook":null},"metadata":null}"#,
    );
    assert_eq!(shown(&brief), [""; 0]);
    assert_eq!(brief.identity.batch_id, "");
    assert_eq!((brief.run, brief.priority, brief.variant_count), (1, PRIORITY_DEFAULT, 1));
    assert_eq!((brief.metadata, brief.format), (None, None));
}

#[test]
fn violations_are_sorted_bounded_and_printable() {
    let many: serde_json::Map<_, _> = (0..200).map(|n| (format!("f{n:03}"), json!(1))).collect();
    let brief = read(&json!({"projectId": "p", "brief": many}).to_string());
    assert_eq!(brief.violations.len(), VIOLATIONS_MAX);
    assert!(brief.violations.is_sorted());
    let long = "x\u{1b}".repeat(10_000);
    let brief = read(&json!({"projectId": "p", "brief": {}, "format": long, long.clone(): 1}).to_string());
    for violation in brief.violations {
        assert!(violation.path.chars().count() <= 300 && violation.problem.chars().count() <= 300);
        assert!(!violation.path.contains('\u{1b}') && !violation.problem.contains('\u{1b}'));
        assert!(!violation.problem.contains(&"x\u{fffd}".repeat(31)));
    }
}

#[test]
fn without_a_brief_id_the_content_is_the_identity_and_metadata_is_no_part_of_it() {
    let one =
        read(r#"{"projectId":"p","brief":{"topic":"t","hook":"h"},"variantCount":2,"metadata":{"run":1}}"#);
    let two = read(
        r#"{"metadata":{"run":2},"variantCount":2.0,"brief":{"hook":"h","top\u0069c":"t"},"projectId":"p","priority":7}"#,
    );
    assert_eq!(one.identity, two.identity);
    assert_eq!(one.fingerprint, two.fingerprint);
    assert_eq!(one.identity.brief_id, format!("sha256:{}", one.fingerprint));
    // printf '{"brief":{"hook":"h","topic":"t"},"variantCount":2}' | sha256sum
    let sum = "c547e2e5fb4771d126db79c16382b567e5ac72ad9bef379dd155818d5ba8dc07";
    assert_eq!(one.fingerprint.to_string(), sum);
    assert_eq!(one.fingerprint.to_string().parse(), Ok(one.fingerprint));
    assert_eq!("5D".parse::<Fingerprint>(), Err(NotAFingerprint));
    let other = read(r#"{"projectId":"p","brief":{"topic":"t","hook":"H"},"variantCount":2}"#);
    assert_ne!(one.identity, other.identity);
}

#[test]
fn a_number_has_one_fingerprint_however_it_is_spelled() {
    let fingerprint =
        |number: &str| read(&format!(r#"{{"projectId":"p","brief":{{"n":{number}}}}}"#)).fingerprint;
    for (one, other) in [
        ("120", "1.2e2"),
        ("0.3", "30000000000000000000000e-23"),
        ("7.038531e-26", "7.0385310000000000000000e-26"),
        ("0", "-0"),
    ] {
        assert_eq!(fingerprint(one), fingerprint(other), "{one} {other}");
    }
    assert_ne!(fingerprint("0.1"), fingerprint("0.10000000000000002"));
}

#[test]
fn a_message_id_is_the_identity_only_when_the_settings_say_so() {
    let properties = |id: &str| Properties { message_id: Some(id.to_owned()), ..Properties::default() };
    let message = |id| Delivery { properties: properties(id), ..delivery(r#"{"projectId":"p","brief":{}}"#) };
    let by_message = Rules { missing_brief_id: MissingBriefId::MessageId, ..rules() };
    assert_eq!(parse(&message("m-1"), &by_message).unwrap().identity.brief_id, "m-1");
    assert!(parse(&message("m-1"), &rules()).unwrap().identity.brief_id.starts_with("sha256:"));
    assert!(matches!(
        parse(&message(""), &by_message).unwrap_err(),
        Unreadable::UnfitId { field: "message_id", .. }
    ));
    let without = delivery(r#"{"projectId":"p","brief":{}}"#);
    assert!(parse(&without, &by_message).unwrap().identity.brief_id.starts_with("sha256:"));
}

#[test]
fn a_project_alias_becomes_its_id() {
    let projects = BTreeMap::from([("acme".to_owned(), "254a".to_owned())]);
    let aliased = Rules { projects: &projects, ..rules() };
    let project = |body: &str| parse(&delivery(body), &aliased).unwrap().identity.project_id;
    assert_eq!(project(r#"{"projectId":"acme","brief":{}}"#), "254a");
    assert_eq!(project(r#"{"projectId":"other","brief":{}}"#), "other");
}

#[test]
fn the_command_line_sets_the_batch_and_a_file_name_is_only_its_default() {
    let with_batch = r#"{"projectId":"p","batchId":"own","batchSize":2,"brief":{}}"#;
    let without = r#"{"projectId":"p","brief":{}}"#;
    let batch_of = |body: &str, rules: &Rules<'_>| {
        let brief = parse(&delivery(body), rules).unwrap();
        assert!(brief.is_valid());
        (brief.identity.batch_id, brief.batch_size)
    };
    let set = Rules { batch: Some("set"), batch_size: Some(9), ..rules() };
    assert_eq!(batch_of(with_batch, &set), ("set".to_owned(), Some(9)));
    assert_eq!(batch_of(without, &set), ("set".to_owned(), Some(9)));
    let stem = Rules { default_batch: Some("stem"), batch_size: Some(9), ..rules() };
    assert_eq!(batch_of(with_batch, &stem), ("own".to_owned(), Some(2)));
    assert_eq!(batch_of(without, &stem), ("stem".to_owned(), Some(9)));
    assert_eq!(batch_of(without, &rules()), (String::new(), None));
}

#[test]
fn differing_paths_are_named_up_to_a_limit_and_metadata_never_counts() {
    let a = r#"{"variantCount":2,"brief":{"hook":"a","themeTags":["x","y"]},"metadata":{"n":1}}"#;
    let b = r#"{"metadata":{"n":2},"brief":{"themeTags":["x","z"],"hook":"b","cta":"c"},"variantCount":2.0}"#;
    assert_eq!(differing_paths(a, b, 5), ["brief.hook", "brief.themeTags[1]", "brief.cta"]);
    assert_eq!(differing_paths(a, b, 2), ["brief.hook", "brief.themeTags[1]"]);
    assert_eq!(differing_paths(a, a, 5), [""; 0]);
    assert!(only_brief_differs(a, b));
    assert!(only_brief_differs(a, a));
    assert!(!only_brief_differs(a, &b.replace("2.0", "3")));
    assert!(!only_brief_differs(a, &a.replace("\"variantCount\":2,", "")));
}

#[test]
fn bodies_are_composed_of_the_bytes_that_came_in() {
    let id = uuid!("79299669-094b-5474-bc5f-d86bf95988b4");
    let request = r#"{"brief":{ "hook":1e2 }}"#;
    assert_eq!(
        body(request, Some(id)),
        r#"{"id":"79299669-094b-5474-bc5f-d86bf95988b4","brief":{ "hook":1e2 }}"#
    );
    assert_eq!(body("{}", Some(id)), r#"{"id":"79299669-094b-5474-bc5f-d86bf95988b4"}"#);
    assert_eq!(body(request, None), request);
    assert_eq!(regenerate_body(request, r#"{"variantCount":1,"brief":{"hook":100}}"#), "{}");
    assert_eq!(
        regenerate_body(request, r#"{"brief":{ "hook":"n" }}"#),
        r#"{"patch":{"brief":{ "hook":"n" }}}"#
    );
}

#[test]
fn a_request_can_be_enqueued_again_as_the_same_brief() {
    let brief = read(r#"{"projectId":"p \"q\"","batchId":"b","briefId":"1","run":2,"brief":{"topic":"t"}}"#);
    let again = read(&enqueueable(&brief.identity, &brief.request));
    assert_eq!((again.identity, again.fingerprint), (brief.identity, brief.fingerprint));
    let brief = read(r#"{"projectId":"p","brief":{"topic":"t"}}"#);
    assert_eq!(read(&enqueueable(&brief.identity, &brief.request)).identity, brief.identity);
}

#[test]
fn keys_are_those_of_the_published_test_vectors() {
    for (name, namespace) in [
        ("key", keys::KEY_NAMESPACE),
        ("container", keys::CONTAINER_NAMESPACE),
        ("record", keys::RECORD_NAMESPACE),
    ] {
        assert_eq!(namespace, Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("briefd/{name}/1").as_bytes()));
    }
    let vectors: Vec<Vec<String>> = include_str!("keys.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").map(|cell| cell.trim_matches([' ', '`']).to_owned()).collect())
        .filter(|cells: &Vec<String>| cells[0] != "project")
        .collect();
    assert_eq!(vectors.len(), 5);
    for vector in &vectors {
        let [project_id, batch_id, brief_id, run, container, key, our_id] = &vector[..] else {
            panic!("{vector:?}")
        };
        let identity = Identity {
            project_id: project_id.clone(),
            batch_id: batch_id.clone(),
            brief_id: brief_id.clone(),
        };
        let container = Some(container.as_str()).filter(|container| !container.is_empty());
        let text = keys::key_text(&identity, run.parse().unwrap(), container);
        assert_eq!(keys::idempotency_key(&text).to_string(), *key);
        if container.is_none() {
            assert_eq!(keys::container_id(&text).to_string(), *our_id);
        }
    }
    let text = "briefd/1\n254a4ce1-f4ca-42b1-9e36-17ca45ef3d39\nspring\nhook-7\n1";
    let records = [
        (keys::record_id(text, Some(1), "container.completed"), "09742cbd-2076-5353-a57a-922018190ef6"),
        (keys::record_id(text, None, "brief.failed"), "12094507-7344-5a5b-8472-0027f52f70dd"),
        (keys::batch_record_id("spring", 1), "475e8a61-33db-5022-bf09-6018c90a615d"),
    ];
    for (id, published) in records {
        assert_eq!(id.to_string(), published);
        assert!(include_str!("keys.rs").contains(published));
    }
}

#[test]
fn the_published_schema_does_not_drift() {
    insta::assert_json_snapshot!("brief_schema", schema());
}

/// A JSON value that the strict reader takes.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1e15..1e15).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The same value with the keys of every object in the other order.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect())
        }
        Value::Array(items) => items.iter().map(reversed).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

proptest! {
    #[test]
    fn reading_never_panics_on_any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any_answer = parse(&delivery(body), &rules());
    }

    #[test]
    fn reading_never_panics_on_any_fields(fields in prop::collection::btree_map(
        prop_oneof!["projectId|batchId|briefId|run|batchSize|priority|notBefore|expiresAt|format|variantCount|brief|metadata|budget|id", any::<String>()],
        value(), 0..8,
    )) {
        let mut message: serde_json::Map<_, _> = fields.into_iter().collect();
        message.insert("projectId".to_owned(), json!("p"));
        if let Ok(brief) = parse(&delivery(Value::Object(message).to_string()), &rules()) {
            prop_assert!(serde_json::from_str::<Value>(&brief.request).is_ok_and(|request| request.is_object()));
        }
    }

    #[test]
    fn the_order_of_keys_does_not_change_the_fingerprint(content in value(), pretty in any::<bool>()) {
        let message = json!({"projectId": "p", "variantCount": 2, "brief": content});
        let other = reversed(&message);
        let other = if pretty { serde_json::to_string_pretty(&other).unwrap() } else { other.to_string() };
        prop_assert_eq!(read(&message.to_string()).fingerprint, read(&other).fingerprint);
    }

    #[test]
    fn a_stored_request_reads_as_the_same_content(content in value()) {
        let brief = read(&json!({"projectId": "p", "briefId": "b", "brief": content}).to_string());
        let again = read(&enqueueable(&brief.identity, &brief.request));
        prop_assert_eq!(&again.request, &brief.request);
        prop_assert_eq!(differing_paths(&again.request, &brief.request, 5), Vec::<String>::new());
    }
}
