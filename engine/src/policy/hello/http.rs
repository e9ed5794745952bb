//! The head of a request of HTTP/1 (RFC 9112 sections 2 and 3).

use super::{Heard, Hearing, name};

/// The most fields that a head may have.
const MOST_FIELDS: usize = 128;

/// The lines of a head, as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Lines {
    last: u8,
    /// So many bytes at the beginning of its last line were seen.
    in_line: usize,
    begun: bool,
    /// The first line is whole.
    has_first: bool,
}

/// What a byte is to the lines of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Within,
    /// It ends the first line.
    FirstEnd,
    /// It ends the head.
    End,
    /// It cannot stand there.
    Nowhere,
}

impl Lines {
    pub(super) fn hear(&mut self, byte: u8) -> Place {
        let after_return = std::mem::replace(&mut self.last, byte) == b'\r';
        let begun = std::mem::replace(&mut self.begun, true);
        // Readers differ in whether either of the two ends a line alone, and in what an empty line before the first one is.
        if (byte == b'\n') != after_return || (!begun && !byte.is_ascii_alphabetic()) {
            return Place::Nowhere;
        }
        if byte != b'\n' {
            self.in_line += 1;
            return Place::Within;
        }
        let is_empty = std::mem::take(&mut self.in_line) == 1;
        match std::mem::replace(&mut self.has_first, true) {
            false => Place::FirstEnd,
            true if is_empty => Place::End,
            true => Place::Within,
        }
    }
}

/// The head so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
    lines: Lines,
}

impl Head {
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Hearing {
        for &byte in bytes {
            self.bytes.push(byte);
            match self.lines.hear(byte) {
                Place::Within => {}
                Place::FirstEnd if is_begun(&self.bytes) => {}
                Place::FirstEnd | Place::Nowhere => return Hearing::Unclear,
                Place::End => {
                    let request = Request::read(&self.bytes);
                    return request.map_or(Hearing::Unclear, |it| Hearing::Heard(Heard::Http(it.host)));
                }
            }
        }
        Hearing::More
    }
}

/// Whether these are the first lines of a request: who speaks another protocol is not kept waiting.
pub(super) fn is_begun(bytes: &[u8]) -> bool {
    httparse::Request::new(&mut [httparse::EMPTY_HEADER; 1]).parse(bytes).is_ok()
}

/// What a whole head says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The host that it is for, if it says one.
    pub host: Option<Box<str>>,
    pub body: Body,
    /// It wants the connection to be one of WebSocket (RFC 6455 section 4.1), and no other.
    pub is_websocket: bool,
}

/// How far what follows a head belongs to it (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    Chunked,
}

impl Request {
    /// `None` when it is no head, or can be read in two ways.
    pub(super) fn read(head: &[u8]) -> Option<Request> {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        if request.parse(head) != Ok(httparse::Status::Complete(head.len())) {
            return None;
        }
        let (method, target, fields) = (request.method?, request.path?, &*request.headers);
        // There are servers that pass names on by variables, in which the two are one.
        let hides = |name: &str| ["content_length", "transfer_encoding"].iter().any(|it| name.eq_ignore_ascii_case(it));
        if fields.iter().any(|field| hides(field.name)) {
            return None;
        }
        let field = match one(fields, "host").ok()? {
            Some(host) => Some(name_in(host)?),
            None => None,
        };
        let in_target = match method {
            // It leads on to wherever it says.
            "CONNECT" => return None,
            "OPTIONS" if target == "*" => None,
            _ if target.starts_with('/') => None,
            _ => {
                let (scheme, rest) = target.split_once("://")?;
                if !scheme.eq_ignore_ascii_case("http") {
                    return None;
                }
                let authority = rest.split(['/', '?', '#']).next()?;
                Some(name_in(authority)?)
            }
        };
        let host = match (field, in_target) {
            // RFC 9112 section 3.2.2: the target counts, but not everybody knows that.
            (Some(field), Some(target)) if field != target => return None,
            (None, Some(_)) => return None,
            (field, _) => field.flatten(),
        };
        let body = body(fields, method, request.version?)?;
        let upgrade = one(fields, "upgrade").ok().flatten();
        let is_websocket = body == Body::Length(0) && upgrade.is_some_and(|it| it.eq_ignore_ascii_case("websocket"));
        Some(Request { host, body, is_websocket })
    }
}

/// The value of the one field of this name, if there is one. An error when there are two, or when it is no text: which one a server
/// takes that does not refuse it is not known (RFC 9112 section 3.2).
fn one<'a>(fields: &[httparse::Header<'a>], name: &str) -> Result<Option<&'a str>, ()> {
    let mut found = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (Some(field), None) => str::from_utf8(field.value).map(|it| Some(it.trim_matches([' ', '\t']))).map_err(|_| ()),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(()),
    }
}

/// How long the body is; `None` when readers could differ in that, so that one would find a request in it.
fn body(fields: &[httparse::Header], method: &str, version: u8) -> Option<Body> {
    let body = match (one(fields, "transfer-encoding").ok()?, one(fields, "content-length").ok()?) {
        (None, None) => Body::Length(0),
        (None, Some(length)) => {
            // A sign, or a list of equal lengths, is nothing to everybody.
            let plain = !length.is_empty() && length.bytes().all(|digit| digit.is_ascii_digit());
            Body::Length(length.parse().ok().filter(|_| plain)?)
        }
        // RFC 9112 section 6.1: both together, and either with HTTP/1.0, is how requests are hidden.
        (Some(coding), None) if version == 1 && coding.eq_ignore_ascii_case("chunked") => Body::Chunked,
        (Some(_), _) => return None,
    };
    // RFC 9110 section 9.3: there are servers that do not look for a body there.
    let has_none = matches!(method, "GET" | "HEAD" | "DELETE" | "TRACE");
    (!has_none || body == Body::Length(0)).then_some(body)
}

