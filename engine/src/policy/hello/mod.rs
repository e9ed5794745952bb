//! The first bytes of a connection, and the name of the server that they are for: that of a ClientHello of TLS, or of the head
//! of a request of HTTP.
//!
//! Bytes go in as they come, each once and cut anywhere; a name comes out, or that there is none to be had. What is kept is bounded
//! by [`Hello::LONGEST`], and each byte is looked at a bounded number of times. `tls` reads the one kind, `http` the other, and `requests`
//! finds the further requests of a connection; `quic` has a ClientHello in datagrams (`reader`: bytes from their beginning). Nothing comes in of rules, flows or the time, and nothing here is lenient: what two readers could read differently is no hello,
//! because whoever is behind the connection is the other reader.

mod http;
mod quic;
mod reader;
mod requests;
mod tls;

use std::net::IpAddr;

pub use quic::{QuicFollows, QuicHello, QuicSpoken, begins_other_quic, may_begin_quic};
pub use requests::{Look, Requests};

/// Where the first bytes of a connection have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HelloKind {
    /// In a ClientHello of TLS.
    Tls,
    /// In the head of a request of HTTP/1.
    Http,
}

impl HelloKind {
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What the first bytes of a connection have said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// A ClientHello of TLS, with the server's name that it has (RFC 6066 section 3), if it has one. The name that is not
    /// encrypted, where there are two.
    Tls(Option<Box<str>>),
    /// The head of a request of HTTP/1, with the host that it is for (RFC 9112 section 3.2), if it says one. Without its port.
    Http(Option<Box<str>>),
}

impl Heard {
    /// Where it was found.
    #[must_use]
    pub fn kind(&self) -> HelloKind {
        match self {
            Heard::Tls(_) => HelloKind::Tls,
            Heard::Http(_) => HelloKind::Http,
        }
    }

    /// The name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Heard::Tls(name) | Heard::Http(name) => name.as_deref(),
        }
    }
}

/// How far the first bytes have been understood.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hearing {
    /// More have to come.
    More,
    /// They are whole.
    Heard(Heard),
    /// They are neither, or too long, or can be read in two ways.
    Unclear,
}

/// The first bytes of one connection.
#[derive(Debug, Default)]
pub struct Hello {
    kind: Kind,
    /// How many bytes have come.
    length: usize,
}

#[derive(Debug, Default)]
enum Kind {
    /// No byte has come.
    #[default]
    Unknown,
    Tls(tls::ClientHello),
    Http(http::Head),
    /// It was whole, or nothing can become of it.
    Over,
}

impl Hello {
    /// The most bytes that are looked at.
    pub const LONGEST: usize = 16 * 1024;

    /// Takes the next bytes.
    pub fn hear(&mut self, bytes: &[u8]) -> Hearing {
        let Some(first) = bytes.first() else { return Hearing::More };
        if matches!(self.kind, Kind::Unknown) {
            self.kind = match *first {
                tls::HANDSHAKE => Kind::Tls(tls::ClientHello::default()),
                _ => Kind::Http(http::Head::default()),
            };
        }
        let bytes = bytes.get(..Hello::LONGEST - self.length).unwrap_or(bytes);
        self.length += bytes.len();
        let hearing = match &mut self.kind {
            Kind::Tls(hello) => hello.hear(bytes),
            Kind::Http(head) => head.hear(bytes),
            Kind::Unknown | Kind::Over => Hearing::Unclear,
        };
        if hearing == Hearing::More && self.length < Hello::LONGEST {
            return Hearing::More;
        }
        self.kind = Kind::Over;
        if hearing == Hearing::More { Hearing::Unclear } else { hearing }
    }
}

/// A name as a rule can have it. An address is none, and neither is an empty text: who sends that might as well have sent nothing.
fn name(text: &str) -> Option<Box<str>> {
    (!text.is_empty() && text.parse::<IpAddr>().is_err()).then(|| text.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard when the bytes come in pieces of this length.
    fn in_pieces(bytes: &[u8], length: usize) -> Hearing {
        let mut hello = Hello::default();
        let mut pieces = bytes.chunks(length);
        let heard = pieces.find_map(|piece| Some(hello.hear(piece)).filter(|hearing| *hearing != Hearing::More));
        heard.unwrap_or(Hearing::More)
    }

    #[test]
    fn the_same_is_heard_however_the_bytes_are_cut() {
        let hello = tls::tests::hello(&[tls::tests::server_names(&[b"Api.Example.org"])]);
        let tls = Hearing::Heard(Heard::Tls(Some("api.example.org".into())));
        let request = b"GET / HTTP/1.1\r\nAccept: */*\r\nHost: Api.example.ORG:80\r\n\r\n";
        let http = Hearing::Heard(Heard::Http(Some("api.example.org".into())));
        for length in [1, 2, 3, 7, 100, 1000] {
            assert_eq!(in_pieces(&tls::tests::records(&hello, 16_384), length), tls);
            assert_eq!(in_pieces(&tls::tests::records(&hello, 5), length), tls);
            assert_eq!(in_pieces(&tls::tests::records(&hello, 1), length), tls);
            assert_eq!(in_pieces(request, length), http);
        }
    }

    #[test]
    fn what_does_not_end_is_bounded() {
        for mut endless in
            [vec![b'a'; 20_000], b"GET / HTTP/1.1\r\n".to_vec(), tls::tests::records(&[1, 0, 0x3f, 0], 4)]
        {
            endless.resize(20_000, b'a');
            assert_eq!(in_pieces(&endless, 100), Hearing::Unclear);
        }
        let mut hello = Hello::default();
        let line = b"X: 0123456789\r\n";
        assert_eq!(hello.hear(b"GET / HTTP/1.1\r\n"), Hearing::More);
        let heard = (0..2000).map(|_| hello.hear(line)).find(|hearing| *hearing != Hearing::More);
        assert_eq!(heard, Some(Hearing::Unclear));
        // It stays so.
        assert_eq!(hello.hear(b"\r\n"), Hearing::Unclear);
        assert_eq!(Hello::default().hear(b""), Hearing::More);
    }

    #[test]
    fn other_protocols_are_no_hello() {
        for bytes in [
            &b"SSH-2.0-OpenSSH_9.9\r\n\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
            b"\x05\x01\x00",
            b"\0\0\0\0",
            b"EHLO example.org\r\n",
            b"\r\nGET / HTTP/1.1\r\nHost: a.org\r\n\r\n",
        ] {
            assert_eq!(in_pieces(bytes, 1), Hearing::Unclear, "{bytes:?}");
        }
    }
}
