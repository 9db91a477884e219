//! What is written about the sandbox is what it does: `/openapi.json` and the tables in `reference.md`.

use super::super::openapi::DOCUMENT;
use super::super::routes::ROUTES;
use super::*;
use crate::sandbox::control::AccountChange;
use crate::sandbox::wish::Wish;

const REFERENCE: &str = include_str!("../reference.md");

/// The first two cells of each row of the table below a heading.
fn table(heading: &str) -> Vec<(String, String)> {
    let (_, section) = REFERENCE.split_once(&format!("\n## {heading}\n")).expect("the heading is there");
    let section = section.split("\n## ").next().unwrap_or("");
    let cells = |line: &str| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((name.to_owned(), rest.trim_end_matches(" |").to_owned()))
    };
    section.lines().filter_map(cells).collect()
}

/// The fields that serde would have accepted.
fn fields(error: &serde_json::Error) -> Vec<String> {
    let text = error.to_string();
    let (_, known) = text.split_once("expected one of ").expect("it names the fields");
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort();
    names
}

#[test]
fn the_reference_lists_every_fault_with_its_meaning() {
    let faults: Vec<_> =
        Fault::ALL.iter().map(|fault| (fault.name().to_owned(), fault.meaning().to_owned())).collect();
    assert_eq!(table("Faults"), faults);
}

#[test]
fn the_reference_lists_every_field_of_a_wish_and_of_a_change() {
    let wish = serde_json::from_str::<Wish>(r#"{"":1}"#).unwrap_err();
    let change = serde_json::from_str::<AccountChange>(r#"{"":1}"#).unwrap_err();
    for (heading, error) in [("`metadata.sandbox`", wish), ("`PUT /_sandbox/account`", change)] {
        let documented = table(heading).into_iter().map(|(field, _)| field);
        assert_eq!(sorted(documented), sorted(fields(&error)), "{heading}");
    }
}

#[test]
fn the_openapi_document_has_the_paths_classes_and_scopes_of_the_routes() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let operations = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        let operation = move |(method, operation): (&String, &Value)| {
            let name = format!("{} {path}", method.to_uppercase());
            (name, operation["x-rate-limit-class"].clone(), operation["x-scope"].clone())
        };
        methods.as_object().unwrap().iter().map(operation)
    });
    let routes = ROUTES.iter().map(|(endpoint, call)| {
        let call = call([String::new(), String::new()]);
        ((*endpoint).to_owned(), json!(call.class().name()), json!(call.scope()))
    });
    let by_name = |list: Vec<(String, Value, Value)>| -> BTreeMap<String, (Value, Value)> {
        list.into_iter().map(|(name, class, scope)| (name, (class, scope))).collect()
    };
    assert_eq!(by_name(operations.collect()), by_name(routes.collect()));
}

#[test]
fn every_reference_in_the_openapi_document_leads_somewhere() {
    fn check(document: &Value, part: &Value) {
        match part {
            Value::Object(fields) => {
                if let Some(Value::String(target)) = fields.get("$ref") {
                    let found = document.pointer(target.trim_start_matches('#'));
                    assert!(found.is_some(), "{target}");
                }
                fields.values().for_each(|part| check(document, part));
            }
            Value::Array(parts) => parts.iter().for_each(|part| check(document, part)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    check(&document, &document);
}

#[tokio::test]
async fn the_openapi_document_needs_no_key() {
    let api = Api::start(Options::default()).await;
    let got = api.send(Method::GET, "/openapi.json", &[("x-api-key", "none")], "").await;
    assert_eq!((got.status, got.json()["openapi"].as_str()), (200, Some("3.1.0")));
    assert_eq!(got.headers["content-type"], "application/json");
}

/// Whether answers are as documented, by the schemas that clients would use.
#[tokio::test]
async fn every_answer_of_a_generation_fits_the_schema_of_its_endpoint() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let check = |schema: &str, answer: &Value| {
        let components =
            json!({ "$ref": format!("#/components/schemas/{schema}"), "components": document["components"] });
        let validator = jsonschema::draft202012::new(&components).unwrap();
        let problems: Vec<_> = validator.iter_errors(answer).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{schema}: {problems:?}\n{answer}");
    };
    for format in ["video_remix", "slideshow_remix"] {
        let api = Api::start(Options::default()).await;
        let mut body = brief(&json!({ "seconds": 100, "failVariants": [2] }));
        body["variantCount"] = json!(2);
        body["format"] = json!(format);
        let started = api.generate("k", &body).await;
        check("Accepted", &started.json());
        for seconds in [0, 20, 80] {
            api.step(seconds);
            check("Job", &api.get(&format!("/v1/jobs/{}", started.job())).await.json());
            check("Page", &api.get("/v1/projects/p1/content").await.json());
            for container in started.containers() {
                check("Container", &api.get(&format!("/v1/content/{container}")).await.json());
                check("Progress", &api.get(&format!("/v1/content/{container}/progress")).await.json());
            }
        }
        let path = format!("/v1/content/{}", started.containers()[0]);
        let asset = api.get(&path).await.json()["assets"][0]["assetId"].as_str().unwrap().to_owned();
        check("ContainerAsset", &api.get(&format!("{path}/assets/{asset}")).await.json());
        check("Whoami", &api.get("/v1/whoami").await.json());
        check("Credits", &api.get("/v1/credits").await.json());
        check("Error", &api.get("/v1/nothing").await.json());
    }
}
