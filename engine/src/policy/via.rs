//! Where a rule leads what it allows, in the place of where that was going.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV6};
use std::str::FromStr;

/// Another way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Via {
    /// Another destination, of connections and datagrams.
    Address(SocketAddr),
    /// A proxy, of connections; one of SOCKS, of datagrams as well.
    Proxy(Proxy),
}

/// A proxy that connections go through, and datagrams where it is one of SOCKS.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) language: Language,
    pub(crate) names: bool,
}

/// How it is talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// SOCKS version 5 (RFC 1928), with a name and a password (RFC 1929) where there are some. It relays datagrams as well.
    Socks5(Option<Credentials>),
    /// HTTP, by the method CONNECT (RFC 9110), with a name and a password (RFC 7617) where there are some.
    Connect(Option<Credentials>),
}

/// A name and a password.
pub(crate) type Credentials = (Box<[u8]>, Box<[u8]>);

/// Why a text is no [`Proxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// It begins with neither `socks5://` nor `http://`.
    Scheme,
    /// What follows is no address with a port. Names are not looked up.
    Address,
    /// Name and password are not 1 to 255 bytes each, or have for HTTP what it has no place for (RFC 7617 section 2): a colon in the
    /// name, or control characters.
    Credentials,
    /// In name or password there is an `@`, or a `%` without two hexadecimal digits behind it.
    Encoding,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProxyError::Scheme => "a proxy is socks5:// or http://, with an address and a port",
            ProxyError::Address => "the proxy has to be an address with a port, such as 192.0.2.7:1080",
            ProxyError::Credentials => {
                "user and password have 1 to 255 bytes each; with http:// no control characters, and the user no `:`"
            },
            ProxyError::Encoding => {
                "in user and password, `@` is written %40, `%` is written %25, and behind a `%` are two hexadecimal digits"
            }
        })
    }
}

impl std::error::Error for ProxyError {}

impl Proxy {
    /// Whether it takes datagrams as well as connections.
    pub(crate) fn relays_datagrams(&self) -> bool {
        matches!(self.language, Language::Socks5(_))
    }

    /// Has the proxy be told names in the place of addresses, where an address counts for one.
    #[must_use]
    pub fn with_names(mut self, names: bool) -> Proxy {
        self.names = names;
        self
    }
}

/// `socks5://192.0.2.7:1080`, `socks5://user:password@192.0.2.7:1080`, `http://192.0.2.7:3128`, `http://user:password@192.0.2.7:3128`. User and password are percent-encoded
/// (RFC 3986 section 2.1), and so are these characters of them: `%`, `@`, and in the user `:`. They may be any bytes.
impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Proxy, ProxyError> {
        let (scheme, rest) = text.split_once("://").ok_or(ProxyError::Scheme)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        if credentials.is_some_and(|credentials| credentials.contains('@')) {
            return Err(ProxyError::Encoding);
        }
        if !matches!(scheme, "socks5" | "http") {
            return Err(ProxyError::Scheme);
        }
        let credentials = match credentials.map(|it| it.split_once(':').ok_or(ProxyError::Credentials)).transpose()? {
            Some((name, password)) => Some((credential(name)?, credential(password)?)),
            None => None,
        };
        let language = match (scheme, credentials) {
            ("socks5", credentials) => Language::Socks5(credentials),
            (_, Some((name, password))) if !suit_http(&name, &password) => return Err(ProxyError::Credentials),
            (_, credentials) => Language::Connect(credentials),
        };
        let address: SocketAddr = address.parse().map_err(|_| ProxyError::Address)?;
        if is_nowhere(&address) {
            return Err(ProxyError::Address);
        }
        Ok(Proxy { address, language, names: false })
    }
}

/// A user or a password, decoded. (The crate `percent-encoding` passes over a `%` that encodes nothing, and it is meant to be told.)
fn credential(text: &str) -> Result<Box<[u8]>, ProxyError> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let (high, low) = digit(bytes.next()).zip(digit(bytes.next())).ok_or(ProxyError::Encoding)?;
                high << 4 | low
            }
            _ => byte,
        });
    }
    if (1..=255).contains(&decoded.len()) { Ok(decoded.into()) } else { Err(ProxyError::Credentials) }
}

