//! What no field of a policy or of a rule alone says, for the schema. The engine has the same as `Rule::check`.

use schemars::Schema;
use serde_json::{Value, json};

use super::schema::{key_excludes, one_of_keys};

/// A preset brings its own default.
pub(super) fn of_table(schema: &mut Schema) {
    schema.insert("allOf".into(), json!([key_excludes("preset", &["default"])]));
}

/// What the fields of a rule demand of each other.
pub(super) fn of_rule(schema: &mut Schema) {
    let is = |key: &str, word: &str| json!({ "properties": { key: { "const": word } }, "required": [key] });
    let with = |keys: &[&str]| json!({ "anyOf": one_of_keys(keys) });
    let without = |keys: &[&str]| json!({ "not": { "anyOf": one_of_keys(keys) } });
    let when = |what: Value, then: &[Value]| json!({ "if": what, "then": { "allOf": then } });
    let allows = json!({ "properties": { "action": { "const": "allow" } } });
    let out = json!({ "properties": { "direction": { "const": "out" } } });
    let has_protocol = || json!({ "required": ["protocol"] });
    let by_proxy_of_http = json!({ "properties": { "proxy": { "pattern": "^http:" } }, "required": ["proxy"] });
    let elsewhere =
        [allows.clone(), out.clone(), without(&["service", "tls", "http"]), has_protocol(), only(&["tcp", "udp"])];
    let icmp_alone = json!({ "allOf": [has_protocol(), only(&["icmp"])] });
    let in_with_limit = json!({ "allOf": [is("direction", "in"), { "required": ["limit"] }] });
    let rules = [
        key_excludes("redirect", &["proxy"]),
        when(with(&["proxy-names"]), &[with(&["proxy"])]),
        when(with(&["tls", "http"]), &[with(&["name"]), out, without(&["service"])]),
        when(with(&["tls"]), &[only(&["tcp", "udp"])]),
        json!({ "if": { "allOf": [with(&["http"]), without(&["tls"])] }, "then": only(&["tcp"]) }),
        when(with(&["redirect", "proxy"]), &elsewhere),
        when(by_proxy_of_http, &[only(&["tcp"])]),
        when(with(&["limit"]), &[allows, without(&["service"]), has_protocol(), only(&["tcp", "udp"])]),
        when(in_with_limit, &[only(&["tcp"])]),
        when(is("direction", "in"), &[without(&["service", "named", "name"])]),
        key_excludes("service", &["name"]),
        when(icmp_alone, &[without(&["guest-port", "host-port"])]),
    ];
    schema.insert("allOf".into(), Value::Array(rules.into()));
}

/// The protocols of a rule are among these, or it has none.
fn only(protocols: &[&str]) -> Value {
    let one = json!({ "enum": protocols });
    json!({ "properties": { "protocol": { "anyOf": [one, { "type": "array", "items": one }] } } })
}
