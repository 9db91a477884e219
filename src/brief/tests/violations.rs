//! What can be read and is no brief: each violation in words, with its path.

use super::*;

/// `path: problem`, for a message with these fields beside a good project and brief.
fn found(fields: &Value) -> Vec<String> {
    let mut message = json!({"projectId": "p", "brief": {"topic": "t"}});
    message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    shown(&read(&message.to_string()))
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
