//! Names of the DNS, as they are asked for.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name as a text, without the dot at its end (RFC 1035 section 2.3.4: 255 bytes on the wire).
const LONGEST: usize = 253;
/// The longest label (RFC 1035 section 2.3.4).
const LONGEST_LABEL: usize = 63;

/// A name of the DNS: `www.example.org`. It is kept in lower case and without a dot at its end, as names are the same in either
/// (RFC 4343); the root's is empty.
///
/// Labels have letters, digits, hyphens and underscores. The DNS could carry other bytes, which hosts have no use for (RFC 1123
/// section 2.1) and which would have to be told apart from dots; names of other scripts are written as A-labels (`xn--...`, RFC
/// 5890).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is no [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// It has a label of no letters.
    EmptyLabel,
    /// It has letters that are not those of ASCII: A-labels are to be written in their place.
    NotAscii,
    /// It has something else that names have not.
    Character(char),
    /// A label has more than 63 letters, or all have more than 253 with the dots between them.
    TooLong,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::EmptyLabel => f.write_str("a label of the name is empty"),
            NameError::NotAscii => {
                f.write_str("a name of other letters is written as its A-labels, such as xn--bcher-kva")
            }
            NameError::Character(c) => write!(f, "{c:?} is in no name"),
            NameError::TooLong => f.write_str("a label has 63 letters at most, and a name 253"),
        }
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// The name that labels make as they stand in a message.
    ///
    /// # Errors
    /// They make none that a host could have.
    pub(crate) fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Name, NameError> {
        let mut text = String::new();
        for label in labels {
            if !text.is_empty() {
                text.push('.');
            }
            push_label(&mut text, label)?;
        }
        Name::checked(text)
    }

    fn checked(text: String) -> Result<Name, NameError> {
        if text.len() > LONGEST { Err(NameError::TooLong) } else { Ok(Name(text.into())) }
    }

    /// The name in lower case, without a dot at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name and what it is below, from the nearest: of `www.example.org` that is itself, `example.org`, `org` and the root.
    pub(crate) fn and_parents(&self) -> impl Iterator<Item = &str> {
        let mut rest = Some(self.as_str());
        std::iter::from_fn(move || {
            let this = rest?;
            rest = match this.split_once('.') {
                Some((_, parent)) => Some(parent),
                None => (!this.is_empty()).then_some(""),
            };
            Some(this)
        })
    }
}

/// Adds a label in lower case.
fn push_label(text: &mut String, label: &[u8]) -> Result<(), NameError> {
    match label.len() {
        0 => return Err(NameError::EmptyLabel),
        1..=LONGEST_LABEL => {}
        _ => return Err(NameError::TooLong),
    }
    for &byte in label {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'A'..=b'Z' => text.push(byte.to_ascii_lowercase().into()),
            128.. => return Err(NameError::NotAscii),
            _ => return Err(NameError::Character(byte.into())),
        }
    }
    Ok(())
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        if text == "." {
            return Name::from_labels([]);
        }
        Name::from_labels(text.strip_suffix('.').unwrap_or(text).split('.').map(str::as_bytes))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_either_case_and_with_a_dot_at_their_end() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        assert_eq!(name("WWW.Example.ORG."), name("www.example.org"));
        assert_eq!(name("www.Example.org").to_string(), "www.example.org");
        assert_eq!((name(".").as_str(), name(".").to_string().as_str()), ("", "."));
        assert_eq!(Name::from_labels([&b"WWW"[..], b"xn--bcher-kva"]).unwrap(), name("www.xn--bcher-kva"));
        let all: Vec<String> = name("a.b.c").and_parents().map(str::to_owned).collect();
        assert_eq!(all, ["a.b.c", "b.c", "c", ""]);
        assert_eq!(name(".").and_parents().count(), 1);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let error = |text: &str| text.parse::<Name>().unwrap_err();
        assert_eq!(error(""), NameError::EmptyLabel);
        assert_eq!(error("a..b"), NameError::EmptyLabel);
        assert_eq!(error(".a"), NameError::EmptyLabel);
        assert_eq!(error("b\u{fc}cher.example"), NameError::NotAscii);
        assert_eq!(error("a b"), NameError::Character(' '));
        assert_eq!(error(&"a".repeat(64)), NameError::TooLong);
        assert_eq!(error(&["a"; 128].join(".")), NameError::TooLong);
        assert!(["a"; 127].join(".").parse::<Name>().is_ok());
        // A dot within a label is none between two.
        assert_eq!(Name::from_labels([&b"www.example"[..], b"org"]).unwrap_err(), NameError::Character('.'));
    }
}
