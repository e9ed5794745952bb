//! SOCKS version 5 (RFC 1928), with a name and a password where the proxy wants them (RFC 1929): a connection, or an association
//! for datagrams (section 7), with what stands before each of these.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Step, Target};

const VERSION: u8 = 5;
const WITHOUT: u8 = 0;
const BY_PASSWORD: u8 = 2;
const NONE: u8 = 0xff;
/// The version of the negotiation of RFC 1929, and its good outcome.
const PASSWORD_VERSION: u8 = 1;
const SUCCESS: u8 = 0;
const CONNECT: u8 = 1;
const UDP_ASSOCIATE: u8 = 3;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What is asked for.
#[derive(Debug)]
pub(super) enum Request {
    Connect(Target),
    /// A relay for datagrams. Which address they will come from is not told: it may be another one on the way to the proxy.
    Associate,
}

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
    request: Request,
    /// What was read of the answer that is being waited for, and how long it is.
    heard: Vec<u8>,
    length: usize,
}

impl Client {
    pub(super) fn new(credentials: Option<(&[u8], &[u8])>, request: Request, to_send: &mut Vec<u8>) -> Client {
        match credentials {
            Some(_) => to_send.extend([VERSION, 2, WITHOUT, BY_PASSWORD]),
            None => to_send.extend([VERSION, 1, WITHOUT]),
        }
        let credentials = credentials.map(|(name, password)| (name.to_vec(), password.to_vec()));
        Client { stage: Stage::Method, credentials, request, heard: Vec::new(), length: 2 }
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
            // The address that the proxy has bound is of use for datagrams only, but has to be read.
            (Stage::Answer, [VERSION, SUCCESS, _, IPV4, _]) => (Stage::Bound, 4 + 4 + 2),
            (Stage::Answer, [VERSION, SUCCESS, _, IPV6, _]) => (Stage::Bound, 4 + 16 + 2),
            (Stage::Answer, [VERSION, SUCCESS, _, NAME, length]) => (Stage::Bound, 4 + 1 + usize::from(*length) + 2),
            (Stage::Bound, _) => return Step::Through,
            // No method that was offered would do (RFC 1928 section 3), or name and password were wrong (RFC 1929 section 2).
            (Stage::Method, [VERSION, NONE]) | (Stage::Admission, [PASSWORD_VERSION, _]) => return Step::NotAdmitted,
            _ => return Step::Refused,
        };
        (self.stage, self.length) = (stage, length);
        // Of the answer to the request the whole is kept.
        if stage != Stage::Bound {
            self.heard.clear();
        }
        Step::More
    }

    /// The address that the proxy has bound, once it has said so; `None` where it is a name, too.
    pub(super) fn bound(&self) -> Option<SocketAddr> {
        let answer = self.heard.get(3..).filter(|_| self.stage == Stage::Bound)?;
        match read_address(answer)? {
            (Sender::Address(address), []) => Some(address),
            _ => None,
        }
    }

    fn request(&self, to_send: &mut Vec<u8>) {
        let nowhere = Target::Address(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let (command, target) = match &self.request {
            Request::Connect(target) => (CONNECT, target),
            Request::Associate => (UDP_ASSOCIATE, &nowhere),
        };
        to_send.extend([VERSION, command, 0]);
        write_address(target, to_send);
    }
}

/// The kind of an address, the address, and the port.
fn write_address(target: &Target, bytes: &mut Vec<u8>) {
    let port = match target {
        Target::Address(address) => {
            match address.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(IPV4);
                    bytes.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(IPV6);
                    bytes.extend(ip.octets());
                }
            }
            address.port()
        }
        Target::Name(name, port) => {
            let name = name.as_bytes().get(..255).unwrap_or(name.as_bytes());
            bytes.extend([NAME, name.len() as u8]);
            bytes.extend_from_slice(name);
            *port
        }
    };
    bytes.extend(port.to_be_bytes());
}

/// Who has sent a datagram, as the relay says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// This address.
    Address(SocketAddr),
    /// Somebody of whom it says a name, and this port.
    Named(u16),
}

impl Sender {
    /// Its port.
    pub fn port(self) -> u16 {
        match self {
            Sender::Address(address) => address.port(),
            Sender::Named(port) => port,
        }
    }
}

