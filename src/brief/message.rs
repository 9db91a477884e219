//! The message as people write it: the published JSON Schema comes from these types, and the same schema judges
//! every brief. Doc comments below are the schema's descriptions.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// The JSON Schema (2020-12) of a brief message; strict: it allows no unknown fields.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<BriefMessage>().to_value();
    drop_number_formats(&mut schema);
    schema
}

/// `"format": "uint32"` is Rust's, not JSON's: the limits beside it say the same.
pub(crate) fn drop_number_formats(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                object.shift_remove("format");
            }
            object.values_mut().for_each(drop_number_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_number_formats),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// One campaign brief for briefd: the Layers API's request fields plus routing fields, flat. UTF-8 JSON, one object.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, title = "briefd brief message")]
#[expect(
    dead_code,
    reason = "only its schema is used; messages keep their bytes and are never made into this"
)]
struct BriefMessage {
    /// The Layers project, or an alias of it from briefd's settings. At most 200 bytes, no control characters.
    #[schemars(length(min = 1, max = 200))]
    project_id: String,
    /// Groups briefs, across projects. At most 200 bytes, no control characters.
    #[schemars(length(min = 1, max = 200))]
    batch_id: Option<String>,
    /// Identity within project and batch; default: a hash of the content. At most 200 bytes, no control characters.
    #[schemars(length(min = 1, max = 200))]
    brief_id: Option<String>,
    /// Which run of this brief is asked for; default 1. The `run` of its failed record, plus one, asks for a rerun.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    run: Option<u32>,
    /// How many briefs the batch has; needs `batchId`. Any message may carry it, the first one counts.
    #[schemars(range(min = 1))]
    batch_size: Option<u64>,
    /// 0 to 9, default 4; higher is started first.
    #[schemars(range(min = 0, max = 9))]
    priority: Option<u8>,
    /// Not submitted before this time: ISO 8601 with `Z` or an offset.
    #[schemars(extend("format" = "date-time"))]
    not_before: Option<String>,
    /// Fails with `EXPIRED` if it could not be submitted by this time: ISO 8601 with `Z` or an offset.
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
    /// What is made; default `auto`.
    format: Option<Format>,
    /// How many variants are made, each a container of its own; default 1.
    #[schemars(range(min = 1, max = 5))]
    variant_count: Option<u8>,
    /// What the content is about.
    brief: BriefContent,
    /// Posts and assets to go by.
    references: Option<References>,
    /// Platforms the content is made for; overrides the brief's.
    target_platforms: Option<Vec<Platform>>,
    /// The project layer to generate with.
    project_layer_id: Option<String>,
    /// What it may cost.
    budget: Option<Budget>,
    /// Any object of your own; echoed on every record, and no part of the brief's identity.
    metadata: Option<Map<String, Value>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Format {
    Auto,
    VideoRemix,
    SlideshowRemix,
    UgcRemix,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Platform {
    Instagram,
    Tiktok,
    Youtube,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct BriefContent {
    /// What it is about.
    topic: Option<String>,
    /// From which side.
    angle: Option<String>,
    /// Call to action.
    cta: Option<String>,
    /// What speaks for the product.
    #[schemars(length(max = 20))]
    value_propositions: Option<Vec<String>>,
    /// How it opens.
    hook: Option<String>,
    /// Platforms the content is made for.
    target_platforms: Option<Vec<Platform>>,
    /// Who presents it.
    influencer_id: Option<String>,
    /// Tags of the theme.
    theme_tags: Option<Vec<String>>,
    /// Media to go by.
    reference_media_ids: Option<Vec<String>>,
    /// Language, BCP 47: `en`, `pt-BR`.
    language: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct References {
    /// Posts to remix.
    #[schemars(length(max = 20))]
    source_post_ids: Option<Vec<String>>,
    /// Assets to use.
    asset_ids: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Budget {
    /// Most credits that it may cost.
    #[schemars(range(min = 0))]
    max_credits: Option<u64>,
}
