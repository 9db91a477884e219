//! Keys and values that are refused, with the words that say what fits.

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
    is_refused("submit.concurrency = 0", "submit.concurrency = 0: expected a whole number from 1 to 1024");
    is_refused("publish.concurrency = 0", "publish.concurrency = 0: expected a whole number from 1 to 10000");
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
    is_refused("layers.auth = \"basic\"", "layers.auth = \"basic\": expected \"x-api-key\" or \"bearer\"");
    is_refused("log.format = \"yaml\"", "log.format = \"yaml\": expected \"text\" or \"json\"");
    is_refused("layers.organization = 2026-01-01", "layers.organization = (a date): expected text in quotes");
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
        is_refused(&format!("log.level = {level:?}"), &format!("log.level = {level:?}: expected {expected}"));
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
