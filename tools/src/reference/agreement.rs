//! What the reader and the schema say of one file.

use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::super::config_file::{self, Instance, Settings};

/// The schema, ready to be asked.
static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = config_file::schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{error}"));
    jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{error}"))
});

/// What the reader says.
pub(super) fn reader(text: &str) -> Result<(), String> {
    Settings::parse(Path::new("x.toml"), text, &Instance::next()).map(drop).map_err(|fault| fault.to_string())
}

/// What the schema says, as an editor asks it: of what the parser has made of the text.
pub(super) fn schema(text: &str) -> Result<(), String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| format!("no TOML: {error}"))?;
    let file = as_json(toml::Value::Table(table));
    SCHEMA.validate(&file).map_err(|error| format!("{}: {error}", error.instance_path()))
}

/// Dates are texts, as taplo has it.
fn as_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(is) => is.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(as_json).collect(),
        toml::Value::Table(fields) => fields.into_iter().map(|(key, value)| (key, as_json(value))).collect(),
    }
}