/// Reads what [`write_address`] writes, and gives what follows it. Mapped addresses are those of IPv4 that they stand for.
fn read_address(bytes: &[u8]) -> Option<(Sender, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (ip, rest): (Option<IpAddr>, &[u8]) = match *kind {
        IPV4 => rest.split_first_chunk::<4>().map(|(octets, rest)| (Some((*octets).into()), rest))?,
        IPV6 => rest.split_first_chunk::<16>().map(|(octets, rest)| (Some((*octets).into()), rest))?,
        NAME => {
            let (length, rest) = rest.split_first()?;
            (None, rest.get(usize::from(*length)..)?)
        }
        _ => return None,
    };
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    let sender = ip.map_or(Sender::Named(port), |ip| Sender::Address(SocketAddr::new(ip.to_canonical(), port)));
    Some((sender, rest))
}

/// Two bytes that are reserved, and one that says that a datagram is whole (RFC 1928 section 7).
const WHOLE: [u8; 3] = [0; 3];

/// What stands before each datagram that a relay is to send there.
pub(crate) fn head(target: &Target) -> Vec<u8> {
    let mut head = WHOLE.to_vec();
    write_address(target, &mut head);
    head
}

/// Writes a datagram as a relay is to have it, at the beginning of `place`. `None` where that has no room.
pub fn wrap<'a>(target: &Target, payload: &[u8], place: &'a mut [u8]) -> Option<&'a [u8]> {
    let head = head(target);
    let place = place.get_mut(..head.len() + payload.len())?;
    let (first, second) = place.split_at_mut(head.len());
    first.copy_from_slice(&head);
    second.copy_from_slice(payload);
    Some(place)
}

