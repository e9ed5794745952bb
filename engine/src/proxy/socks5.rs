//! SOCKS version 5 (RFC 1928), with a name and a password where the proxy wants them (RFC 1929).

use super::{Step, Target};

const VERSION: u8 = 5;
const WITHOUT: u8 = 0;
const BY_PASSWORD: u8 = 2;
const NONE: u8 = 0xff;
/// The version of the negotiation of RFC 1929, and its good outcome.
const PASSWORD_VERSION: u8 = 1;
const SUCCESS: u8 = 0;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Method,
    Admission,
    /// The answer to the request, up to the byte from which its length can be told.
    Answer,
    /// The rest of it.
    Bound,
}

#[derive(Debug)]
pub(super) struct Client {
    stage: Stage,
    credentials: Option<(Vec<u8>, Vec<u8>)>,
    target: Target,
    /// What was read of the answer that is being waited for, and how long it is.
    heard: Vec<u8>,
    length: usize,
}

impl Client {
    pub(super) fn new(credentials: Option<(&[u8], &[u8])>, target: Target, to_send: &mut Vec<u8>) -> Client {
        match credentials {
            Some(_) => to_send.extend([VERSION, 2, WITHOUT, BY_PASSWORD]),
            None => to_send.extend([VERSION, 1, WITHOUT]),
        }
        let credentials = credentials.map(|(name, password)| (name.to_vec(), password.to_vec()));
        Client { stage: Stage::Method, credentials, target, heard: Vec::new(), length: 2 }
    }

    pub(super) fn wanted(&self) -> usize {
        self.length.saturating_sub(self.heard.len()).max(1)
    }

    pub(super) fn hear(&mut self, bytes: &[u8], to_send: &mut Vec<u8>) -> Step {
        self.heard.extend_from_slice(bytes);
        if self.heard.len() < self.length {
            return Step::More;
        }
        let (stage, length) = match (self.stage, self.heard.as_slice()) {
            (Stage::Method, [VERSION, WITHOUT]) | (Stage::Admission, [PASSWORD_VERSION, SUCCESS]) => {
                self.request(to_send);
                (Stage::Answer, 5)
            }
            (Stage::Method, [VERSION, BY_PASSWORD]) => {
                let Some((name, password)) = &self.credentials else { return Step::NotAdmitted };
                to_send.push(PASSWORD_VERSION);
                for text in [name, password] {
                    let text = text.get(..255).unwrap_or(text);
                    to_send.push(text.len() as u8);
                    to_send.extend_from_slice(text);
                }
                (Stage::Admission, 2)
            }
            // The address that the proxy has bound is of no use here, but has to be read.
            (Stage::Answer, [VERSION, SUCCESS, _, IPV4, _]) => (Stage::Bound, 4 - 1 + 2),
            (Stage::Answer, [VERSION, SUCCESS, _, IPV6, _]) => (Stage::Bound, 16 - 1 + 2),
            (Stage::Answer, [VERSION, SUCCESS, _, NAME, length]) => (Stage::Bound, usize::from(*length) + 2),
            (Stage::Bound, _) => return Step::Through,
            // No method that was offered would do (RFC 1928 section 3), or name and password were wrong (RFC 1929 section 2).
            (Stage::Method, [VERSION, NONE]) | (Stage::Admission, [PASSWORD_VERSION, _]) => return Step::NotAdmitted,
            _ => return Step::Refused,
        };
        (self.stage, self.length) = (stage, length);
        self.heard.clear();
        Step::More
    }

