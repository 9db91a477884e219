//! Settings as people give them: what wins, what is refused and with which words, and that secrets stay secret.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::layers::{ApiKey, Auth, Tier};
use super::log::LogFormat;
use super::work::Validation;
use super::*;

/// The settings that users may rely on, with their defaults.
const PROMISED: &str = r#"
[amqp]
url = "amqp://guest:guest@127.0.0.1:5672/%2f"
ca_file = ""
cert_file = ""
key_file = ""
prefetch = 500
heartbeat = "10s"
declare = true
[amqp.input]
exchange = "briefs"
queue = "briefs"
routing_key = "brief"
delivery_limit = 100
[amqp.output]
exchange = "containers"
optional = ["batch.finished"]
[amqp.dead_letter]
exchange = "briefs.dead"
queue = "briefs.dead"

[layers]
base_url = "https://api.layers.com"
allow_http = false
ca_file = ""
api_key = ""
api_key_file = ""
auth = "x-api-key"
organization = ""
tier = "auto"
connect_timeout = "5s"
request_timeout = "30s"
max_response_bytes = "8MiB"
send_container_id = true
max_running_jobs = 0

[projects]

[ledger]
url = "sqlite://briefd.db"
keep_finished = "90d"

[intake]
max_message_bytes = "256KiB"
max_backlog = 100000
validation = "strict"
identity = "content"

[submit]
concurrency = 32
repeat_after = "60s"
retry_initial = "1s"
retry_max = "5m"
probe_interval = "1m"
stop_after_refusals = 20
[track]
poll_initial = "2s"
poll_factor = 1.3
poll_max = "10s"
sweep_interval = "3s"
overdue_after = "1h"
give_up_after = "3d"
[publish]
concurrency = 256
confirm_timeout = "30s"
retry_initial = "1s"
retry_max = "1m"
[shutdown]
grace = "20s"
[http]
listen = "127.0.0.1:9464"
[log]
format = "text"
level = "info"
"#;

const PRODUCTION_TOML: &str = include_str!("../../config/production.toml");

/// Inputs under construction; the file is written where the test's directory is, and shown as `briefd.toml`.
struct Given {
    directory: tempfile::TempDir,
    inputs: Inputs,
}

fn given(file: &str) -> Given {
    let directory = tempfile::tempdir().unwrap();
    let mut inputs = Inputs::default();
    if !file.is_empty() {
        let path = directory.path().join("briefd.toml");
        std::fs::write(&path, file).unwrap();
        inputs.config_file = Some(path);
    }
    Given { directory, inputs }
}

impl Given {
    fn env(mut self, variables: &[(&str, &str)]) -> Self {
        self.inputs
            .env
            .extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.inputs.flags.push((key.to_owned(), value.to_owned()));
        self
    }

