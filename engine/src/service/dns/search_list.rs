//! The domain search list of DHCP option 119 (RFC 3397): names in RFC 1035 wire format, compressed within the list.

use std::collections::HashMap;
use std::fmt;

/// The longest label, in bytes (RFC 1035 section 2.3.4).
const LABEL_MAX: usize = 63;

/// The longest name in wire format, in bytes with its closing zero (RFC 1035 section 2.3.4).
const NAME_MAX: usize = 255;

/// The largest offset a compression pointer can hold (RFC 1035 section 4.1.4).
const POINTER_MAX: usize = 0x3fff;

/// The mark of a compression pointer in its upper two bits.
const POINTER: u16 = 0xc000;

/// A name that cannot stand in a search list. Its text tells which and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadSearchDomain {
    /// The name as it was given; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// What is wrong with it.
    pub reason: SearchDomainFault,
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SearchDomainFault {
    /// There is nothing between two dots, before the first one, or at all.
    EmptyLabel,
    /// A label has more than 63 bytes.
    LabelTooLong,
    /// The name has more than 255 bytes in wire format.
    NameTooLong,
    /// There is a byte that is no letter, digit, `-` or `_`. (Such names can be written in wire format, but not in a guest's file of
    /// domains.)
    UnusualByte,
}

impl fmt::Display for BadSearchDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            SearchDomainFault::EmptyLabel => "empty label",
            SearchDomainFault::LabelTooLong => "label longer than 63 bytes",
            SearchDomainFault::NameTooLong => "name longer than 255 bytes",
            SearchDomainFault::UnusualByte => "something else than letters, digits, \"-\" and \"_\"",
        };
        write!(f, "invalid DNS search name \"{}\": {why}", self.name.escape_debug())
    }
}

impl std::error::Error for BadSearchDomain {}

/// Encodes `names` in their order. A name may end in one dot. Every later name that shares an ending with an earlier
/// one points to the first place where that ending stands, counted from the start of the list.
///
/// The result may be longer than the 255 bytes of one option; the DHCP server cuts it.
///
/// # Errors
/// The first name that is not valid; there is no list without it.
pub fn encode<N: AsRef<[u8]>>(names: &[N]) -> Result<Vec<u8>, BadSearchDomain> {
    let mut list = Vec::new();
    let mut seen: HashMap<&[u8], u16> = HashMap::new();
    for name in names {
        let name = name.as_ref();
        let mut rest = name.strip_suffix(b".").unwrap_or(name);
        check(rest).map_err(|reason| BadSearchDomain { name: String::from_utf8_lossy(name).into_owned(), reason })?;
        while !rest.is_empty() {
            if let Some(offset) = seen.get(rest) {
                list.extend_from_slice(&(POINTER | offset).to_be_bytes());
                break;
            }
            if let Some(offset) = u16::try_from(list.len()).ok().filter(|offset| usize::from(*offset) <= POINTER_MAX) {
                seen.insert(rest, offset);
            }
            let (label, after) = split_label(rest);
            list.push(u8::try_from(label.len()).unwrap_or(0));
            list.extend_from_slice(label);
            rest = after;
            if rest.is_empty() {
                list.push(0);
            }
        }
    }
    Ok(list)
}