/// RFC 7617 section 2.
fn suit_http(name: &[u8], password: &[u8]) -> bool {
    !name.contains(&b':') && !name.iter().chain(password).any(u8::is_ascii_control)
}

/// Whether nothing can be connected to it.
pub(super) fn is_nowhere(address: &SocketAddr) -> bool {
    let scoped = matches!(address, SocketAddr::V6(v6) if SocketAddrV6::scope_id(v6) != 0);
    address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() || scoped
}

/// Without the password, which is nobody's business.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if matches!(self.language, Language::Connect(_)) { "http" } else { "socks5" };
        write!(f, "{scheme}://{}{}", self.address, if self.names { ", which is told names" } else { "" })
    }
}

/// The same.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_what_is_written() {
        let proxy = |text: &str| text.parse::<Proxy>();
        let socks = proxy("socks5://us%40%3aer:s:e%40cre%25t%C3%bf@[2001:db8::1]:1080").unwrap();
        assert_eq!(socks.address, "[2001:db8::1]:1080".parse().unwrap());
        assert!(
            matches!(&socks.language, Language::Socks5(Some((name, password))) if &**name == b"us@:er" && &**password == b"s:e@cre%t\xc3\xbf")
        );
        assert!(!format!("{socks:?} {socks}").contains("cre"));
        assert!(matches!(proxy("socks5://192.0.2.7:1080").unwrap().language, Language::Socks5(None)));
        assert_eq!(proxy("http://192.0.2.7:3128/").unwrap().language, Language::Connect(None));
        let http = proxy("http://us%40er:s%3ae:cret@192.0.2.7:3128").unwrap();
        assert!(
            matches!(&http.language, Language::Connect(Some((name, password))) if &**name == b"us@er" && &**password == b"s:e:cret")
        );
        assert!(!format!("{http:?} {http}").contains("cret"));
        for (text, wanted) in [
            ("192.0.2.7:1080", ProxyError::Scheme),
            ("socks4://192.0.2.7:1080", ProxyError::Scheme),
            ("socks5://192.0.2.7", ProxyError::Address),
            ("socks5://proxy.example:1080", ProxyError::Address),
            ("socks5://192.0.2.7:0", ProxyError::Address),
            ("http://0.0.0.0:80", ProxyError::Address),
            ("socks5://me@192.0.2.7:1080", ProxyError::Credentials),
            ("socks5://me:@192.0.2.7:1080", ProxyError::Credentials),
            ("http://me@192.0.2.7:3128", ProxyError::Credentials),
            ("http://m%3ae:x@192.0.2.7:3128", ProxyError::Credentials),
            ("http://me:x%0a@192.0.2.7:3128", ProxyError::Credentials),
            ("ftp://me:x@192.0.2.7:3128", ProxyError::Scheme),
            ("socks5://me@home:x@192.0.2.7:1080", ProxyError::Encoding),
            ("http://me:x@y@192.0.2.7:3128", ProxyError::Encoding),
            ("socks5://me:100%@192.0.2.7:1080", ProxyError::Encoding),
            ("socks5://me:%4@192.0.2.7:1080", ProxyError::Encoding),
            ("socks5://m%zz:x@192.0.2.7:1080", ProxyError::Encoding),
            ("socks5://me:%+1@192.0.2.7:1080", ProxyError::Encoding),
            ("socks5://me:%\u{e9}@192.0.2.7:1080", ProxyError::Encoding),
        ] {
            assert_eq!(proxy(text), Err(wanted), "{text}");
        }
        let long = format!("socks5://me:{}@192.0.2.7:1080", "x".repeat(256));
        assert_eq!(proxy(&long), Err(ProxyError::Credentials));
        // It is the bytes that are said to the proxy that count.
        let encoded = format!("socks5://me:{}@192.0.2.7:1080", "%78".repeat(255));
        assert!(proxy(&encoded).is_ok());
    }
}
