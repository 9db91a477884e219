//! Secrets stay secret, wherever they were put.

use super::*;

const KEY: &str = "sk-live-SECRET";

#[test]
fn a_key_is_in_no_debug_output_and_no_shown_value() {
    let loaded = given("")
        .env(&[("LAYERS_API_KEY", KEY), ("BRIEFD__AMQP__URL", "amqp://u:sk-live-SECRET@h/v?x=SECRET")])
        .loaded();
    for text in [format!("{loaded:?}"), serde_json::to_string(&loaded.values).unwrap()] {
        assert!(!text.contains("SECRET"), "{text}");
    }
    let value = |key: &str| loaded.values.iter().find(|shown| shown.key == key).unwrap().value.clone();
    assert_eq!(value("layers.api_key"), "[redacted]");
    assert_eq!(value("amqp.url"), "amqp://u:[redacted]@h/v");
}

#[test]
fn a_key_is_in_no_error_wherever_it_was_put() {
    for file in [
        format!("[layers]\napi_key = \"{KEY}\n"),
        format!("[layers]\napi_key = {KEY}\n"),
        format!("[layers]\napi_key = '{KEY}' x\n"),
        format!("[layers]\napi_key = \"{KEY}\"\napi_key = \"{KEY}\"\n"),
        format!("[layers]\napi_key = \"{KEY}\\q\"\n"),
        format!("[layers]\napi_key = [\"{KEY}\"]\n"),
        format!("[layers]\napi_key = {{ value = \"{KEY}\" }}\n"),
        format!("[layers]\napi_key = \"{KEY}é\"\n"),
        format!("[layers]\napikey = \"{KEY}\"\n"),
        format!("[layer]\napi_key = \"{KEY}\"\n"),
        format!("layers = \"{KEY}\"\n"),
        format!("[layers]\nbase_url = \"https://u:{KEY}@api.layers.com\"\n"),
        format!("[layers]\nbase_url = \"htps://u:{KEY}@api.layers.com\"\n"),
        format!("[layers]\nbase_url = \"https://u:{KEY}@api layers\"\n"),
        format!("[amqp]\nurl = \"amqp://u:{KEY}@:x/\"\n"),
        format!("[amqp]\nurl = [\"amqp://u:{KEY}@h/\"]\n"),
        format!("[ledger]\nurl = \"postgres://u:{KEY}@h/db\"\n"),
    ] {
        let errors = load(&given(&file).inputs).unwrap_err();
        for text in [errors.to_string(), format!("{errors:?}")] {
            assert!(!text.contains("SECRET"), "{file}\n{text}");
        }
    }
}

#[test]
fn what_looks_like_an_api_key_is_shown_nowhere() {
    let key = "lp_live_0123456789";
    for url in [format!("https://api.layers.com/?key={key}"), format!("ht!tp:{key}")] {
        let text = given("").env(&[("BRIEFD__LAYERS__BASE_URL", &url)]).refusal();
        assert!(text.contains("layers.base_url = (not shown)"), "{text}");
    }
    let loaded = given("").env(&[("BRIEFD__LAYERS__ORGANIZATION", key)]).loaded();
    assert!(!serde_json::to_string(&loaded.values).unwrap().contains(key));
}

#[test]
fn a_syntax_error_names_line_and_column() {
    assert_eq!(
        given("[layers]\napi_key = sk-live-SECRET\n").refusal(),
        "briefd.toml:2:11: not TOML: string values must be quoted, expected literal string"
    );
}

#[test]
fn commands_that_need_a_key_say_how_to_give_one() {
    let refusal = |given: &Given| given.settings().require_api_key().unwrap_err().to_string();
    assert_eq!(refusal(&given("")), "no API key: set the variable LAYERS_API_KEY, or layers.api_key_file");
    assert_eq!(
        refusal(&given("").env(&[("LAYERS_API_KEY", "  ")])),
        "no API key: set the variable LAYERS_API_KEY, or layers.api_key_file"
    );
    given("").env(&[("LAYERS_API_KEY", KEY)]).settings().require_api_key().unwrap();

    let mut from_file = given("");
    let file = from_file.directory.path().join("key");
    let variable = ("BRIEFD__LAYERS__API_KEY_FILE".to_owned(), file.display().to_string());
    from_file.inputs.env.extend([variable]);
    let text = refusal(&from_file);
    assert!(text.starts_with("no API key: the file of layers.api_key_file, "), "{text}");
    assert!(text.contains("cannot be read: No such file"), "{text}");
    std::fs::write(&file, "\n").unwrap();
    assert!(refusal(&from_file).ends_with("is empty"));
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    from_file.settings().require_api_key().unwrap();
}
