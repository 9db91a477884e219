//! What holds without any settings, and that the files people begin with work.

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
