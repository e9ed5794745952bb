//! JSON in which no object says a thing twice. The parser would take the last of two members with one name, and whoever has checked
//! a request before may have looked at the first.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value, and a name that an object in it has twice.
#[derive(Debug)]
pub(super) struct Unique {
    pub(super) value: Value,
    pub(super) twice: Option<String>,
}

impl From<Value> for Unique {
    fn from(value: Value) -> Unique {
        Unique { value, twice: None }
    }
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unique, D::Error> {
        deserializer.deserialize_any(Parts)
    }
}

struct Parts;

impl<'de> Visitor<'de> for Parts {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Value::Null.into())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Unique, E> {
        Ok(Value::from(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Unique, E> {
        Ok(Value::from(value).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Unique, E> {
        Ok(Value::from(value).into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Unique, E> {
        Ok(Value::from(value).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Unique, E> {
        Ok(Value::from(value).into())
    }

    fn visit_string<E>(self, value: String) -> Result<Unique, E> {
        Ok(Value::from(value).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
        let (mut entries, mut first) = (Vec::new(), None);
        while let Some(Unique { value, twice }) = access.next_element()? {
            first = first.or(twice);
            entries.push(value);
        }
        Ok(Unique { value: Value::Array(entries), twice: first })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
        let (mut members, mut first) = (Map::new(), None);
        while let Some((name, Unique { value, twice })) = access.next_entry::<String, Unique>()? {
            first = first.or(twice);
            if first.is_none() && members.contains_key(&name) {
                first = Some(name.clone());
            }
            members.insert(name, value);
        }
        Ok(Unique { value: Value::Object(members), twice: first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Unique {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_said_once_is_what_the_parser_itself_reads() {
        let text = r#"{"a":[1,-2,2.5,"x\n",true,null,{"a":{}}],"b":18446744073709551615}"#;
        let Unique { value, twice } = read(text);
        assert_eq!((value, twice), (serde_json::from_str(text).unwrap(), None));
    }

    #[test]
    fn what_is_said_twice_is_found_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":[{"a":1,"a":2}]}]"#, r#"{"b":{"\u0061":1,"a":2},"c":0,"c":0}"#] {
            assert_eq!(read(text).twice.as_deref(), Some("a"), "{text}");
        }
    }
}
