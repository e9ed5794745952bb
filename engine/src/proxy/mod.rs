//! What is said to a proxy before a connection through it is one to where it leads, or before it relays datagrams.
//!
//! A [`Dialogue`] says what is to be sent and how many bytes may be read, and is given what was read: never more than the proxy's
//! answers have, as what follows them is for the guest. `socks5` and `connect` are the two languages; the first one also says what stands before
//! each datagram. Nothing comes in of sockets, flows,
//! rules or the time.
#![forbid(unsafe_code)]

mod connect;
mod socks5;

use std::fmt;
use std::net::SocketAddr;

pub(crate) use socks5::head;
pub use socks5::{Sender, unwrap, wrap};

/// Where a connection is to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This address.
    Address(SocketAddr),
    /// The proxy finds the address.
    Name(Box<str>, u16),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Address(address) => write!(f, "{address}"),
            Target::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to be said or heard.
    More,
    /// What comes from now on comes from where the connection leads.
    Through,
    /// The proxy does not want to, or is none.
    Refused,
    /// It does not want to for the name and the password, or for want of them.
    NotAdmitted,
}

/// One connection's words with a proxy.
#[derive(Debug)]
pub struct Dialogue {
    /// What is still to be sent.
    to_send: Vec<u8>,
    language: Language,
}

#[derive(Debug)]
enum Language {
    Socks5(socks5::Client),
    Connect(connect::Client),
}

impl Dialogue {
    /// With a SOCKS proxy of version 5 (RFC 1928), which may want a name and a password (RFC 1929); these have 1 to 255 bytes.
    pub fn socks5(credentials: Option<(&[u8], &[u8])>, target: Target) -> Dialogue {
        Dialogue::with_socks5(credentials, socks5::Request::Connect(target))
    }

    /// The same, for datagrams: [`Dialogue::bound`] says where they go.
    pub fn associate(credentials: Option<(&[u8], &[u8])>) -> Dialogue {
        Dialogue::with_socks5(credentials, socks5::Request::Associate)
    }

    fn with_socks5(credentials: Option<(&[u8], &[u8])>, request: socks5::Request) -> Dialogue {
        let mut to_send = Vec::new();
        let client = socks5::Client::new(credentials, request, &mut to_send);
        Dialogue { to_send, language: Language::Socks5(client) }
    }

    /// The address that a SOCKS proxy has bound, once it has let this through.
    pub fn bound(&self) -> Option<SocketAddr> {
        match &self.language {
            Language::Socks5(client) => client.bound(),
            Language::Connect(_) => None,
        }
    }

    /// With an HTTP proxy, by the method CONNECT (RFC 9110 section 9.3.6); with a name and a password where there are some (RFC 7617).
    pub fn connect(credentials: Option<(&[u8], &[u8])>, target: &Target) -> Dialogue {
        let mut to_send = Vec::new();
        let client = connect::Client::new(credentials, target, &mut to_send);
        Dialogue { to_send, language: Language::Connect(client) }
    }

    /// What is to be sent now.
    pub fn to_send(&self) -> &[u8] {
        &self.to_send
    }

    /// So many bytes of that were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.to_send.drain(..bytes.min(self.to_send.len()));
    }

    /// How many bytes may be read; one at least.
    pub fn wanted(&self) -> usize {
        match &self.language {
            Language::Socks5(client) => client.wanted(),
            Language::Connect(client) => client.wanted(),
        }
    }

    /// No more than so many were read.
    pub fn hear(&mut self, bytes: &[u8]) -> Step {
        match &mut self.language {
            Language::Socks5(client) => client.hear(bytes, &mut self.to_send),
            Language::Connect(client) => client.hear(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has a proxy answer with these bytes, as fast as they may be read, each answer once what it answers was sent. What was said, how it
    /// ended, and what of the answers was left unread.
    pub(super) fn talk(dialogue: &mut Dialogue, answers: &[&[u8]]) -> (Vec<Vec<u8>>, Step, Vec<u8>) {
        let mut said = Vec::new();
        for answer in answers {
            let bytes = dialogue.to_send().to_vec();
            dialogue.sent(1);
            assert_eq!(dialogue.to_send().len() + 1, bytes.len());
            dialogue.sent(bytes.len() - 1);
            said.push(bytes);
            let mut rest = *answer;
            while !rest.is_empty() && dialogue.to_send().is_empty() {
                let (now, later) = rest.split_at(dialogue.wanted().min(rest.len()));
                assert!(!now.is_empty());
                rest = later;
                match dialogue.hear(now) {
                    Step::More => {}
                    step => return (said, step, rest.to_vec()),
                }
            }
            assert!(rest.is_empty(), "an answer before its question");
        }
        (said, Step::More, Vec::new())
    }

    proptest::proptest! {
        /// Whatever a proxy says, no more is read than was wanted, little is said, and it comes to an end.
        #[test]
        fn whatever_a_proxy_says_comes_to_an_end(
            http: bool,
            password: bool,
            good: bool,
            noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..12_000),
        ) {
            let target = Target::Name("a.org".into(), 443);
            let credentials = password.then_some((&b"me"[..], &b"secret"[..]));
            let mut dialogue = match http {
                true => Dialogue::connect(credentials, &target),
                false => Dialogue::socks5(credentials, target),
            };
            let begin: &[u8] = match (good, http, password) {
                (false, ..) => b"",
                (true, true, _) => b"HTTP/1.1 200 OK\r\n",
                (true, false, false) => &[5, 0],
                (true, false, true) => &[5, 2, 1, 0],
            };
            let bytes = [begin, &noise].concat();
            let (mut rest, mut said, mut step) = (bytes.as_slice(), 0, Step::More);
            while step == Step::More && !rest.is_empty() {
                said += dialogue.to_send().len();
                dialogue.sent(dialogue.to_send().len());
                let wanted = dialogue.wanted();
                proptest::prop_assert!((1..=257).contains(&wanted));
                let (now, later) = rest.split_at(wanted.min(rest.len()));
                step = dialogue.hear(now);
                rest = later;
            }
            proptest::prop_assert!(said <= 1024);
            proptest::prop_assert!(step != Step::More || bytes.len() - rest.len() <= 8 * 1024 + 4);
        }
    }

    #[test]
    fn a_target_is_written_as_urls_have_it() {
        assert_eq!(Target::Address("192.0.2.1:443".parse().unwrap()).to_string(), "192.0.2.1:443");
        assert_eq!(Target::Address("[2001:db8::1]:443".parse().unwrap()).to_string(), "[2001:db8::1]:443");
        assert_eq!(Target::Name("a.org".into(), 80).to_string(), "a.org:80");
    }
}
