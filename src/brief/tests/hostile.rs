//! Hostile input, drawn at random.

use super::*;

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
