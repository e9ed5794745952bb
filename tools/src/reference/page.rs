//! The reference page, made from the schema: a section for each table, a line for each key. It is of the tests alone, as nobody else writes the page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::super::config_file;
use super::schema_text;

/// What stands before the tables.
const HEAD: &str = "\
# The configuration file, key by key

<!-- Made from the types that read the file: `OXISLIRP_WRITE_REFERENCE=1 cargo test -p oxislirp-tools reference` writes this page and config.schema.json anew. -->

All tables and keys of the file that `OXISLIRP_CONFIG` names. [config.md](config.md) says what the file is and which page tells of which table. A table or a key that is not here
is an error. Where a list is taken, it has at least one value.
";

/// What stands behind the tables.
const EDITORS: &str = "\
## Editors

[config.schema.json](config.schema.json) is this page as a JSON Schema (draft 2020-12). Packages install it as `/usr/share/oxislirp/config.schema.json`, and `oxislirp schema` prints it. Editors with
taplo (Even Better TOML) complete and check a file whose first line names it:

```toml
#:schema /usr/share/oxislirp/config.schema.json
[network]
mtu = 65520
```

What a schema accepts the library may still refuse, and `oxislirp check FILE` says so with line and key:
";

/// What a file can be refused for though the schema takes it. Each has a file in `refusals`.
pub(super) const BEYOND: &[(Beyond, &str)] = &[
    (Beyond::Toml, "the file is no TOML, or has a key twice"),
    (Beyond::Float, "a number is written with a point (`443.0`), which JSON has no other kind of number for"),
    (Beyond::Date, "a date stands where a text has to, which editors take for one"),
    (Beyond::Bits, "an address has bits behind its prefix"),
    (Beyond::Order, "the first port of a range is behind the last one"),
    (Beyond::Rules, "a rule with `redirect` or `proxy` stands behind one with `tls` or `http`"),
    (
        Beyond::Records,
        "a name is an alias in one record and has something else in another, or has more than 16 addresses",
    ),
    (Beyond::Zones, "a zone is there twice"),
    (Beyond::Bytes, "user or password of a proxy has letters of several bytes, more than 255 in all"),
    (Beyond::Scope, "the scope of an address of IPv6 (`%1`) is no number of 32 bits"),
    (Beyond::System, "the file of `hosts`, a folder or a socket is not there or cannot be made"),
];

/// The kinds of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    Toml,
    Float,
    Date,
    Bits,
    Order,
    Rules,
    Records,
    Zones,
    Bytes,
    Scope,
    System,
}

/// A table of the file: where it may stand, and the keys that it has.
struct Table<'a> {
    places: Vec<String>,
    schema: &'a Value,
}

/// The page.
fn page(schema: &Value) -> String {
    let kinds = schema["$defs"].as_object().expect("there are kinds of values");
    let mut tables: Vec<(&str, Table)> = Vec::new();
    collect(schema, kinds, &mut tables, None);
    let mut page = HEAD.to_owned();
    for (_, table) in &tables {
        let (text, _) = parts(table.schema);
        let _ = write!(page, "\n## {}\n\n{text}\n\n", table.places.join(", "));
        page += "| key | what it is | value | without it | bounds | example |\n|---|---|---|---|---|---|\n";
        for (key, field) in keys(table.schema) {
            let _ = writeln!(page, "{}", line(key, field, table.schema, kinds));
        }
    }
    page += "\n## Values\n\n| value | what it is | examples |\n|---|---|---|\n";
    for (name, kind) in kinds.iter().filter(|(_, kind)| kind["type"] != "object" && kind.get("enum").is_none()) {
        // What stands between quotes is what is written, as `"*.example.org"` is, and no emphasis.
        let text: Vec<String> = parts(kind)
            .0
            .split('"')
            .enumerate()
            .map(|(at, piece)| if at % 2 == 1 { format!("`\"{piece}\"`") } else { piece.into() })
            .collect();
        let _ = writeln!(page, "| {name} | {}{} | {} |", text.concat(), range(kind, " Bounds: "), examples_of(kind));
    }
    page += "\n";
    page += EDITORS;
    page += "\n";
    for (_, what) in BEYOND {
        let _ = writeln!(page, "* {what}");
    }
    page
}

/// The keys of a table, those that have to be there first.
fn keys(table: &Value) -> Vec<(&String, &Value)> {
    let mut keys: Vec<_> = table["properties"].as_object().into_iter().flatten().collect();
    keys.sort_by_key(|(key, _)| !is_required(table, key));
    keys
}

fn is_required(table: &Value, key: &str) -> bool {
    table["required"].as_array().into_iter().flatten().any(|one| one == key)
}

/// The tables below one, each behind the one that it stands in.
fn collect<'a>(
    table: &'a Value,
    kinds: &'a Map<String, Value>,
    found: &mut Vec<(&'a str, Table<'a>)>,
    parent: Option<(&str, bool)>,
) {
    for (key, field) in table["properties"].as_object().into_iter().flatten() {
        let (is_list, name) = match (kind_of(field), kind_of(&field["items"])) {
            (Some(name), _) => (false, name),
            (None, Some(name)) => (true, name),
            _ => continue,
        };
        let Some(schema) = kinds.get(name).filter(|kind| kind["type"] == "object") else { continue };
        let path = parent.map_or(key.clone(), |(parent, _)| format!("{parent}.{key}"));
        let place = match (is_list, parent) {
            (true, _) => format!("`[[{path}]]`"),
            (false, Some((parent, true))) => format!("`{key}` of `[[{parent}]]`"),
            (false, _) => format!("`[{path}]`"),
        };
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, table)) => table.places.push(place),
            None => {
                found.push((name, Table { places: vec![place], schema }));
                collect(schema, kinds, found, Some((&path, is_list)));
            }
        }
    }
}

