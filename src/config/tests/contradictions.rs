//! Values that are fine alone and not together.

use super::*;

#[test]
fn longest_times_are_not_shorter_than_first_ones() {
    let file = "[submit]\nretry_max = \"500ms\"\n[track]\npoll_max = \"1s\"\ngive_up_after = \"30m\"\n\
                [publish]\nretry_initial = \"2m\"\n";
    assert_eq!(
        given(file).refusal(),
        "submit.retry_max = \"500ms\" (briefd.toml:2) is shorter than submit.retry_initial = \"1s\" (default)\n\
         track.poll_max = \"1s\" (briefd.toml:4) is shorter than track.poll_initial = \"2s\" (default)\n\
         track.give_up_after = \"30m\" (briefd.toml:5) is shorter than track.overdue_after = \"1h\" (default)\n\
         publish.retry_max = \"1m\" (default) is shorter than publish.retry_initial = \"2m\" (briefd.toml:7)"
    );
}

#[test]
fn a_key_is_given_once() {
    let both = given("[layers]\napi_key_file = \"/run/key\"\n").env(&[("LAYERS_API_KEY", "sk-live-1")]);
    assert_eq!(
        both.refusal(),
        "layers.api_key (LAYERS_API_KEY) and layers.api_key_file = \"/run/key\" (briefd.toml:2) are both set; \
         keep one of them"
    );
}

#[test]
fn plain_http_goes_only_to_this_machine() {
    assert_eq!(
        given("[layers]\nbase_url = \"http://10.0.0.7:8080\"\n").refusal(),
        "layers.base_url = \"http://10.0.0.7:8080\" (briefd.toml:2) is plain http to another machine, where the \
         API key can be read on the way; use https, or set layers.allow_http = true"
    );
    for url in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:1"] {
        given("").env(&[("BRIEFD__LAYERS__BASE_URL", url)]).loaded();
    }
    given("[layers]\nbase_url = \"http://10.0.0.7\"\nallow_http = true\n").loaded();
}

#[test]
fn a_base_url_keeps_its_prefix_and_ends_in_a_slash() {
    let url = |text| given("").env(&[("BRIEFD__LAYERS__BASE_URL", text)]).settings().layers.base_url;
    assert_eq!(
        url("https://gateway.example.com/layers").join("v1/whoami").unwrap().path(),
        "/layers/v1/whoami"
    );
    assert_eq!(url("https://gateway.example.com/layers/").path(), "/layers/");
}

#[test]
fn tls_files_go_together_and_with_amqps() {
    assert_eq!(
        given("[amqp]\nurl = \"amqps://h/v\"\ncert_file = \"c.pem\"\n").refusal(),
        "amqp.cert_file = \"c.pem\" (briefd.toml:3) needs amqp.key_file, which is not set"
    );
    assert_eq!(
        given("[amqp]\nurl = \"amqps://h/v\"\nkey_file = \"k.pem\"\n").refusal(),
        "amqp.key_file = \"k.pem\" (briefd.toml:3) needs amqp.cert_file, which is not set"
    );
    assert_eq!(
        given("[amqp]\nca_file = \"ca.pem\"\n").refusal(),
        "amqp.ca_file = \"ca.pem\" (briefd.toml:2) is for TLS, but amqp.url (default) is amqp://, which is not \
         encrypted; use amqps://"
    );
}

#[test]
fn queues_and_exchanges_are_kept_apart() {
    assert_eq!(
        given("[amqp.dead_letter]\nqueue = \"briefs\"\nexchange = \"containers\"\n").refusal(),
        "amqp.input.queue = \"briefs\" (default) is also amqp.dead_letter.queue = \"briefs\" (briefd.toml:2); \
         dead letters would come in again as briefs\n\
         amqp.dead_letter.exchange = \"containers\" (briefd.toml:3) is also amqp.output.exchange = \
         \"containers\" (default); they are exchanges of different kinds"
    );
    given("[amqp]\ndeclare = false\n[amqp.output]\nexchange = \"briefs\"\n").loaded();
}

#[test]
fn nothing_is_compared_with_a_value_that_was_refused() {
    assert_eq!(
        given("[track]\npoll_max = \"soon\"\n").refusal(),
        "briefd.toml:2: track.poll_max = \"soon\": expected a duration as text with a unit, such as \"2s\", \
         \"500ms\" or \"24h\""
    );
}
