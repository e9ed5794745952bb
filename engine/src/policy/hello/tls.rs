//! The ClientHello of TLS (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2), over any number of records.
//!
//! A parser of our own, because of what it refuses: the crate that has this format passes over what it does not understand,
//! and brings thirty others for it.

use super::reader::Reader;
use super::{Heard, Hearing, Hello, name};

/// The type of a record that carries handshake messages (RFC 8446 section 5.1); a connection of TLS begins with it.
pub(super) const HANDSHAKE: u8 = 22;
/// The major version of every record and hello since SSL 3.0.
const MAJOR: u8 = 3;
/// The longest fragment of a record (RFC 8446 section 5.1).
const LONGEST_FRAGMENT: usize = 1 << 14;
/// The type of the message (RFC 8446 section 4).
const CLIENT_HELLO: u8 = 1;
/// The extension `server_name`, and the one type of name that it has (RFC 6066 section 3).
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// The records so far.
#[derive(Debug, Default)]
pub(super) struct ClientHello {
    /// The beginning of the header of the next record.
    header: Vec<u8>,
    /// How much of the record's fragment is still to come.
    rest: usize,
    /// The message without the records around it.
    message: Vec<u8>,
}

impl ClientHello {
    pub(super) fn hear(&mut self, mut bytes: &[u8]) -> Hearing {
        while !bytes.is_empty() {
            if self.rest == 0 {
                let (header, behind) = bytes.split_at(bytes.len().min(5 - self.header.len().min(5)));
                self.header.extend_from_slice(header);
                bytes = behind;
                let length = match *self.header.as_slice() {
                    [HANDSHAKE] | [HANDSHAKE, MAJOR] | [HANDSHAKE, MAJOR, _] | [HANDSHAKE, MAJOR, _, _] => continue,
                    [HANDSHAKE, MAJOR, _, high, low] => usize::from(u16::from_be_bytes([high, low])),
                    _ => return Hearing::Unclear,
                };
                // An empty fragment is forbidden.
                if length == 0 || length > LONGEST_FRAGMENT {
                    return Hearing::Unclear;
                }
                self.header.clear();
                self.rest = length;
            }
            let (fragment, behind) = bytes.split_at(bytes.len().min(self.rest));
            self.message.extend_from_slice(fragment);
            self.rest -= fragment.len();
            bytes = behind;
            match hear_message(&self.message) {
                Hearing::More => {}
                // Nothing may follow in the hello's last record, and what follows behind it is not looked at.
                _ if self.rest > 0 => return Hearing::Unclear,
                heard => return heard,
            }
        }
        Hearing::More
    }
}

/// What a message, without records around it, says once it is whole.
pub(super) fn hear_message(message: &[u8]) -> Hearing {
    let Some((&[kind, a, b, c], body)) = message.split_first_chunk::<4>() else {
        return if message.first().is_none_or(|kind| *kind == CLIENT_HELLO) { Hearing::More } else { Hearing::Unclear };
    };
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if kind != CLIENT_HELLO || length > Hello::LONGEST {
        return Hearing::Unclear;
    }
    match body.len() {
        have if have < length => Hearing::More,
        have if have > length => Hearing::Unclear,
        _ => server_name(body).map_or(Hearing::Unclear, |name| Hearing::Heard(Heard::Tls(name))),
    }
}

/// The name in a ClientHello, if it has one; `None` when it is none of these.
fn server_name(hello: &[u8]) -> Option<Option<Box<str>>> {
    let mut hello = Reader(hello);
    if hello.take(2)?.first() != Some(&MAJOR) {
        return None;
    }
    // The random bytes.
    hello.take(32)?;
    let session = hello.short_vector()?;
    let ciphers = hello.vector()?;
    let compressions = hello.short_vector()?;
    if session.len() > 32 || ciphers.is_empty() || ciphers.len() % 2 != 0 || compressions.is_empty() {
        return None;
    }
    // Before TLS 1.3 a hello could end here.
    if hello.0.is_empty() {
        return Some(None);
    }
    let mut extensions = Reader(hello.vector()?);
    if !hello.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.two_bytes()?;
        let data = extensions.vector()?;
        if kind == SERVER_NAME && found.replace(data).is_some() {
            return None;
        }
    }
    let Some(data) = found else { return Some(None) };
    let mut data = Reader(data);
    let mut names = Reader(data.vector()?);
    let &[HOST_NAME] = names.take(1)? else { return None };
    let host = names.vector()?;
    // More than one name would be one for each reader.
    if !data.0.is_empty() || !names.0.is_empty() || host.is_empty() || !host.is_ascii() {
        return None;
    }
    let host = str::from_utf8(host).ok()?;
    host.bytes().all(|byte| byte.is_ascii_graphic()).then(|| name(host))
}