/// Whether a byte is one of those that names of hosts and domains consist of, in use if not by the letter (RFC 1123 section 2.1).
pub(crate) fn is_usual(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Checks that names can be encoded, and consist of what domain names consist of.
///
/// # Errors
/// The first name that is not such a one.
pub(crate) fn check_usual<N: AsRef<[u8]>>(names: &[N]) -> Result<(), BadSearchDomain> {
    for name in names {
        let name = name.as_ref();
        let rest = name.strip_suffix(b".").unwrap_or(name);
        let usual = rest.iter().all(|&byte| is_usual(byte) || byte == b'.');
        let checked = check(rest).and(if usual { Ok(()) } else { Err(SearchDomainFault::UnusualByte) });
        checked.map_err(|reason| BadSearchDomain { name: String::from_utf8_lossy(name).into_owned(), reason })?;
    }
    Ok(())
}

/// Checks a name without its closing dot.
fn check(name: &[u8]) -> Result<(), SearchDomainFault> {
    // In wire format each dot becomes a length; one more length stands before and one zero behind.
    if name.len() + 2 > NAME_MAX {
        return Err(SearchDomainFault::NameTooLong);
    }
    for label in name.split(|byte| *byte == b'.') {
        match label.len() {
            0 => return Err(SearchDomainFault::EmptyLabel),
            1..=LABEL_MAX => {}
            _ => return Err(SearchDomainFault::LabelTooLong),
        }
    }
    Ok(())
}

/// The first label and what follows its dot.
fn split_label(name: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = name.splitn(2, |byte| *byte == b'.');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(names: &[&str]) -> String {
        encode(names).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn fact_10_table() {
        assert_eq!(hex(&["example.com"]), "076578616d706c6503636f6d00");
        assert_eq!(hex(&["a.b", "b"]), "0161016200c002");
        assert_eq!(
            hex(&["a.example.com", "example.com", "b.example.com"]),
            "0161076578616d706c6503636f6d00c0020162c002"
        );
        assert_eq!(hex(&["same.org", "same.org"]), "0473616d65036f726700c000");
        assert_eq!(hex(&["a."]), "016100");
    }

    #[test]
    fn pointer_goes_to_the_earliest_whole_ending() {
        // Upstream ends this list with c002, the middle of the first name.
        assert_eq!(hex(&["com", "example.com", "a.example.com"]), "03636f6d00076578616d706c65c0000161c005");
    }

    #[test]
    fn fact_11_bad_names_are_named() {
        let long = "x".repeat(64);
        for (name, reason) in [
            ("", SearchDomainFault::EmptyLabel),
            (".", SearchDomainFault::EmptyLabel),
            ("..", SearchDomainFault::EmptyLabel),
            ("a..b", SearchDomainFault::EmptyLabel),
            (".a", SearchDomainFault::EmptyLabel),
            ("a..", SearchDomainFault::EmptyLabel),
            (long.as_str(), SearchDomainFault::LabelTooLong),
        ] {
            let bad = encode(&["good.example", name]).unwrap_err();
            assert_eq!((bad.name.as_str(), bad.reason), (name, reason));
        }
        assert!(encode(&["x".repeat(63)]).is_ok());
    }

    #[test]
    fn name_length_limit_is_255_bytes_on_the_wire() {
        let name = |last: usize| format!("{0}.{0}.{0}.{1}", "x".repeat(63), "y".repeat(last));
        assert_eq!(encode(&[name(61)]).unwrap().len(), 255);
        assert_eq!(encode(&[name(62)]).unwrap_err().reason, SearchDomainFault::NameTooLong);
    }

    #[test]
    fn empty_list_is_empty() {
        assert_eq!(encode::<&str>(&[]), Ok(Vec::new()));
    }

    #[test]
    fn pointers_reach_no_further_than_their_14_bits() {
        // 65 bytes with its zero: 252 of them leave room for the last offset that can be named.
        let filler = |number: usize| format!("{number:063}");
        let mut names: Vec<String> = (0..252).map(filler).collect();
        names.push("x".to_owned());
        names.extend(["near".to_owned(), "far".to_owned(), "near".to_owned(), "far".to_owned()]);
        let list = encode(&names).unwrap();
        let near = 252 * 65 + 3;
        assert_eq!(near, POINTER_MAX);
        assert_eq!(list[near..], *b"\x04near\x00\x03far\x00\xff\xff\x03far\x00");
    }

    /// Reads one name at `at`; gives its dotted text and where the next one begins. Pointers must lead backwards.
    fn decode(list: &[u8], mut at: usize) -> (Vec<u8>, usize) {
        let (mut name, mut end) = (Vec::new(), None);
        loop {
            let len = list[at];
            if len >= 0xc0 {
                let to = usize::from(u16::from_be_bytes([len & 0x3f, list[at + 1]]));
                assert!(to < at, "pointer at {at} leads to {to}");
                end = end.or(Some(at + 2));
                at = to;
            } else if len == 0 {
                return (name, end.unwrap_or(at + 1));
            } else {
                if !name.is_empty() {
                    name.push(b'.');
                }
                let next = at + 1 + usize::from(len);
                name.extend_from_slice(&list[at + 1..next]);
                at = next;
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_can_be_decoded(names in prop::collection::vec("[ab]{1,2}(\\.[ab]{1,2}){0,3}", 0..200)) {
            let list = encode(&names).unwrap();
            let mut at = 0;
            for name in &names {
                let (decoded, next) = decode(&list, at);
                prop_assert_eq!(&decoded, name.as_bytes());
                at = next;
            }
            prop_assert_eq!(at, list.len());
        }

        #[test]
        fn any_bytes_are_taken_or_refused(names in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4)) {
            let _ = encode(&names);
        }
    }
}
