//! Paths in the file: `%p` is the number of the process and `%i` that of the instance in it, from 1, so that one file serves
//! several of both. `%%` is a percent sign.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many instances of this process have asked for a number.
static INSTANCES: AtomicU32 = AtomicU32::new(0);

/// Which instance of which process a file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    number: u32,
}

impl Instance {
    /// The next instance of this process.
    pub(crate) fn next() -> Instance {
        Instance { number: INSTANCES.fetch_add(1, Ordering::Relaxed).wrapping_add(1) }
    }

    #[cfg(test)]
    pub(super) fn numbered(number: u32) -> Instance {
        Instance { number }
    }

    /// The path that a text of the file stands for.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, String> {
        let mut path = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\0' => return Err("a path has no zero byte".into()),
                '%' => match rest.next() {
                    Some('p') => path.push_str(&std::process::id().to_string()),
                    Some('i') => path.push_str(&self.number.to_string()),
                    Some('%') => path.push('%'),
                    _ => return Err("behind % stands p (the process), i (the instance) or % in a path".into()),
                },
                other => path.push(other),
            }
        }
        if path.is_empty() {
            return Err("the path is empty".into());
        }
        Ok(path.into())
    }
}

/// A path as the schema has it: what [`Instance::path`] takes.
#[cfg(feature = "schema")]
pub(super) struct Written;

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Written {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "path".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A path, in which `%p` is the number of the process, `%i` that of the network in it, counted from 1, and `%%` a percent sign.",
            "type": "string",
            "pattern": r"^(?:[^%\u0000]|%[pi%])+$",
            "examples": ["/var/tmp/guest-%p-%i.jsonl"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_and_instance_stand_in_a_path() {
        let instance = Instance::numbered(7);
        let process = std::process::id();
        assert_eq!(instance.path("/run/%p-%i.x").unwrap(), PathBuf::from(format!("/run/{process}-7.x")));
        assert_eq!(instance.path("100%%").unwrap(), PathBuf::from("100%"));
        for wrong in ["", "%", "a%x", "%%%", "a\0b"] {
            instance.path(wrong).unwrap_err();
        }
    }

    #[test]
    fn each_instance_has_a_number_of_its_own() {
        assert_ne!(Instance::next(), Instance::next());
    }
}
