//! The file as a JSON Schema (draft 2020-12), made from the types that read it: comments of fields become descriptions, what the reader takes for a single value
//! becomes a form with a name. `text` has the patterns that several forms are put together from. What no field alone says (a rule has a redirect or a proxy) is
//! said by functions beside the types.

pub(super) mod text;

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::Tables;
use super::item::{Item, One, Several};

/// The schema of a file.
pub(crate) fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(as_toml));
    settings.into_generator().into_root_schema_for::<Tables>().to_value()
}

/// What a single value may be.
pub(crate) struct Form {
    name: &'static str,
    schema: Schema,
    note: Option<&'static str>,
}

impl Form {
    /// A text that a pattern is about as a whole.
    pub(super) fn text(name: &'static str, pattern: &str, examples: &[&str]) -> Form {
        let schema = json_schema!({ "type": "string", "pattern": format!("^{pattern}$"), "examples": examples });
        Form { name, schema, note: None }
    }

    /// One of some words.
    pub(super) fn words(name: &'static str, words: &[&str]) -> Form {
        Form { name, note: None, schema: json_schema!({ "type": "string", "enum": words }) }
    }

    /// A number.
    pub(super) fn number(name: &'static str, least: u32, most: u32) -> Form {
        Form { name, note: None, schema: json_schema!({ "type": "integer", "minimum": least, "maximum": most }) }
    }

    /// None of those that this pattern finds.
    pub(super) fn but_not(mut self, pattern: &str) -> Form {
        self.schema.insert("not".into(), json!({ "pattern": pattern }));
        self
    }

    /// More of what it is, in words.
    pub(super) fn note(self, note: &'static str) -> Form {
        Form { note: Some(note), ..self }
    }

    /// Or a number.
    pub(super) fn or_number(self, least: u32, most: u32) -> Form {
        let number = json!({ "type": "integer", "minimum": least, "maximum": most });
        Form { schema: json_schema!({ "anyOf": [number, self.schema] }), ..self }
    }
}

impl<T: Item> JsonSchema for One<T> {
    fn schema_name() -> Cow<'static, str> {
        T::form().name.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let Form { mut schema, note, .. } = T::form();
        let (first, rest) = T::WHAT.split_at(1);
        let note = note.map(|note| format!(" {note}")).unwrap_or_default();
        schema.insert("description".into(), format!("{}{rest}.{note}", first.to_uppercase()).into());
        schema
    }
}

impl<T: Item> JsonSchema for Several<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}-or-list", T::form().name).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<One<T>>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// At least one of these keys is there.
pub(super) fn one_of_keys(keys: &[&str]) -> Value {
    keys.iter().map(|key| json!({ "required": [key] })).collect()
}

/// Where this key is, none of these is.
pub(super) fn key_excludes(key: &str, others: &[&str]) -> Value {
    json!({ "if": { "required": [key] }, "then": { "not": { "anyOf": one_of_keys(others) } } })
}

/// TOML has no `null`: a key that may be left out is left out. The kinds of numbers of Rust are bounds. A paragraph of a comment is one line.
fn as_toml(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = &types[..] {
            let one = one.clone();
            schema.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(forms)) = schema.get_mut("anyOf") {
        forms.retain(|form| *form != json!({ "type": "null" }));
        if let [Value::Object(one)] = &mut forms[..] {
            let one = std::mem::take(one);
            schema.remove("anyOf");
            // What the field says is more than what its kind says.
            for (keyword, value) in one {
                if schema.get(&keyword).is_none() {
                    schema.insert(keyword, value);
                }
            }
        }
    }
    let format = schema.remove("format");
    let most = match format.as_ref().and_then(Value::as_str) {
        Some("uint32") => Some(u32::MAX.into()),
        _ => None,
    };
    if let (Some(most), None) = (most, schema.get("maximum")) {
        schema.insert("maximum".into(), most);
    }
    // No number of TOML is above it.
    if schema.get("maximum") == Some(&u64::MAX.into()) {
        schema.remove("maximum");
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        let paragraphs: Vec<String> = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
        *text = paragraphs.join("\n\n");
    }
}