/// The name of the kind that a schema refers to.
fn kind_of(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")
}

/// A description without what it says of the case that the key is not there, and that.
fn parts(schema: &Value) -> (String, Option<String>) {
    let text = schema["description"].as_str().unwrap_or_default();
    match text.split_once("\n\nWithout it: ") {
        Some((text, without)) => (text.replace("\n\n", " "), Some(without.trim_end_matches('.').to_owned())),
        None => (text.replace("\n\n", " "), None),
    }
}

/// The line of a key.
fn line(key: &str, field: &Value, table: &Value, kinds: &Map<String, Value>) -> String {
    let (text, without) = parts(field);
    let without = match (field.get("default"), without) {
        _ if is_required(table, key) => "an error".to_owned(),
        (_, Some(without)) => without,
        (Some(default), None) => format!("`{}`", toml_of(default)),
        (None, None) => String::new(),
    };
    let examples: Vec<String> = field["examples"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|value| format!("`{key} = {}`", toml_of(value)))
        .collect();
    let (value, bounds) = (value_of(field, kinds), range(field, ""));
    format!("| `{key}` | {text} | {value} | {without} | {bounds} | {} |", examples.join(", "))
}

/// What may stand behind a key.
fn value_of(field: &Value, kinds: &Map<String, Value>) -> String {
    if let Some(name) = kind_of(field) {
        return one_of(name, kinds);
    }
    match field["type"].as_str() {
        Some("array") => match kind_of(&field["items"]) {
            Some(name) if kinds[name]["type"] == "object" => "a list of tables".into(),
            Some(name) => format!("a list of: {}", one_of(name, kinds)),
            None => "a list".into(),
        },
        Some(other) => other.into(),
        None => match field["anyOf"].as_array().and_then(|forms| kind_of(forms.first()?)) {
            Some(name) => format!("{}, or a list of these", one_of(name, kinds)),
            None => String::new(),
        },
    }
}

/// One value of a kind.
fn one_of(name: &str, kinds: &Map<String, Value>) -> String {
    let kind = &kinds[name];
    if kind["type"] == "object" {
        return "a table".into();
    }
    match kind["enum"].as_array() {
        Some(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        None => format!("[{name}](#values)"),
    }
}

/// The bounds of a number, or of the length of a list.
fn range(schema: &Value, before: &str) -> String {
    let number = |name: &str| schema[name].as_u64();
    match (number("minimum"), number("maximum"), number("maxItems")) {
        (Some(least), Some(most), _) => format!("{before}{least} to {most}"),
        (Some(least), ..) => format!("{before}{least} or more"),
        (None, _, Some(most)) => format!("{before}up to {most} of them"),
        _ => String::new(),
    }
}

/// The examples of a kind of values, or of one of its forms.
fn examples_of(kind: &Value) -> String {
    let forms = kind["anyOf"].as_array().into_iter().flatten();
    let examples = forms.chain([kind]).filter_map(|form| form["examples"].as_array()).flatten();
    examples.map(|value| format!("`{}`", toml_of(value))).collect::<Vec<_>>().join(", ")
}

/// A value as TOML has it, in one line.
pub(super) fn toml_of(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(toml_of).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key} = {}", toml_of(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        // Texts of JSON are texts of TOML, which also wants this character escaped.
        other => other.to_string().replace('\u{7f}', "\\u007f"),
    }
}

#[test]
fn the_schema_and_the_page_are_current() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut stale = Vec::new();
    for (name, text) in [("config.schema.json", schema_text()), ("config-reference.md", page(&config_file::schema()))] {
        let path = docs.join(name);
        if std::env::var_os("OXISLIRP_WRITE_REFERENCE").is_some() {
            std::fs::write(&path, &text).unwrap();
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            stale.push(name);
        }
    }
    let how = "OXISLIRP_WRITE_REFERENCE=1 cargo test -p oxislirp-tools reference";
    assert!(stale.is_empty(), "stale: {stale:?}; {how} writes them");
}

/// Nothing is left without a word, an example or, where it may be left out, what holds then.
#[test]
fn every_key_has_its_words_and_an_example() {
    let schema = config_file::schema();
    let kinds = schema["$defs"].as_object().unwrap();
    let mut tables = Vec::new();
    collect(&schema, kinds, &mut tables, None);
    let mut bare = Vec::new();
    let mut count = 0;
    for (name, table) in &tables {
        for (key, field) in keys(table.schema) {
            let (text, without) = parts(field);
            let said = is_required(table.schema, key) || without.is_some() || field.get("default").is_some();
            let shown = field["examples"].as_array().is_some_and(|examples| !examples.is_empty());
            if text.is_empty() || !said || !shown || value_of(field, kinds).is_empty() {
                bare.push(format!("{name}.{key}"));
            }
            count += 1;
        }
    }
    assert!(bare.is_empty(), "{bare:?}");
    assert!(count > 40, "only {count} keys were found");
}

/// The values that the schema gives as examples: the name of their table's kind, their key, and each.
pub(super) fn shown(schema: &Value) -> BTreeMap<(String, String), Vec<Value>> {
    let mut tables = Vec::new();
    collect(schema, schema["$defs"].as_object().unwrap(), &mut tables, None);
    let mut shown = BTreeMap::new();
    for (name, table) in &tables {
        for (key, field) in keys(table.schema) {
            let examples = field["examples"].as_array().cloned().unwrap_or_default();
            shown.insert(((*name).to_owned(), key.clone()), examples);
        }
    }
    shown
}
