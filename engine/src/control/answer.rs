//! How a request is answered: with what it asked for, or with what is wrong.

use std::error::Error;
use std::fmt;
use std::io;

use serde_json::{Map, Value, json};

/// Which kind of trouble it is, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The line is no object of JSON, or too long.
    Syntax,
    /// There is no such request.
    Unknown,
    /// What is asked for makes no sense: a field is missing, unknown, or has no such value.
    Invalid,
    /// It is not there.
    Missing,
    /// There is no room for it.
    Limit,
    /// The system says no.
    System,
    /// It cannot be done here.
    Unsupported,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Syntax => "syntax",
            Kind::Unknown => "unknown",
            Kind::Invalid => "invalid",
            Kind::Missing => "missing",
            Kind::Limit => "limit",
            Kind::System => "system",
            Kind::Unsupported => "unsupported",
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    message: String,
    /// The system's number.
    errno: Option<i32>,
}

impl Trouble {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Trouble {
        Trouble { kind, message: message.into(), errno: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Trouble {
        Trouble::new(Kind::Invalid, message)
    }

    /// The system says no; `what` says to what.
    pub(super) fn of_system(what: impl fmt::Display, error: &io::Error) -> Trouble {
        // Behind the name of a file there is the system's own error.
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        let errno = error.raw_os_error().or_else(|| source?.raw_os_error());
        Trouble { kind: Kind::System, message: format!("{what}: {error}"), errno }
    }

    /// The same, with more to say.
    pub(super) fn and(mut self, text: &str) -> Trouble {
        self.message.push_str("; ");
        self.message.push_str(text);
        self
    }
}

/// What a request is answered.
pub(super) type Answer = Result<Value, Trouble>;

/// The line of an answer.
pub(super) fn line(id: &Value, answer: Answer) -> String {
    let mut members = Map::new();
    members.insert("id".into(), id.clone());
    match answer {
        Ok(value) => members.insert("ok".into(), value),
        Err(trouble) => {
            let mut error = json!({ "kind": trouble.kind.word(), "message": trouble.message });
            if let (Some(errno), Value::Object(error)) = (trouble.errno, &mut error) {
                error.insert("errno".into(), errno.into());
            }
            members.insert("error".into(), error)
        }
    };
    Value::Object(members).to_string()
}

/// The first line that a client reads: the version of the protocol, and who speaks.
pub(super) fn greeting() -> String {
    json!({ "oxislirp": PROTOCOL, "version": env!("CARGO_PKG_VERSION"), "process": std::process::id() }).to_string()
}

/// The version of the protocol. It changes when a client that knows the one before would be wrong.
pub(super) const PROTOCOL: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_line_with_the_id_of_its_request() {
        assert_eq!(line(&json!("a\nb"), Ok(json!({"x": 1}))), r#"{"id":"a\nb","ok":{"x":1}}"#);
        let trouble = Trouble::of_system("a file", &io::Error::from_raw_os_error(2));
        let text = line(&Value::Null, Err(trouble));
        assert!(text.starts_with(r#"{"error":{"errno":2,"kind":"system","message":"a file: "#), "{text}");
        assert!(text.ends_with(r#"},"id":null}"#), "{text}");
    }
}
