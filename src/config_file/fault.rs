//! What is wrong with a file, and where.

use std::fmt;
use std::io;
use std::path::Path;

use super::plain::plain;
use crate::system::{errno, errno_of};

/// Something that makes `slirp_new` fail, in words for whoever has written the file.
#[derive(Debug)]
pub(crate) struct Fault {
    text: String,
    errno: i32,
    /// It is about the file as a whole, which could not be read.
    unread: bool,
}

impl Fault {
    /// The environment makes no sense.
    pub(super) fn of_variable(variable: &str, text: &str) -> Fault {
        Fault { text: format!("{variable} {text}"), errno: errno::EINVAL, unread: false }
    }

    /// The same of a file that a variable names: who has not set it does not know of a file that cannot be read.
    pub(super) fn named_by(self, variable: &str) -> Fault {
        let text = if self.unread { format!("{variable} names {}", self.text) } else { self.text };
        Fault { text, ..self }
    }

    /// The file cannot be read.
    pub(super) fn of_file(path: &Path, error: io::Error) -> Fault {
        let errno = errno_of(&error, errno::EINVAL);
        Fault { text: format!("{}: {error}", path.display()), errno, unread: true }
    }

    /// Something in the file makes no sense.
    pub(super) fn in_text(path: &Path, text: &str, error: &toml::de::Error) -> Fault {
        Fault::at(path, text, error.span().map_or(0, |span| span.start), &plain(error.message()))
    }

    /// The same, at a place in the text.
    pub(super) fn at(path: &Path, text: &str, place: usize, message: &str) -> Fault {
        let place = self::place(path, text, place);
        // The parser's own texts can have several lines.
        let message = message.trim_end().replace('\n', ", ");
        Fault { text: format!("{place}: {message}"), errno: errno::EINVAL, unread: false }
    }

    /// The same, at a place that is known already.
    pub(super) fn at_place(place: &str, message: &str) -> Fault {
        Fault { text: format!("{place}: {message}"), errno: errno::EINVAL, unread: false }
    }

    /// The number that `errno` is set to.
    pub(crate) fn errno(&self) -> i32 {
        self.errno
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The name of the file, the line and the field of a place in its text.
pub(super) fn place(path: &Path, text: &str, place: usize) -> String {
    match field_at(text, place) {
        (line, field) if field.is_empty() => format!("{}:{line}", path.display()),
        (line, field) => format!("{}:{line}: {field}", path.display()),
    }
}

/// The line of a place in a text, counted from 1, and the field that stands there: its table and its key, as far as the
/// lines up to that place tell.
fn field_at(text: &str, at: usize) -> (usize, String) {
    let mut line = 0;
    let mut offset = 0;
    let (mut table, mut key) = ("", "");
    for content in text.split_inclusive('\n') {
        if offset > at {
            break;
        }
        line += 1;
        offset += content.len();
        let content = content.trim();
        if let Some(header) = content.strip_prefix('[').filter(|_| !content.contains('=')) {
            let name = header.trim_start_matches('[').split(']').next().unwrap_or_default().trim();
            // A line of a list of lists looks like a header, but names nothing.
            if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                (table, key) = (name, "");
            }
        } else if let Some((name, _)) = content.split_once('=').filter(|_| !content.starts_with('#')) {
            let name = name.trim();
            if name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
                key = name;
            }
        }
    }
    let field = [table, key].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
    (line.max(1), field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_its_line_its_table_and_its_key() {
        let text = "a = 1\n\n[one]\nb = 2 # not c = 3\n[[one.two]]\nlist = [\n  \"x\",\n  \"y\",\n]\n";
        let at = |what: &str| field_at(text, text.find(what).unwrap());
        assert_eq!(at("1"), (1, "a".into()));
        assert_eq!(at("[one]"), (3, "one".into()));
        assert_eq!(at("2 #"), (4, "one.b".into()));
        assert_eq!(at("[[one"), (5, "one.two".into()));
        assert_eq!(at("\"y\""), (8, "one.two.list".into()));
        assert_eq!(field_at("", 0), (1, String::new()));
        assert_eq!(field_at("x", 99).0, 1);
    }
}