/// The name in a host with or without a port (RFC 9110 section 7.2); `None` when it is none of these.
fn name_in(host: &str) -> Option<Option<Box<str>>> {
    let (host, port) = match host.rsplit_once(':') {
        // The colons of an address of IPv6.
        Some((_, port)) if port.ends_with(']') => (host, ""),
        Some((host, port)) => (host, port),
        None => (host, ""),
    };
    if !port.bytes().all(|digit| digit.is_ascii_digit()) || port.len() > 5 {
        return None;
    }
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok().map(|_| None);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    host.bytes().all(plain).then(|| name(host))
}

#[cfg(test)]
mod tests {
    use super::super::Hello;
    use super::*;

    fn hear(head: &str) -> Hearing {
        Hello::default().hear(head.as_bytes())
    }

    fn named(name: Option<&str>) -> Hearing {
        Hearing::Heard(Heard::Http(name.map(Into::into)))
    }

    #[test]
    fn a_request_is_for_its_host() {
        for (head, name) in [
            ("GET / HTTP/1.1\r\nHost: a.org\r\n\r\n", Some("a.org")),
            ("GET / HTTP/1.1\r\nhOST:a.org:8080\r\n\r\n", Some("a.org")),
            ("GET / HTTP/1.1\r\nX: y\r\nHost: \tA.ORG. \r\nZ:\r\n\r\n", Some("a.org.")),
            ("POST http://A.org/x?y HTTP/1.1\r\nHost: a.ORG\r\n\r\nbody", Some("a.org")),
            ("GET HTTP://a.org:80 HTTP/1.1\r\nHost: a.org\r\n\r\n", Some("a.org")),
            ("OPTIONS * HTTP/1.1\r\nHost: a.org\r\n\r\n", Some("a.org")),
            ("GET / HTTP/1.0\r\n\r\n", None),
            ("GET / HTTP/1.0\r\nHost: a.org\r\n\r\n", Some("a.org")),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n", None),
        ] {
            assert_eq!(hear(head), named(name), "{head}");
        }
    }

    #[test]
    fn a_head_says_how_long_its_body_is_and_what_becomes_of_the_connection() {
        for (lines, body, is_websocket) in [
            ("GET / HTTP/1.1\r\nHost: a.org", Body::Length(0), false),
            ("GET / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 0", Body::Length(0), false),
            ("POST / HTTP/1.0\r\nHost: a.org\r\ncontent-length:  007 ", Body::Length(7), false),
            ("PUT / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: Chunked", Body::Chunked, false),
            ("GET / HTTP/1.1\r\nHost: a.org\r\nUpgrade: WebSocket", Body::Length(0), true),
            ("GET / HTTP/1.1\r\nHost: a.org\r\nUpgrade: h2c", Body::Length(0), false),
            ("GET / HTTP/1.1\r\nHost: a.org\r\nUpgrade: websocket, h2c", Body::Length(0), false),
            ("GET / HTTP/1.1\r\nHost: a.org\r\nUpgrade: websocket\r\nUpgrade: h2c", Body::Length(0), false),
            ("POST / HTTP/1.1\r\nHost: a.org\r\nUpgrade: websocket\r\nContent-Length: 1", Body::Length(1), false),
        ] {
            let request = Request { host: Some("a.org".into()), body, is_websocket };
            assert_eq!(Request::read(format!("{lines}\r\n\r\n").as_bytes()), Some(request), "{lines}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_request() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a.org\r\nHost: b.org\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.org\r\nhost: a.org\r\n\r\n",
            "GET http://b.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "GET http://b.org/ HTTP/1.1\r\n\r\n",
            "GET http://a.org@b.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "GET https://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "GET a.org HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "CONNECT a.org:443 HTTP/1.1\r\nHost: a.org:443\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: b.org\r\n a.org\r\n\r\n",
            "GET / HTTP/1.1\r\nX: y\r\n Host: a.org\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a.org\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a.org\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.org, b.org\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.org b.org\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.org/\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.org:b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.org:80:90\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x@a.org\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.org\0\r\n\r\n",
            "GET / HTTP/1.1\nHost: a.org\n\n",
            "GET / HTTP/1.1\r\nX: y\nHost: a.org\r\n\r\n",
            "GET / HTTP/1.1\r\nX: y\rHost: a.org\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a.org\r\n\r\n",
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer_Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.0\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 5, 5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: +5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 0x5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: \r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\ncontent_length: 5\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 5\r\n\r\n",
            "DELETE / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n",
            " GET / HTTP/1.1\r\nHost: a.org\r\n\r\n",
        ] {
            assert_eq!(hear(head), Hearing::Unclear, "{head:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}Host: a.org\r\n\r\n", "X: y\r\n".repeat(MOST_FIELDS));
        assert_eq!(hear(&many), Hearing::Unclear);
    }
}