    fn request(&self, to_send: &mut Vec<u8>) {
        to_send.extend([VERSION, CONNECT, 0]);
        let port = match &self.target {
            Target::Address(address) => {
                match address.ip() {
                    std::net::IpAddr::V4(ip) => {
                        to_send.push(IPV4);
                        to_send.extend(ip.octets());
                    }
                    std::net::IpAddr::V6(ip) => {
                        to_send.push(IPV6);
                        to_send.extend(ip.octets());
                    }
                }
                address.port()
            }
            Target::Name(name, port) => {
                let name = name.as_bytes().get(..255).unwrap_or(name.as_bytes());
                to_send.extend([NAME, name.len() as u8]);
                to_send.extend_from_slice(name);
                *port
            }
        };
        to_send.extend(port.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::talk;
    use super::super::{Dialogue, Step, Target};

    fn to(address: &str) -> Target {
        Target::Address(address.parse().unwrap())
    }

    const BOUND: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 4, 0];

    #[test]
    fn a_connection_is_asked_for() {
        let (said, step, rest) =
            talk(Dialogue::socks5(None, to("192.0.2.7:443")), &[&[5, 0], &[BOUND, b"220 hello"].concat()]);
        assert_eq!(said, [vec![5, 1, 0], vec![5, 1, 0, 1, 192, 0, 2, 7, 1, 187]]);
        assert_eq!((step, rest.as_slice()), (Step::Through, &b"220 hello"[..]));
        let (said, ..) = talk(Dialogue::socks5(None, to("[2001:db8::1]:80")), &[&[5, 0], BOUND]);
        assert_eq!(said[1], [&[5, 1, 0, 4, 0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1, 0, 80]].concat());
        let (said, step, _) = talk(Dialogue::socks5(None, Target::Name("a.org".into(), 80)), &[&[5, 0], BOUND]);
        assert_eq!((said[1].as_slice(), step), (&b"\x05\x01\x00\x03\x05a.org\x00\x50"[..], Step::Through));
    }

    #[test]
    fn answers_are_read_to_their_end_and_no_further() {
        for bound in [
            [&[5, 0, 0, 3, 3][..], b"abc", &[1, 2]].concat(),
            [&[5, 0, 0, 4][..], &[7; 18]].concat(),
            [&[5, 0, 0, 3, 0][..], &[1, 2]].concat(),
        ] {
            let answer = [&bound[..], b"x"].concat();
            let (_, step, rest) = talk(Dialogue::socks5(None, to("192.0.2.7:1")), &[&[5, 0], &answer]);
            assert_eq!((step, rest.as_slice()), (Step::Through, &b"x"[..]), "{bound:?}");
        }
    }

    #[test]
    fn a_password_is_given_where_it_is_asked_for() {
        let dialogue = || Dialogue::socks5(Some((b"me", b"secret")), to("192.0.2.7:1"));
        let (said, step, _) = talk(dialogue(), &[&[5, 2], &[1, 0], BOUND]);
        assert_eq!((said[0].as_slice(), said[1].as_slice()), (&[5, 2, 0, 2][..], &b"\x01\x02me\x06secret"[..]));
        assert_eq!((said.len(), step), (3, Step::Through));
        assert_eq!(talk(dialogue(), &[&[5, 0], BOUND]).1, Step::Through);
        assert_eq!(talk(dialogue(), &[&[5, 2], &[1, 1]]).1, Step::NotAdmitted);
        assert_eq!(talk(dialogue(), &[&[5, 0xff]]).1, Step::NotAdmitted);
        // It is not asked for where it was not offered.
        assert_eq!(talk(Dialogue::socks5(None, to("192.0.2.7:1")), &[&[5, 2]]).1, Step::NotAdmitted);
    }

    #[test]
    fn what_is_no_consent_is_a_refusal() {
        for answers in [
            &[&[4, 0][..]][..],
            &[&[5, 1]],
            &[b"HT"],
            &[&[5, 0], &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]],
            &[&[5, 0], &[5, 0, 0, 9, 0, 0, 0, 0, 0, 0]],
            &[&[5, 0], &[4, 0, 0, 1, 0, 0, 0, 0, 0, 0]],
        ] {
            assert_eq!(talk(Dialogue::socks5(None, to("192.0.2.7:1")), answers).1, Step::Refused, "{answers:?}");
        }
        assert_eq!(talk(Dialogue::socks5(None, to("192.0.2.7:1")), &[&[5, 0], &[5, 0, 0, 1]]).1, Step::More);
    }
}