/// Who has sent what a relay has passed on, and what it was. `None` where it is not to be read, or one of several parts: whoever does
/// not put these together drops them.
pub fn unwrap(datagram: &[u8]) -> Option<(Sender, &[u8])> {
    match datagram.split_first_chunk::<3>()? {
        ([_, _, 0], rest) => read_address(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::talk;
    use super::super::{Dialogue, Step, Target};
    use super::{Sender, unwrap, wrap};

    fn to(address: &str) -> Target {
        Target::Address(address.parse().unwrap())
    }

    const BOUND: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 4, 0];

    #[test]
    fn a_connection_is_asked_for() {
        let (said, step, rest) =
            talk(&mut Dialogue::socks5(None, to("192.0.2.7:443")), &[&[5, 0], &[BOUND, b"220 hello"].concat()]);
        assert_eq!(said, [vec![5, 1, 0], vec![5, 1, 0, 1, 192, 0, 2, 7, 1, 187]]);
        assert_eq!((step, rest.as_slice()), (Step::Through, &b"220 hello"[..]));
        let (said, ..) = talk(&mut Dialogue::socks5(None, to("[2001:db8::1]:80")), &[&[5, 0], BOUND]);
        assert_eq!(said[1], [&[5, 1, 0, 4, 0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1, 0, 80]].concat());
        let (said, step, _) = talk(&mut Dialogue::socks5(None, Target::Name("a.org".into(), 80)), &[&[5, 0], BOUND]);
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
            let (_, step, rest) = talk(&mut Dialogue::socks5(None, to("192.0.2.7:1")), &[&[5, 0], &answer]);
            assert_eq!((step, rest.as_slice()), (Step::Through, &b"x"[..]), "{bound:?}");
        }
    }

    #[test]
    fn a_password_is_given_where_it_is_asked_for() {
        let dialogue = || Dialogue::socks5(Some((b"me", b"secret")), to("192.0.2.7:1"));
        let (said, step, _) = talk(&mut dialogue(), &[&[5, 2], &[1, 0], BOUND]);
        assert_eq!((said[0].as_slice(), said[1].as_slice()), (&[5, 2, 0, 2][..], &b"\x01\x02me\x06secret"[..]));
        assert_eq!((said.len(), step), (3, Step::Through));
        assert_eq!(talk(&mut dialogue(), &[&[5, 0], BOUND]).1, Step::Through);
        assert_eq!(talk(&mut dialogue(), &[&[5, 2], &[1, 1]]).1, Step::NotAdmitted);
        assert_eq!(talk(&mut dialogue(), &[&[5, 0xff]]).1, Step::NotAdmitted);
        // It is not asked for where it was not offered.
        assert_eq!(talk(&mut Dialogue::socks5(None, to("192.0.2.7:1")), &[&[5, 2]]).1, Step::NotAdmitted);
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
            assert_eq!(talk(&mut Dialogue::socks5(None, to("192.0.2.7:1")), answers).1, Step::Refused, "{answers:?}");
        }
        assert_eq!(talk(&mut Dialogue::socks5(None, to("192.0.2.7:1")), &[&[5, 0], &[5, 0, 0, 1]]).1, Step::More);
    }

    #[test]
    fn an_association_is_asked_for_and_the_relay_is_told() {
        for (bound, relay) in [
            (BOUND, Some("10.0.0.1:1024")),
            (&[&[5, 0, 0, 4][..], &[0; 15], &[1, 4, 0]].concat(), Some("[::1]:1024")),
            (&[&[5, 0, 0, 4][..], &[0; 10], &[255, 255, 192, 0, 2, 1, 4, 0]].concat(), Some("192.0.2.1:1024")),
            (b"\x05\x00\x00\x03\x05a.org\x04\x00", None),
        ] {
            let mut dialogue = Dialogue::associate(None);
            assert_eq!(dialogue.bound(), None);
            let (said, step, rest) = talk(&mut dialogue, &[&[5, 0], &[bound, b"x"].concat()]);
            assert_eq!(said, [vec![5, 1, 0], vec![5, 3, 0, 1, 0, 0, 0, 0, 0, 0]]);
            assert_eq!((step, rest.as_slice()), (Step::Through, &b"x"[..]));
            assert_eq!(dialogue.bound(), relay.map(|relay| relay.parse().unwrap()), "{bound:?}");
        }
        let (said, step, _) = talk(&mut Dialogue::associate(Some((b"me", b"x"))), &[&[5, 2], &[1, 0], BOUND]);
        assert_eq!((said[2][1], step), (3, Step::Through));
        assert_eq!(
            talk(&mut Dialogue::associate(None), &[&[5, 0], &[5, 7, 0, 1, 0, 0, 0, 0, 0, 0]]).1,
            Step::Refused,
            "the command is not supported"
        );
    }

    #[test]
    fn datagrams_have_their_ends_before_them() {
        let mut place = [0xff; 40];
        let wrapped = |target: &Target, place: &mut [u8]| wrap(target, b"data", place).map(<[u8]>::to_vec);
        let four = wrapped(&to("192.0.2.7:53"), &mut place).unwrap();
        assert_eq!(four, b"\0\0\0\x01\xc0\0\x02\x07\0\x35data");
        assert_eq!(unwrap(&four), Some((Sender::Address("192.0.2.7:53".parse().unwrap()), &b"data"[..])));
        let six = wrapped(&to("[2001:db8::1]:53"), &mut place).unwrap();
        assert_eq!(six.len(), 4 + 16 + 2 + 4);
        assert_eq!(unwrap(&six), Some((Sender::Address("[2001:db8::1]:53".parse().unwrap()), &b"data"[..])));
        let name = wrapped(&Target::Name("a.org".into(), 53), &mut place).unwrap();
        assert_eq!(name, b"\0\0\0\x03\x05a.org\0\x35data");
        assert_eq!(unwrap(&name), Some((Sender::Named(53), &b"data"[..])));
        assert_eq!(wrapped(&to("192.0.2.7:53"), &mut [0; 13]), None, "there is no room");
        assert_eq!(wrapped(&to("192.0.2.7:53"), &mut [0; 14]), Some(four.clone()));
        // The first fragment of a datagram, the last, and what is cut anywhere before its payload.
        assert_eq!(unwrap(&[&[0, 0, 1], &four[3..]].concat()), None);
        assert_eq!(unwrap(&[&[0, 0, 0x81], &four[3..]].concat()), None);
        for datagram in [&four, &six, &name] {
            let head = datagram.len() - 4;
            assert!((0..head).all(|length| unwrap(&datagram[..length]).is_none()));
            assert_eq!(unwrap(&datagram[..head]).unwrap().1, b"");
        }
        assert_eq!(unwrap(&[&[0, 0, 0, 9], &four[4..]].concat()), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_relay_sends_is_read_or_is_not(
            kind in 0_u8..6,
            rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        ) {
            let datagram = [&[0, 0, 0, kind], &rest[..]].concat();
            if let Some((sender, payload)) = unwrap(&datagram) {
                proptest::prop_assert!(datagram.ends_with(payload));
                // Written again it is the same, but for names and mapped addresses, which have other forms.
                if let Sender::Address(address) = sender {
                    let mut place = [0; 400];
                    let again = wrap(&Target::Address(address), payload, &mut place).unwrap();
                    proptest::prop_assert!(again == datagram || kind == 4 && address.is_ipv4());
                }
            }
        }
    }
}