    fn loaded(&self) -> Loaded {
        load(&self.inputs).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn settings(&self) -> Settings {
        self.loaded().settings
    }

    /// The whole error text, the directory taken out.
    fn refusal(&self) -> String {
        let errors = load(&self.inputs).unwrap_err();
        errors.to_string().replace(&format!("{}/", self.directory.path().display()), "")
    }

    fn origin(&self, key: &str) -> String {
        let shown = self.loaded().values.into_iter().find(|shown| shown.key == key).unwrap();
        shown.origin.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn keys_and_values(toml: &str) -> Vec<(String, String)> {
    let layer = layer::Layer::from_toml(toml, None).unwrap();
    layer
        .entries
        .into_iter()
        .filter(|entry| !matches!(entry.kind, ::config::ValueKind::Table(_)))
        .map(|entry| (entry.path.join("."), entry.kind.to_string()))
        .collect()
}

mod defaults {
    use super::*;

    #[test]
    fn they_are_the_promised_ones_and_no_others_in_the_promised_order() {
        assert_eq!(keys_and_values(DEFAULT_TOML), keys_and_values(PROMISED));
    }

    #[test]
    fn every_key_has_its_reason_beside_or_directly_above() {
        let lines: Vec<&str> = DEFAULT_TOML.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let is_key = !line.starts_with(['#', '[']) && line.contains('=');
            if is_key {
                let above = index.checked_sub(1).map_or("", |above| lines[above]);
                assert!(line.contains(" # ") || above.starts_with("# "), "no reason: {line}");
            }
        }
    }

    #[test]
    fn the_keys_without_a_default_are_shown_commented_out_and_work_when_taken_in() {
        let mut text = String::new();
        for line in DEFAULT_TOML.lines() {
            let uncommented = line.strip_prefix("# ").unwrap_or(line);
            let is_example = uncommented.starts_with('[')
                || ["reads = ", "writes = ", "starts = ", "window = ", "video_remix = ", "acme-fit = "]
                    .iter()
                    .any(|key| uncommented.starts_with(key));
            text.push_str(if is_example { uncommented } else { line });
            text.push('\n');
        }
        let settings = given(&text).settings();
        let limits = settings.layers.limits;
        assert_eq!((limits.reads, limits.writes, limits.starts), (Some(120), Some(60), Some(20)));
        assert_eq!(limits.window, Some(Duration::from_mins(1)));
        assert_eq!(settings.layers.prices["video_remix"], 120);
        assert_eq!(settings.projects["acme-fit"], "254a4ce1-f4ca-42b1-9e36-17ca45ef3d39");
    }

    #[test]
    fn they_load_by_themselves() {
        let settings = Settings::builtin();
        assert_eq!(settings.amqp.address, "127.0.0.1:5672/%2f");
        assert_eq!(settings.amqp.heartbeat, Duration::from_secs(10));
        assert_eq!(settings.layers.base_url.as_str(), "https://api.layers.com/");
        assert_eq!((settings.layers.auth, settings.layers.tier), (Auth::XApiKey, Tier::Auto));
        assert_eq!(settings.layers.max_response_bytes, 8 << 20);
        assert_eq!(settings.ledger.path, PathBuf::from("briefd.db"));
        assert_eq!(settings.intake.max_message_bytes, 256 << 10);
        assert_eq!(settings.intake.validation, Validation::Strict);
        assert_eq!(settings.track.give_up_after, Duration::from_hours(72));
        assert!((settings.track.poll_factor - 1.3).abs() < 1e-9);
        assert_eq!(settings.log.format, LogFormat::Text);
        assert!(settings.amqp.ca_file.is_none() && settings.projects.is_empty());
    }

    #[test]
    fn the_production_example_loads() {
        let settings = given(PRODUCTION_TOML).settings();
        assert_eq!(settings.amqp.address, "rabbitmq.example.com:5671/marketing");
        assert_eq!(settings.ledger.path, PathBuf::from("/var/lib/briefd/briefd.db"));
        assert!(matches!(settings.layers.api_key, ApiKey::File(_)));
        assert!(settings.amqp.output.optional.is_empty());
    }
}

mod layering {
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
}

mod refusals {
    use super::*;

    #[test]
    fn every_unknown_key_is_named_at_once_with_the_nearest_known_one() {
        let file = "[amqp]\nprefech = 5\n\n[layer]\nbase_url = \"x\"\n\n[AMQP.input]\nqueue = \"q\"\n\n\
                    [intake]\nrepeat_after = 4\n\n[sumbit]\n";
        let refused = given(file)
            .env(&[("BRIEFD__AMQP__INPUT__QUEU", "q"), ("BRIEFD__", "x"), ("BRIEFD__AMQP__FOO_BAR_BAZ", "x")])
            .flag("log.fromat", "text");
        assert_eq!(
            refused.refusal(),
            "briefd.toml:2: unknown key amqp.prefech; did you mean amqp.prefetch?\n\
             briefd.toml:5: unknown key layer.base_url; did you mean layers.base_url?\n\
             briefd.toml:8: unknown key AMQP.input.queue; did you mean amqp.input.queue?\n\
             briefd.toml:11: unknown key intake.repeat_after; did you mean submit.repeat_after?\n\
             briefd.toml:13: unknown key sumbit; did you mean [submit]?\n\
             BRIEFD__: unknown key \"\"; the sections are: amqp, layers, projects, ledger, intake, submit, track, \
             publish, shutdown, http, log\n\
             BRIEFD__AMQP__FOO_BAR_BAZ: unknown key amqp.foo_bar_baz; amqp has: url, ca_file, cert_file, key_file, \
             prefetch, heartbeat, declare, input, output, dead_letter\n\
             BRIEFD__AMQP__INPUT__QUEU: unknown key amqp.input.queu; did you mean amqp.input.queue?\n\
             command line (log.fromat): unknown key log.fromat; did you mean log.format?"
        );
    }

    #[test]
    fn every_bad_value_is_named_at_once_with_what_fits() {
        let file = "[amqp]\nprefetch = 3.7\nheartbeat = 10\n[amqp.input]\nqueue = true\n[layers]\n\
                    max_response_bytes = \"lots\"\ntier = \"gold\"\n[layers.prices]\nugc_remix = -1\n\
                    [intake]\nmax_backlog = \"500\"\n[track]\npoll_factor = 0.5\n";
        let refused =
            given(file).env(&[("BRIEFD__SUBMIT__CONCURRENCY", "many"), ("BRIEFD__SHUTDOWN__GRACE", "2")]);
        assert_eq!(
            refused.refusal(),
            "briefd.toml:2: amqp.prefetch = 3.7: expected a whole number from 1 to 65535\n\
             briefd.toml:3: amqp.heartbeat = 10: expected a duration as text with a unit, such as \"2s\", \"500ms\" \
             or \"24h\"\n\
             briefd.toml:5: amqp.input.queue = true: expected text in quotes\n\
             briefd.toml:8: layers.tier = \"gold\": expected \"auto\", \"standard\", \"pilot\", \"partner\" or \
             \"unlimited\"\n\
             briefd.toml:7: layers.max_response_bytes = \"lots\": expected a size as text, such as \"256KiB\" or \
             \"8MiB\", from 1.0 KiB to 1.0 GiB\n\
             briefd.toml:10: layers.prices.ugc_remix = -1: expected credits as a whole number\n\
             briefd.toml:12: intake.max_backlog = \"500\": expected a whole number from 1 to 100000000\n\
             BRIEFD__SUBMIT__CONCURRENCY: submit.concurrency = \"many\": expected a whole number from 1 to 1024\n\
             briefd.toml:14: track.poll_factor = 0.5: expected a number from 1 to 100\n\
             BRIEFD__SHUTDOWN__GRACE: shutdown.grace = \"2\": expected a duration as text with a unit, such as \
             \"2s\", \"500ms\" or \"24h\""
        );
    }

    /// One line of settings and what is said about it.
    #[track_caller]
    fn is_refused(line: &str, with: &str) {
        let (key, value) = line.split_once(" = ").unwrap();
        let (section, leaf) = key.rsplit_once('.').unwrap();
        let text = given(&format!("[{section}]\n{leaf} = {value}\n")).refusal();
        assert_eq!(text.replace("briefd.toml:2: ", ""), with);
    }

    #[test]
    fn limits_that_would_stop_all_work_are_refused() {
        is_refused("amqp.prefetch = 0", "amqp.prefetch = 0: expected a whole number from 1 to 65535");
        is_refused(
            "submit.concurrency = 0",
            "submit.concurrency = 0: expected a whole number from 1 to 1024",
        );
        is_refused(
            "publish.concurrency = 0",
            "publish.concurrency = 0: expected a whole number from 1 to 10000",
        );
        is_refused(
            "amqp.heartbeat = \"0s\"",
            "amqp.heartbeat = \"0s\": expected a duration from \"1s\" to \"3650d\"",
        );
        is_refused(
            "amqp.heartbeat = \"2h\"",
            "amqp.heartbeat = \"2h\": expected a duration from \"1s\" to \"1h\"",
        );
        is_refused(
            "amqp.input.delivery_limit = 0",
            "amqp.input.delivery_limit = 0: expected a whole number from 1 to 1000000000",
        );
        is_refused(
            "submit.retry_initial = \"0s\"",
            "submit.retry_initial = \"0s\": expected a duration from \"1ms\" to \"3650d\"",
        );
        is_refused(
            "submit.stop_after_refusals = 99999999999999999999",
            "submit.stop_after_refusals = \"99999999999999999999\": expected a whole number from 1 to 1000000",
        );
    }

    #[test]
    fn words_and_names_and_addresses_are_checked() {
        is_refused(
            "intake.validation = \"Strict\"",
            "intake.validation = \"Strict\": expected \"strict\" or \"lenient\"",
        );
        is_refused(
            "intake.identity = \"id\"",
            "intake.identity = \"id\": expected \"content\" or \"message_id\"",
        );
        is_refused(
            "layers.auth = \"basic\"",
            "layers.auth = \"basic\": expected \"x-api-key\" or \"bearer\"",
        );
        is_refused("log.format = \"yaml\"", "log.format = \"yaml\": expected \"text\" or \"json\"");
        is_refused(
            "layers.organization = 2026-01-01",
            "layers.organization = (a date): expected text in quotes",
        );
        is_refused("amqp.output.exchange = \"\"", "amqp.output.exchange = \"\": expected a name");
        is_refused(
            "http.listen = \"localhost\"",
            "http.listen = \"localhost\": expected ADDRESS:PORT, such as \"127.0.0.1:9464\"",
        );
        is_refused(
            "amqp.output.optional = [\"batch.done\"]",
            "amqp.output.optional = [\"batch.done\"]: expected a list of \"container.completed\", \
             \"container.failed\", \"container.canceled\", \"brief.failed\" or \"batch.finished\"",
        );
        is_refused(
            "layers.base_url = \"api.layers.com\"",
            "layers.base_url = \"api.layers.com\": expected an address such as \"https://api.layers.com\"",
        );
        is_refused(
            "layers.base_url = \"https://api.layers.com/?a=b\"",
            "layers.base_url = \"https://api.layers.com/?a=b\": expected an address without ? and #",
        );
        let long = "é".repeat(128);
        is_refused(
            &format!("amqp.input.routing_key = \"{long}\""),
            &format!("amqp.input.routing_key = \"{}…: expected at most 255 bytes, not 256", "é".repeat(79)),
        );
    }

    #[test]
    fn a_filter_that_would_silence_everything_by_a_typo_is_refused() {
        let expected = "error, warn, info, debug, trace or off, or a filter such as \"info,briefd=debug\"";
        for level in ["inof", "", "info,breifd", "briefd=loud"] {
            is_refused(
                &format!("log.level = {level:?}"),
                &format!("log.level = {level:?}: expected {expected}"),
            );
        }
        for level in ["WARN", "info,briefd=debug,lapin=warn", "briefd::stages[step]=trace"] {
            given(&format!("[log]\nlevel = {level:?}\n")).loaded();
        }
    }

    #[test]
    fn a_ledger_is_a_sqlite_file() {
        for (url, path) in [
            ("sqlite://a/b.db", "a/b.db"),
            ("sqlite:b.db", "b.db"),
            ("sqlite:///var/b.db", "/var/b.db"),
            ("sqlite:/var/b.db", "/var/b.db"),
        ] {
            assert_eq!(given("").flag("ledger.url", url).settings().ledger.path, PathBuf::from(path));
        }
        is_refused(
            "ledger.url = \"briefd.db\"",
            "ledger.url = \"briefd.db\": expected a file as \"sqlite://briefd.db\" or \
             \"sqlite:///var/lib/briefd/briefd.db\"",
        );
        is_refused(
            "ledger.url = \"sqlite://\"",
            "ledger.url = \"sqlite://\": expected a file name after sqlite://",
        );
        is_refused(
            "ledger.url = \"sqlite::memory:\"",
            "ledger.url = \"sqlite::memory:\": expected a file: a ledger in memory would forget what was bought",
        );
        is_refused(
            "ledger.url = \"sqlite://b.db?mode=ro\"",
            "ledger.url = \"sqlite://b.db?mode=ro\": expected a file name without ?, # and parameters",
        );
    }

    #[test]
    fn a_section_is_not_a_setting_nor_the_other_way_round() {
        let refused = given("amqp = 3\n[layers.prefetch]\n[log]\nlevel = {}\n[projects]\nacme.fit = \"p\"\n");
        assert_eq!(
            refused.refusal(),
            "briefd.toml:1: amqp is a section, not a setting: set the keys in it\n\
             briefd.toml:2: unknown key layers.prefetch; did you mean amqp.prefetch?\n\
             briefd.toml:4: log.level is a setting, not a section\n\
             briefd.toml:6: unknown key projects.acme.fit; put a name with dots in quotes: projects.\"…\""
        );
    }

    #[test]
    fn aliases_cannot_be_confused() {
        assert_eq!(
            given("[projects]\nfit = \"run\"\nrun = \"p-2\"\nsame = \"same\"\n").refusal(),
            "projects: the alias \"run\" is also the project id behind the alias \"fit\"; briefs for that project \
             would go to another one; rename the alias"
        );
        is_refused(
            "projects.fit = \"\"",
            "projects.fit = \"\": expected a project id as text of 1 to 200 bytes without control characters",
        );
        is_refused(
            "projects.other = \"p-1\"",
            "projects.other = \"p-1\": expected another alias: metrics count projects without one as \"other\"",
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_who_named_it() {
        let mut refused = given("").env(&[("BRIEFD__FOO", "x")]);
        refused.inputs.config_file = Some(refused.directory.path().join("no.toml"));
        let text = refused.refusal();
        assert!(
            text.starts_with(
                "no.toml: the settings file given by --config cannot be read: No such file or directory"
            ),
            "{text}"
        );
        assert!(text.contains("\nBRIEFD__FOO: unknown key foo;"), "{text}");
    }
}

mod contradictions {
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
}

mod broker_url {
    use super::*;

    #[track_caller]
    fn is_refused(url: &str, expected: &str) {
        let text = given("").env(&[("BRIEFD__AMQP__URL", url)]).refusal();
        assert_eq!(text, format!("BRIEFD__AMQP__URL: amqp.url = (not shown): expected {expected}"));
    }

    #[test]
    fn its_address_has_host_port_and_vhost_only() {
        for (url, address) in [
            ("amqp://user:secret@mq.example.com:5673/team%2fa", "mq.example.com:5673/team%2fa"),
            ("amqps://user:secret@mq.example.com/team", "mq.example.com:5671/team"),
            ("amqp://mq.example.com", "mq.example.com:5672/%2f"),
            ("amqp://user:secret@10.1.2.3/team?frame_max=4096", "10.1.2.3:5672/team"),
        ] {
            let amqp = given("").env(&[("BRIEFD__AMQP__URL", url)]).settings().amqp;
            assert_eq!(amqp.address, address);
            assert_eq!(amqp.url.expose_secret(), url);
        }
    }

    #[test]
    fn a_malformed_one_is_refused_without_being_shown() {
        let form = "an address such as amqp://user:password@host:5672/%2f";
        let encode = "an address whose user, password and vhost are percent-encoded (@ is %40, / is %2f, # is %23, \
                      ? is %3f)";
        is_refused("s3cret", form);
        is_refused("amqp://", form);
        is_refused("amqp://user:s3/cret@host/v", form);
        is_refused("amqp://user:3/cret@host/v", encode);
        is_refused("amqp://user:3#cret@host/v", encode);
        is_refused("amqp://user:3?cret@host/v", encode);
        is_refused("http://user:s3cret@host/v", "an address that starts with amqp:// or amqps://");
        is_refused("amqp://user:s3cret@host/", "an address that names a vhost: /%2f for the default one");
        is_refused("amqp://user:s3cret@[::1]/v", "a host name or an IPv4 address; an IPv6 one needs a name");
    }
}

mod secrets {
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
        assert_eq!(
            refusal(&given("")),
            "no API key: set the variable LAYERS_API_KEY, or layers.api_key_file"
        );
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
}
