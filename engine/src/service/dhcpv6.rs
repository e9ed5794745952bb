//! A stateless DHCPv6 server (RFC 8415 section 18.3.6, RFC 3646, RFC 5970): it answers information requests with the name
//! server, the search list and the boot file, and gives out no addresses. Source: docs/contract/dhcp.md part B.

use std::net::Ipv6Addr;

/// The group of relays and servers.
pub(crate) const ALL_AGENTS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// Where servers listen, and what they answer from.
pub(crate) const SERVER_PORT: u16 = 547;

const REPLY: u8 = 7;
const INFORMATION_REQUEST: u8 = 11;

const OPTION_CLIENT_ID: u16 = 1;
const OPTION_SERVER_ID: u16 = 2;
const OPTION_IA_ADDR: u16 = 5;
const OPTION_REQUEST: u16 = 6;
const OPTION_DNS_SERVERS: u16 = 23;
const OPTION_DOMAIN_LIST: u16 = 24;
const OPTION_BOOT_FILE_URL: u16 = 59;

/// The longest client identifier that is answered.
const CLIENT_ID_MAX: usize = 256;

/// What the server tells.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub vhost6: Ipv6Addr,
    /// The Ethernet address of the virtual host, from which the server's identifier is made.
    pub mac: [u8; 6],
    /// `None` when the relay is turned off.
    pub name_server: Option<Ipv6Addr>,
    /// Names in the uncompressed form of RFC 1035 section 3.1.
    pub search: Vec<u8>,
    pub bootfile: Option<Vec<u8>>,
}

/// What a message leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing.
    None,
    /// The message is damaged; the application is told.
    Bad,
    /// This reply.
    Reply(Vec<u8>),
}

/// What an information request asks for.
#[derive(Default)]
struct Request<'a> {
    client_id: Option<&'a [u8]>,
    name_servers: bool,
    search_list: bool,
    boot_file: bool,
}

impl Config {
    /// Takes the payload of a datagram to the server.
    pub(crate) fn on_message(&self, message: &[u8]) -> Answer {
        let Some((&[kind, x, y, z], options)) = message.split_first_chunk::<4>() else { return Answer::None };
        if kind != INFORMATION_REQUEST {
            return Answer::None;
        }
        let request = match self.read(options) {
            Ok(request) => request,
            Err(answer) => return answer,
        };
        let mut reply = vec![REPLY, x, y, z];
        if let Some(id) = request.client_id {
            option(&mut reply, OPTION_CLIENT_ID, id);
        }
        option(&mut reply, OPTION_SERVER_ID, &self.identifier());
        if let Some(server) = self.name_server.filter(|_| request.name_servers) {
            option(&mut reply, OPTION_DNS_SERVERS, &server.octets());
        }
        if request.search_list && !self.search.is_empty() {
            option(&mut reply, OPTION_DOMAIN_LIST, &self.search);
        }
        if let Some(url) = self.boot_file_url().filter(|_| request.boot_file) {
            option(&mut reply, OPTION_BOOT_FILE_URL, &url);
        }
        Answer::Reply(reply)
    }

    fn read<'a>(&self, mut options: &'a [u8]) -> Result<Request<'a>, Answer> {
        let mut request = Request::default();
        // Upstream leaves a last option without content alone.
        while options.len() > 4
            && let Some((&[kind_high, kind_low, length_high, length_low], rest)) = options.split_first_chunk::<4>()
        {
            let length = usize::from(u16::from_be_bytes([length_high, length_low]));
            let (content, rest) = rest.split_at_checked(length).ok_or(Answer::Bad)?;
            options = rest;
            match u16::from_be_bytes([kind_high, kind_low]) {
                OPTION_CLIENT_ID if length > CLIENT_ID_MAX => return Err(Answer::None),
                OPTION_CLIENT_ID => request.client_id = Some(content),
                // Meant for another server (RFC 8415 section 16.12).
                OPTION_SERVER_ID if content != self.identifier() => return Err(Answer::None),
                OPTION_IA_ADDR => return Err(Answer::None),
                OPTION_REQUEST => {
                    let (codes, rest) = content.as_chunks::<2>();
                    if !rest.is_empty() {
                        return Err(Answer::None);
                    }
                    let codes = codes.iter().map(|code| u16::from_be_bytes(*code));
                    for code in codes {
                        request.name_servers |= code == OPTION_DNS_SERVERS;
                        request.search_list |= code == OPTION_DOMAIN_LIST;
                        request.boot_file |= code == OPTION_BOOT_FILE_URL;
                    }
                }
                _ => {}
            }
        }
        Ok(request)
    }

    /// The server's identifier: DUID-LL for Ethernet (RFC 8415 section 11.4).
    fn identifier(&self) -> [u8; 10] {
        let [a, b, c, d, e, f] = self.mac;
        [0, 3, 0, 1, a, b, c, d, e, f]
    }

    /// The boot file as a URL: one that is a URL by itself as it is, else a file of the TFTP server.
    fn boot_file_url(&self) -> Option<Vec<u8>> {
        let file = self.bootfile.as_deref()?;
        if file.windows(3).any(|part| part == b"://") {
            return Some(file.to_vec());
        }
        let groups = self.vhost6.segments().map(|group| format!("{group:04x}"));
        let mut url = format!("tftp://[{}]/", groups.join(":")).into_bytes();
        url.extend_from_slice(file);
        Some(url)
    }
}

