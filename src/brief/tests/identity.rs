//! Who a brief is, and which content is the same.

use super::*;

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
    let vectors: Vec<Vec<String>> = include_str!("../keys.rs")
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
        assert!(include_str!("../keys.rs").contains(published));
    }
}
