//! Names in rules: one name, or all names below one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A name, or with `*.` before it every name that ends with it: `*.example.org` is `www.example.org` and
/// `a.b.example.org`, not `example.org` itself.
///
/// Upper and lower case are the same, and so are a name with a dot at its end and the one without (RFC 1034 section 3.1).
/// A name of other letters than those of ASCII is written as the DNS has it (`xn--…`, RFC 5890 section 2.3.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamePattern {
    /// In lower case, without a dot at its end.
    name: Box<str>,
    /// What is below it is meant.
    below: bool,
}

/// Why a text is no [`NamePattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NamePatternError {
    /// A label is empty, or has over 63 bytes, or the whole has over 253.
    Length,
    /// A star stands elsewhere than alone before the first dot, or nothing follows it.
    Star,
    /// A character that is no letter or digit of ASCII, hyphen or underscore.
    Character,
    /// An address. Rules have other fields for those.
    Address,
}

impl fmt::Display for NamePatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NamePatternError::Length => "a part between two dots has 1 to 63 characters, and the whole at most 253",
            NamePatternError::Star => "a star stands only before the first dot, as in `*.example.org`; a rule without `name` is about all",
            NamePatternError::Character => {
                "a name has letters, digits, hyphens and underscores, others are written as the DNS has them (xn--...), and a port is none of it"
            }
            NamePatternError::Address => "this is an address and no name",
        })
    }
}

impl std::error::Error for NamePatternError {}

/// The longest name, written with dots and without the one at its end; source: RFC 1035 section 2.3.4 (255 bytes on the wire).
const LONGEST: usize = 253;
/// The longest label; source: the same.
const LONGEST_LABEL: usize = 63;

impl NamePattern {
    /// Whether `name` is meant. What is no name is not: an empty text, one that is too long, one with an empty label.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        if !is_name(name) {
            return false;
        }
        if !self.below {
            return name.eq_ignore_ascii_case(&self.name);
        }
        // Names are of ASCII, so that every place is one between two characters.
        let Some((before, end)) = name.len().checked_sub(self.name.len()).and_then(|at| name.split_at_checked(at))
        else {
            return false;
        };
        end.eq_ignore_ascii_case(&self.name) && before.len() > 1 && before.ends_with('.')
    }

    /// The name, or that below which names are meant, in lower case and without a dot at its end.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the names below [`NamePattern::name`] are meant, and not that name.
    #[must_use]
    pub fn is_below(&self) -> bool {
        self.below
    }
}

/// Whether every part of a name, which has no dot at its end, has its length and its characters.
fn is_name(name: &str) -> bool {
    check(name).is_ok()
}

fn check(name: &str) -> Result<(), NamePatternError> {
    if name.len() > LONGEST {
        return Err(NamePatternError::Length);
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > LONGEST_LABEL {
            return Err(NamePatternError::Length);
        }
        if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            return Err(NamePatternError::Character);
        }
    }
    Ok(())
}

impl FromStr for NamePattern {
    type Err = NamePatternError;

    fn from_str(text: &str) -> Result<NamePattern, NamePatternError> {
        if text.parse::<IpAddr>().is_ok() {
            return Err(NamePatternError::Address);
        }
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains('*') {
            return Err(NamePatternError::Star);
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        check(name)?;
        Ok(NamePattern { name: name.to_ascii_lowercase().into(), below })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> NamePattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_itself_in_every_case_with_and_without_its_last_dot() {
        let one = pattern("Api.Example.org.");
        assert_eq!(one.to_string(), "api.example.org");
        for same in ["api.example.org", "API.EXAMPLE.ORG", "api.example.org."] {
            assert!(one.matches(same), "{same}");
        }
        for other in
            ["example.org", "x.api.example.org", "api.example.org..", ".api.example.org", "", ".", "api.example.org\0"]
        {
            assert!(!one.matches(other), "{other}");
        }
    }

    #[test]
    fn a_star_is_one_label_or_more() {
        let below = pattern("*.Example.org");
        assert_eq!(below.to_string(), "*.example.org");
        for inside in ["a.example.org", "A.B.EXAMPLE.ORG", "a.example.org.", "_x.example.org"] {
            assert!(below.matches(inside), "{inside}");
        }
        for outside in [
            "example.org",
            ".example.org",
            "aexample.org",
            "a.example.org.evil.com",
            "a..example.org",
            "*.example.org",
            "a b.example.org",
            "\u{e4}.example.org",
            "\u{e4}example.org",
        ] {
            assert!(!below.matches(outside), "{outside}");
        }
        let long = format!("{}.example.org", "a.".repeat(200));
        assert!(!below.matches(&long));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, wanted) in [
            ("", NamePatternError::Length),
            (".", NamePatternError::Length),
            ("*", NamePatternError::Star),
            ("*.", NamePatternError::Length),
            ("*.*.org", NamePatternError::Star),
            ("a.*.org", NamePatternError::Star),
            ("a*.org", NamePatternError::Star),
            ("a..org", NamePatternError::Length),
            ("b\u{fc}cher.example", NamePatternError::Character),
            ("http://a.org", NamePatternError::Character),
            ("a.org:443", NamePatternError::Character),
            ("192.0.2.1", NamePatternError::Address),
            ("2001:db8::1", NamePatternError::Address),
        ] {
            assert_eq!(text.parse::<NamePattern>(), Err(wanted), "{text}");
        }
        assert!("a".repeat(64).parse::<NamePattern>().is_err());
        assert!("a.".repeat(128).parse::<NamePattern>().is_err());
        assert!("a.".repeat(127).parse::<NamePattern>().is_ok());
    }
}
