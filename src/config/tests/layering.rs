//! What wins over what, and where a value came from.

use super::*;

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let file = "[amqp]\nprefetch = 100\n[amqp.input]\nqueue = \"from-file\"\n[log]\nformat = \"json\"\n";
    let layers = given(file)
        .env(&[("BRIEFD__AMQP__INPUT__QUEUE", "from-env"), ("BRIEFD__LEDGER__URL", "sqlite://env.db")])
        .flag("ledger.url", "sqlite:flag.db")
        .flag("log.format", "text");
    let settings = layers.settings();
    assert_eq!(settings.amqp.prefetch, 100);
    assert_eq!(settings.amqp.input.queue, "from-env");
    assert_eq!(settings.amqp.input.exchange, "briefs");
    assert_eq!(settings.ledger.path, PathBuf::from("flag.db"));
    assert_eq!(settings.log.format, LogFormat::Text);
    assert_eq!(layers.origin("amqp.prefetch"), "briefd.toml:2");
    assert_eq!(layers.origin("amqp.input.queue"), "BRIEFD__AMQP__INPUT__QUEUE");
    assert_eq!(layers.origin("amqp.input.exchange"), "default");
    assert_eq!(layers.origin("ledger.url"), "--ledger");
    assert_eq!(layers.origin("log.format"), "--log-format");
}

#[test]
fn the_file_may_be_named_by_a_variable_and_the_flag_wins() {
    let mut layers = given("[submit]\nconcurrency = 3\n");
    let file = layers.inputs.config_file.take().unwrap();
    layers.inputs.env.insert("BRIEFD_CONFIG".to_owned(), file.display().to_string());
    assert_eq!(layers.settings().submit.concurrency, 3);
    let other = given("[submit]\nconcurrency = 4\n");
    layers.inputs.config_file.clone_from(&other.inputs.config_file);
    assert_eq!(layers.settings().submit.concurrency, 4);
}

#[test]
fn the_api_key_variable_is_below_the_setting_of_that_name() {
    let key = |variables: &[(&str, &str)]| match given("").env(variables).settings().layers.api_key {
        ApiKey::Given(key) => key.expose_secret().to_owned(),
        ApiKey::File(path) => panic!("{}", path.display()),
    };
    assert_eq!(key(&[("LAYERS_API_KEY", "sk-a")]), "sk-a");
    assert_eq!(key(&[("LAYERS_API_KEY", "sk-a"), ("BRIEFD__LAYERS__API_KEY", "sk-b")]), "sk-b");
}

#[test]
fn variables_are_read_as_what_their_key_holds_and_text_stays_text() {
    let settings = given("")
        .env(&[
            ("BRIEFD__AMQP__PREFETCH", "7"),
            ("BRIEFD__AMQP__DECLARE", "false"),
            ("BRIEFD__AMQP__INPUT__QUEUE", "1e5"),
            ("BRIEFD__LAYERS__API_KEY", "00123"),
            ("BRIEFD__TRACK__POLL_FACTOR", "2"),
            ("BRIEFD__AMQP__OUTPUT__OPTIONAL", "batch.finished, brief.failed"),
            ("BRIEFD__LAYERS__LIMITS__READS", "1000"),
            ("BRIEFD__LAYERS__PRICES__VIDEO_REMIX", "90"),
            ("BRIEFD__PROJECTS__ACME", "p-1"),
        ])
        .settings();
    assert_eq!(settings.amqp.prefetch, 7);
    assert!(!settings.amqp.declare);
    assert_eq!(settings.amqp.input.queue, "1e5");
    assert_eq!(settings.layers.api_key.read().unwrap().expose_secret(), "00123");
    assert!((settings.track.poll_factor - 2.0).abs() < 1e-9);
    assert_eq!(settings.amqp.output.optional, ["batch.finished", "brief.failed"]);
    assert_eq!(settings.layers.limits.reads, Some(1000));
    assert_eq!(settings.layers.prices["video_remix"], 90);
    assert_eq!(settings.projects["acme"], "p-1");
}

#[test]
fn an_empty_variable_is_an_empty_value() {
    let layers =
        given("[layers]\napi_key_file = \"/run/key\"\n[amqp.output]\noptional = [\"brief.failed\"]\n")
            .env(&[("BRIEFD__LAYERS__API_KEY_FILE", ""), ("BRIEFD__AMQP__OUTPUT__OPTIONAL", "")]);
    let settings = layers.settings();
    assert!(matches!(settings.layers.api_key, ApiKey::Given(_)));
    assert!(settings.amqp.output.optional.is_empty());
}

#[test]
fn variables_of_other_forms_are_not_settings() {
    let layers = given("").env(&[("BRIEFD_TEST_AMQP_URL", "x"), ("BRIEFD_SEED", "1"), ("PATH", "/bin")]);
    layers.loaded();
}

#[test]
fn aliases_may_hold_dots_when_quoted() {
    let layers = given("[projects]\n\"acme.fit\" = \"p-1\"\n");
    assert_eq!(layers.settings().projects["acme.fit"], "p-1");
    assert_eq!(layers.origin("projects.\"acme.fit\""), "briefd.toml:2");
}