impl<'a> Reader<'a> {
    fn two_bytes(&mut self) -> Option<u16> {
        let (taken, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*taken))
    }

    /// A vector whose length has two bytes (RFC 8446 section 3.4).
    fn vector(&mut self) -> Option<&'a [u8]> {
        let length = self.two_bytes()?;
        self.take(length.into())
    }

    /// One whose length has one byte.
    fn short_vector(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?;
        self.take(length.into())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn vector(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }

    fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector(data)].concat()
    }

    pub(crate) fn server_names(names: &[&[u8]]) -> Vec<u8> {
        let names: Vec<u8> = names.iter().flat_map(|name| [&[HOST_NAME][..], &vector(name)].concat()).collect();
        extension(SERVER_NAME, &vector(&names))
    }

    fn message(body: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = (body.len() as u32).to_be_bytes();
        [&[CLIENT_HELLO, a, b, c][..], body].concat()
    }

    /// A ClientHello up to its extensions.
    fn beginning() -> Vec<u8> {
        [&[3, 3][..], &[7; 32], &[4, 1, 2, 3, 4], &[0, 4, 0x13, 1, 0x13, 2], &[1, 0]].concat()
    }

    pub(crate) fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
        message(&[beginning(), vector(&extensions.concat())].concat())
    }

    pub(crate) fn records(message: &[u8], length: usize) -> Vec<u8> {
        message.chunks(length).flat_map(|part| [&[HANDSHAKE, 3, 1][..], &vector(part)].concat()).collect()
    }

    fn hear(message: &[u8]) -> Hearing {
        Hello::default().hear(&records(message, 16_384))
    }

    fn named(name: Option<&str>) -> Hearing {
        Hearing::Heard(Heard::Tls(name.map(Into::into)))
    }

    #[test]
    fn a_hello_has_the_name_that_it_has() {
        let padding = extension(21, &[0; 300]);
        // What stands for an encrypted hello, with its name inside, is an extension like others (draft-ietf-tls-esni).
        let encrypted = extension(0xfe0d, &[0; 200]);
        let one = server_names(&[b"A.Example.ORG"]);
        assert_eq!(hear(&hello(&[padding.clone(), one.clone(), encrypted])), named(Some("a.example.org")));
        assert_eq!(hear(&hello(&[padding])), named(None));
        assert_eq!(hear(&message(&beginning())), named(None));
        assert_eq!(hear(&hello(&[server_names(&[b"a.example.org."])])), named(Some("a.example.org.")));
        // An address is no name.
        assert_eq!(hear(&hello(&[server_names(&[b"192.0.2.1"])])), named(None));
        assert_eq!(hear(&hello(&[server_names(&[b"2001:db8::1"])])), named(None));
        // What follows the hello is not looked at: it may be data that was sent early.
        let mut early = records(&hello(&[one]), 16_384);
        early.extend([23, 3, 3, 0, 1, 0]);
        assert_eq!(Hello::default().hear(&early), named(Some("a.example.org")));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_hello() {
        let one = server_names(&[b"a.org"]);
        let list = |bytes: &[u8]| extension(SERVER_NAME, bytes);
        for (what, message) in [
            ("two names", hello(&[server_names(&[b"a.org", b"b.org"])])),
            ("the extension twice", hello(&[one.clone(), server_names(&[b"b.org"])])),
            ("no name", hello(&[server_names(&[])])),
            ("an empty name", hello(&[server_names(&[b""])])),
            ("an empty extension", hello(&[list(b"")])),
            ("another type of name", hello(&[list(&[0, 4, 1, 0, 1, b'a'])])),
            ("bytes behind the name", hello(&[list(&[0, 4, 0, 0, 1, b'a', 9])])),
            ("a name beyond its list", hello(&[list(&[0, 4, 0, 0, 9, b'a'])])),
            ("a zero in the name", hello(&[server_names(&[b"a.org\0.b.org"])])),
            ("a space in the name", hello(&[server_names(&[b"a.org b.org"])])),
            ("a letter of no ASCII", hello(&[server_names(&["\u{e4}.org".as_bytes()])])),
            ("an extension beyond the hello", message(&[beginning(), vec![0, 9, 0, 0, 0, 1]].concat())),
            ("bytes behind the extensions", message(&[beginning(), vector(&one), vec![0]].concat())),
            ("another message", [vec![2], hello(std::slice::from_ref(&one))[1..].to_vec()].concat()),
            ("a message behind it", [hello(std::slice::from_ref(&one)), hello(&[])].concat()),
            ("SSL 2", message(&[vec![2], beginning()[1..].to_vec(), vector(&one)].concat())),
        ] {
            assert_eq!(hear(&message), Hearing::Unclear, "{what}");
        }
        let cut = beginning();
        for length in 0..cut.len() {
            assert_eq!(hear(&message(&cut[..length])), Hearing::Unclear, "{length}");
        }
        for record in [[22, 3, 1, 0, 0], [22, 3, 1, 0x40, 1], [22, 2, 1, 0, 9], [22, 0, 0, 0, 9]] {
            assert_eq!(Hello::default().hear(&record), Hearing::Unclear, "{record:?}");
        }
        // Another kind of record in the midst of the hello.
        let whole = hello(&[one]);
        let (before, after) = whole.split_at(20);
        let mixed = [records(before, 99), vec![21, 3, 1, 0, 2, 1, 0], records(after, 99)].concat();
        assert_eq!(Hello::default().hear(&mixed), Hearing::Unclear);
    }
}
