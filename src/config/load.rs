//! From files, variables and flags to [`Settings`], with the origin of each value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::config::{Config, Value, ValueKind};

use super::amqp::BrokerUrl;
use super::error::{ConfigError, ConfigErrors};
use super::layer::{Layer, dotted};
use super::reader::Reader;
use super::schema::{BUILT_IN, DEFAULT_TOML, Schema};
use super::value::{find, holds_key, json, text};
use super::{Amqp, Http, Intake, Layers, Ledger, Log, Publish, Settings, Shutdown, Submit, Track};

/// A project id or an alias for one: as long as the API takes it.
const PROJECT_BYTES_MAX: usize = 200;

/// The variable that names the settings file when no flag does.
const FILE_VARIABLE: &str = "BRIEFD_CONFIG";

/// Where settings come from. Has no `Debug`: variables hold secrets.
#[derive(Clone, Default)]
pub struct Inputs {
    /// `--config FILE`; without it `$BRIEFD_CONFIG`.
    pub config_file: Option<PathBuf>,
    /// The environment: `BRIEFD__SECTION__KEY`, `LAYERS_API_KEY`, `BRIEFD_CONFIG`. Others are ignored.
    pub env: BTreeMap<String, String>,
    /// Flags of the command line, by key: `("ledger.url", "sqlite://x.db")`.
    pub flags: Vec<(String, String)>,
}

impl Inputs {
    /// With the environment of this process.
    pub fn from_process(config_file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let env = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        Self { config_file, env, flags }
    }
}

/// Checked settings, and what was set where.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program works with.
    pub settings: Settings,
    /// Each key with its value and origin, in the order of `config/default.toml`, secrets redacted.
    pub values: Vec<Shown>,
}

/// One setting as people may see it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Shown {
    /// `amqp.input.queue`; names of projects with dots are quoted.
    pub key: String,
    /// The value, redacted if it is a secret.
    pub value: serde_json::Value,
    /// `default`, `briefd.toml:7`, a variable, or a flag.
    pub origin: String,
}

/// Reads all layers and checks them. Reports everything that is wrong at once.
pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigErrors> {
    load_over(inputs, file_layer(inputs))
}

/// The same, with the file read already.
pub(super) fn load_over(
    inputs: &Inputs,
    file: Result<Option<Layer>, ConfigError>,
) -> Result<Loaded, ConfigErrors> {
    let defaults = Layer::from_toml(DEFAULT_TOML, None)?;
    let schema = Schema::new(&defaults);
    let mut problems = Vec::new();
    let mut layers = vec![defaults];
    match file {
        Ok(layer) => layers.extend(layer),
        Err(problem) => problems.push(problem),
    }
    layers.push(Layer::from_api_key_variable(&inputs.env));
    layers.push(Layer::from_env(&inputs.env, &schema));
    layers.push(Layer::from_flags(&inputs.flags, &schema));

    let is_file_unusable = !problems.is_empty();
    for layer in &mut layers {
        problems.extend(layer.take_misplaced(&schema));
    }
    if is_file_unusable {
        // Values would be compared with defaults that the file replaces.
        return Err(ConfigErrors(problems));
    }
    let mut builder = Config::builder();
    for layer in layers {
        builder = builder.add_source(layer);
    }
    // Cannot fail: our layers are read already. Its message would not hold a value.
    let merged = builder.build().map_err(|error| ConfigError::Contradiction(error.to_string()))?.cache;
    match settings(&merged) {
        Ok(settings) if problems.is_empty() => Ok(Loaded { settings, values: show(&merged, &schema) }),
        Ok(_) => Err(ConfigErrors(problems)),
        Err(ConfigErrors(more)) => {
            problems.extend(more);
            Err(ConfigErrors(problems))
        }
    }
}

fn file_layer(inputs: &Inputs) -> Result<Option<Layer>, ConfigError> {
    let from_env = inputs.env.get(FILE_VARIABLE).filter(|path| !path.is_empty()).map(Path::new);
    let (path, given_by) = match (&inputs.config_file, from_env) {
        (Some(path), _) => (path.as_path(), "--config"),
        (None, Some(path)) => (path, FILE_VARIABLE),
        (None, None) => return Ok(None),
    };
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        given_by,
        source,
    })?;
    Layer::from_toml(&text, Some(&path.display().to_string())).map(Some)
}

fn settings(merged: &Value) -> Result<Settings, ConfigErrors> {
    let mut reader = Reader::new(merged);
    let amqp = Amqp::read(&mut reader);
    let layers = Layers::read(&mut reader);
    let projects = read_projects(&mut reader);
    let ledger = Ledger::read(&mut reader);
    let intake = Intake::read(&mut reader);
    let submit = Submit::read(&mut reader);
    let track = Track::read(&mut reader);
    let publish = Publish::read(&mut reader);
    let shutdown = Shutdown::read(&mut reader);
    let http = Http::read(&mut reader);
    let log = Log::read(&mut reader);
    let settings = layers.map(|layers| Settings {
        amqp,
        layers,
        projects,
        ledger,
        intake,
        submit,
        track,
        publish,
        shutdown,
        http,
        log,
    });
    reader.finish(settings)
}

fn read_projects(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let is_id =
        |text: &str| (1..=PROJECT_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
    let mut projects = BTreeMap::new();
    for (alias, value) in reader.map("projects") {
        let id = match text(value).filter(|id| is_id(id)) {
            None => Err("a project id as text of 1 to 200 bytes without control characters"),
            Some(_) if alias == "other" => {
                Err("another alias: metrics count projects without one as \"other\"")
            }
            Some(_) if !is_id(&alias) => Err("an alias of 1 to 200 bytes without control characters"),
            Some(id) => Ok(id.to_owned()),
        };
        match id {
            Ok(id) => _ = projects.insert(alias, id),
            Err(expected) => reader.reject_entry("projects", &alias, value, expected),
        }
    }
    for (alias, id) in &projects {
        let namesake = projects
            .iter()
            .find(|(other, other_id)| *other != alias && *other_id == alias && *other_id != id);
        if let Some((other, _)) = namesake {
            reader.contradiction(format!(
                "projects: the alias {alias:?} is also the project id behind the alias {other:?}; briefs for that \
                 project would go to another one; rename the alias",
            ));
        }
    }
    projects
}

fn show(merged: &Value, schema: &Schema) -> Vec<Shown> {
    let mut values = Vec::new();
    for slot in &schema.0 {
        let Some(value) = find(merged, slot.path.iter().map(String::as_str)) else { continue };
        if let (true, ValueKind::Table(table)) = (slot.is_map, &value.kind) {
            let mut names: Vec<&String> = table.keys().collect();
            names.sort();
            for name in names {
                let path: Vec<String> = slot.path.iter().chain([name]).cloned().collect();
                values.extend(table.get(name).map(|value| shown(&path, value)));
            }
        } else {
            values.push(shown(&slot.path, value));
        }
    }
    values
}

fn shown(path: &[String], value: &Value) -> Shown {
    let key = dotted(path);
    let redacted = match (key.as_str(), text(value)) {
        ("layers.api_key", Some(key)) if !key.is_empty() => Some("[redacted]".to_owned()),
        ("amqp.url", Some(url)) => {
            Some(BrokerUrl::parse(url).map_or_else(|_| "[redacted]".to_owned(), |url| url.without_password))
        }
        (_, _) => holds_key(&json(value).to_string()).then(|| "[redacted]".to_owned()),
    };
    let origin = value.origin().unwrap_or(BUILT_IN).to_owned();
    Shown { key, value: redacted.map_or_else(|| json(value), Into::into), origin }
}
