//! `briefd config`: what is in force, and where each value comes from.

use std::io::Write;

use crate::config::Loaded;

/// Longest `key = value` that others are aligned to; a longer one pushes its origin to the right.
const ALIGNED_CHARS_MAX: usize = 64;

/// Show the settings in force and where each comes from, secrets redacted.
///
/// The output is TOML: lines can be copied into a settings file.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  briefd config --config config/production.toml")]
pub struct ConfigArgs {
    /// Print a JSON list of {key, value, origin}.
    #[arg(long)]
    json: bool,
}

/// Prints every setting, in the order of the built-in defaults.
pub fn run(args: &ConfigArgs, loaded: &Loaded, out: &mut impl Write) -> anyhow::Result<()> {
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &loaded.values)?;
        writeln!(out)?;
        return Ok(());
    }
    let lines: Vec<(String, &str)> = loaded
        .values
        .iter()
        .map(|shown| (format!("{} = {}", shown.key, shown.value), shown.origin.as_str()))
        .collect();
    let lengths = lines.iter().map(|(line, _)| line.chars().count());
    let width = lengths.filter(|length| *length <= ALIGNED_CHARS_MAX).max().unwrap_or(0);
    for (line, origin) in lines {
        writeln!(out, "{line:width$}  # {origin}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, load};

    fn printed(json: bool) -> String {
        let mut inputs = Inputs::default();
        inputs.env.insert("LAYERS_API_KEY".to_owned(), "sk-live-SECRET".to_owned());
        inputs.env.insert("BRIEFD__PROJECTS__ACME".to_owned(), "p-1".to_owned());
        inputs.flags.push(("log.format".to_owned(), "json".to_owned()));
        let mut out = Vec::new();
        run(&ConfigArgs { json }, &load(&inputs).unwrap(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_value_is_shown_with_its_origin_and_the_result_is_toml() {
        let text = printed(false);
        assert!(!text.contains("SECRET"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in [
            "amqp.url = \"amqp://guest:[redacted]@127.0.0.1:5672/%2f\" # default",
            "amqp.output.optional = [\"batch.finished\"] # default",
            "layers.api_key = \"[redacted]\" # LAYERS_API_KEY",
            "layers.api_key_file = \"\" # default",
            "projects.acme = \"p-1\" # BRIEFD__PROJECTS__ACME",
            "track.poll_factor = 1.3 # default",
            "log.format = \"json\" # --log-format",
        ] {
            assert!(lines.iter().any(|shown| shown == line), "{line} not in:\n{text}");
        }
        assert_eq!(lines.first().map(|line| &line[..8]), Some("amqp.url"));
        assert!(toml::de::DeTable::parse(&text).is_ok(), "{text}");
    }

    #[test]
    fn json_is_a_list_of_key_value_and_origin() {
        let list: Vec<serde_json::Value> = serde_json::from_str(&printed(true)).unwrap();
        let prefetch = list.iter().find(|shown| shown["key"] == "amqp.prefetch").unwrap();
        assert_eq!(prefetch, &serde_json::json!({"key": "amqp.prefetch", "value": 500, "origin": "default"}));
    }
}
