//! Files that are shown somewhere: the schema takes each that the reader takes.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::config_file;
use super::agreement::{reader, schema};
use super::page::{shown, toml_of};

/// All files below a folder with one of these ends.
fn files(folder: &Path, ends: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            files(&path, ends, found);
        } else if ends.iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
}

/// Those of these places of the project.
fn texts(places: &[&str], ends: &[&str]) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for place in places.iter().map(|place| root.join(place)) {
        if place.is_dir() { files(&place, ends, &mut found) } else { found.push(place) }
    }
    found.into_iter().filter_map(|path| Some((path.clone(), fs::read_to_string(path).ok()?))).collect()
}

/// What pages show as TOML.
#[test]
fn what_pages_show_is_taken() {
    let mut count = 0;
    for (path, page) in texts(&["README.md", "docs", "compat-tests", "tests", "tools", "packaging"], &[".md"]) {
        for block in page.split("```toml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)) {
            // Of a manifest for cargo.
            if block.contains("[dependencies]") {
                continue;
            }
            schema(block).unwrap_or_else(|said| panic!("{}: {said}:\n{block}", path.display()));
            // There is no such file here.
            let readable: String =
                block.lines().filter(|line| !line.starts_with("hosts")).map(|line| format!("{line}\n")).collect();
            reader(&readable).unwrap_or_else(|said| panic!("{}: {said}:\n{block}", path.display()));
            count += 1;
        }
    }
    assert!(count >= 12, "only {count} were found");
}

/// The texts between quotes in a program, as they are written or with their escapes read.
fn quoted(program: &str) -> Vec<String> {
    let mut found = Vec::new();
    for quote in ["\"\"\"", "\"", "'''"] {
        let mut pieces = program.split(quote);
        pieces.next();
        let pieces: Vec<&str> = pieces.collect();
        // A text that an escaped quote divides makes no file; what stands between two texts makes none either.
        for piece in pieces {
            let joined = piece.replace("\\\n", "\n").lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
            found.push(joined.replace("\\n", "\n").replace("{{", "{").replace("}}", "}"));
            found.push(piece.to_owned());
        }
    }
    found
}

/// What tests have the library read. Such texts are put together while a test runs, so this finds those that are whole files by themselves.
#[test]
fn what_tests_use_is_taken() {
    let mut count = 0;
    for (path, program) in
        texts(&["tests", "compat-tests", "src/config_file", "tools/tests"], &[".rs", ".py", ".c", ".sh"])
    {
        for text in quoted(&program).iter().filter(|text| text.contains('=') && text.contains('[')) {
            if reader(text).is_ok() {
                schema(text).unwrap_or_else(|said| panic!("{}: {said}:\n{text}", path.display()));
                count += 1;
            }
        }
    }
    assert!(count >= 60, "only {count} were found");
}

/// What has to stand beside a key for it to make sense, by table and key.
fn beside(table: &str, key: &str) -> Value {
    match (table, key) {
        ("capture", _) | ("log", "max-bytes" | "files") => json!({ "file": "/x" }),
        ("record", "cname") => json!({ "name": "a.test" }),
        ("record", "ttl" | "name") => json!({ "name": "a.test", "a": "10.0.2.2" }),
        ("record", _) => json!({ "name": "b.test" }),
        ("zone", _) => json!({ "domain": "a.test" }),
        ("rule", "tls" | "http") => json!({ "action": "allow", "name": "a.test" }),
        ("rule", "limit" | "redirect") => json!({ "action": "allow", "protocol": "tcp" }),
        ("rule", "proxy" | "proxy-names") => {
            json!({ "action": "allow", "protocol": "tcp", "proxy": "socks5://192.0.2.7:1080" })
        }
        ("rule", _) => json!({ "action": "allow" }),
        _ => json!({}),
    }
}

/// The example of each key, in its table with no more than it needs there.
#[test]
fn what_the_schema_shows_is_taken() {
    let schema_of_file = config_file::schema();
    let mut count = 0;
    for ((table, key), examples) in shown(&schema_of_file) {
        for example in examples {
            let mut fields = beside(&table, &key);
            // There is no such file here.
            let example = if key == "hosts" { json!("/dev/null/%p") } else { example };
            fields[&key] = example;
            let fields = toml_of(&fields);
            let text = match table.as_str() {
                "record" => format!("dns.records = [{fields}]"),
                "zone" => format!("dns.zone = [{fields}]"),
                "rule" => format!("policy.rule = [{fields}]"),
                "limit" => format!("limits.whole = {fields}"),
                other => format!("{other} = {fields}"),
            };
            schema(&text).unwrap_or_else(|said| panic!("{said}: {text}"));
            if key != "hosts" {
                reader(&text).unwrap_or_else(|said| panic!("{said}: {text}"));
            }
            count += 1;
        }
    }
    assert!(count >= 45, "only {count} were found");
}
