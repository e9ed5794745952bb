//! The head of a request of HTTP/1 (RFC 9112 sections 2 and 3).

use super::{Heard, Hearing, name};

/// The most fields that a head may have.
const MOST_FIELDS: usize = 128;

/// The head so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
    /// So many bytes at the beginning of its last line were seen.
    in_line: usize,
    /// The first line is whole, and is one of a request.
    has_first_line: bool,
}

impl Head {
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Hearing {
        for &byte in bytes {
            let after_return = self.bytes.last() == Some(&b'\r');
            // Readers differ in whether either of the two ends a line alone, and in what an empty line before the first one is.
            if (byte == b'\n') != after_return || (self.bytes.is_empty() && !byte.is_ascii_alphabetic()) {
                return Hearing::Unclear;
            }
            self.bytes.push(byte);
            if byte != b'\n' {
                self.in_line += 1;
                continue;
            }
            let is_empty = std::mem::take(&mut self.in_line) == 1;
            if !std::mem::replace(&mut self.has_first_line, true) && !is_begun(&self.bytes) {
                return Hearing::Unclear;
            }
            if is_empty {
                return host(&self.bytes).map_or(Hearing::Unclear, |host| Hearing::Heard(Heard::Http(host)));
            }
        }
        Hearing::More
    }
}

/// Whether these are the first lines of a request: who speaks another protocol is not kept waiting.
fn is_begun(bytes: &[u8]) -> bool {
    httparse::Request::new(&mut [httparse::EMPTY_HEADER; 1]).parse(bytes).is_ok()
}

/// The host that a whole head is for, if it says one; `None` when it is no head, or can be read in two ways.
fn host(head: &[u8]) -> Option<Option<Box<str>>> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    if request.parse(head) != Ok(httparse::Status::Complete(head.len())) {
        return None;
    }
    let mut hosts = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    let field = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(name_in(str::from_utf8(host.value).ok()?.trim_matches([' ', '\t']))?),
        (None, _) => None,
        // RFC 9112 section 3.2: a server refuses it, but which one it takes who does not is not known.
        (Some(_), Some(_)) => return None,
    };
    let target = request.path?;
    let in_target = match request.method? {
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
    match (field, in_target) {
        // RFC 9112 section 3.2.2: the target counts, but not everybody knows that.
        (Some(field), Some(target)) if field != target => None,
        (None, Some(_)) => None,
        (field, _) => Some(field.flatten()),
    }
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
            " GET / HTTP/1.1\r\nHost: a.org\r\n\r\n",
        ] {
            assert_eq!(hear(head), Hearing::Unclear, "{head:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}Host: a.org\r\n\r\n", "X: y\r\n".repeat(MOST_FIELDS));
        assert_eq!(hear(&many), Hearing::Unclear);
    }
}