/// Appends an option; one that is too long for its length field is left out.
fn option(message: &mut Vec<u8>, kind: u16, content: &[u8]) {
    if let Ok(length) = u16::try_from(content.len()) {
        message.extend(kind.to_be_bytes());
        message.extend(length.to_be_bytes());
        message.extend_from_slice(content);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server() -> Config {
        Config {
            vhost6: "fec0::2".parse().unwrap(),
            mac: [0x52, 0x56, 0, 0, 0, 2],
            name_server: Some("fec0::3".parse().unwrap()),
            search: b"\x01a\0".to_vec(),
            bootfile: Some(b"pxe.0".to_vec()),
        }
    }

    const SERVER_ID: &[u8] = b"\0\x02\0\x0a\0\x03\0\x01\x52\x56\0\0\0\x02";

    fn ask(options: &[u8]) -> Vec<u8> {
        [&[11, 0xab, 0xcd, 0xef][..], options].concat()
    }

    fn reply(options: &[u8]) -> Answer {
        Answer::Reply([&[7, 0xab, 0xcd, 0xef][..], options].concat())
    }

    #[test]
    fn what_is_asked_for_is_answered_in_a_fixed_order() {
        let asked = ask(b"\0\x06\0\x06\0\x3b\0\x18\0\x17\0\x01\0\x05duid");
        assert_eq!(server().on_message(&asked), Answer::Bad, "the identifier is one byte short");
        let asked = ask(b"\0\x06\0\x06\0\x3b\0\x18\0\x17\0\x01\0\x04duid");
        let url = b"tftp://[fec0:0000:0000:0000:0000:0000:0000:0002]/pxe.0";
        let expected = [
            &b"\0\x01\0\x04duid"[..],
            SERVER_ID,
            b"\0\x17\0\x10\xfe\xc0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03",
            b"\0\x18\0\x03\x01a\0",
            b"\0\x3b\0\x36",
            url,
        ]
        .concat();
        assert_eq!(server().on_message(&asked), reply(&expected));
        assert_eq!(server().on_message(&ask(b"")), reply(SERVER_ID));
    }

    #[test]
    fn what_there_is_not_is_left_out_and_urls_stay_as_they_are() {
        let asked = ask(b"\0\x06\0\x06\0\x17\0\x18\0\x3b");
        let bare = Config { name_server: None, search: Vec::new(), bootfile: None, ..server() };
        assert_eq!(bare.on_message(&asked), reply(SERVER_ID));
        let http = Config { bootfile: Some(b"http://[fec0::2]/x".to_vec()), ..bare };
        assert_eq!(http.on_message(&asked), reply(&[SERVER_ID, b"\0\x3b\0\x12http://[fec0::2]/x"].concat()));
    }

    #[test]
    fn other_messages_and_other_servers_requests_are_not_answered() {
        let server = server();
        for kind in (0..=255).filter(|&kind| kind != 11) {
            assert_eq!(server.on_message(&[kind, 1, 2, 3]), Answer::None, "{kind}");
        }
        assert_eq!(server.on_message(&[11, 1, 2]), Answer::None);
        assert_eq!(server.on_message(&ask(SERVER_ID)), reply(SERVER_ID));
        assert_eq!(server.on_message(&ask(b"\0\x02\0\x04\0\x03\0\x01")), Answer::None);
    }

    #[test]
    fn the_limits_of_options() {
        let server = server();
        let with_id = |length: usize| {
            let mut message = ask(&[0, 1]);
            message.extend((length as u16).to_be_bytes());
            message.resize(message.len() + length, 7);
            server.on_message(&message)
        };
        assert!(matches!(with_id(256), Answer::Reply(reply) if reply.len() == 4 + 260 + 14));
        assert_eq!(with_id(257), Answer::None);
        assert_eq!(server.on_message(&ask(b"\0\x05\0\x01x")), Answer::None);
        assert!(matches!(server.on_message(&ask(b"\0\x03\0\x01x")), Answer::Reply(_)));
        assert_eq!(server.on_message(&ask(b"\0\x06\0\x03\0\x17\0")), Answer::None);
        assert_eq!(server.on_message(&ask(b"\0\x08\0\x09\0\x17\0")), Answer::Bad);
    }

    proptest! {
        #[test]
        fn any_options_are_harmless(options in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Answer::Reply(reply) = server().on_message(&ask(&options)) {
                prop_assert!(reply.len() < 4 + 4 + 256 + 200);
            }
        }
    }
}
