//! The method CONNECT of HTTP/1.1 (RFC 9110 section 9.3.6), with name and password by the scheme Basic (RFC 7617).

use super::{Step, Target};

/// The end of a head.
const END: &[u8; 4] = b"\r\n\r\n";
const END_OF_LINE: &[u8; 2] = b"\r\n";
/// The proxy wants a name and a password, or others (RFC 9110 section 15.5.8).
const AUTHENTICATION_REQUIRED: u16 = 407;
/// What Tinyproxy says where they are not the right ones, though it is the word of servers.
const UNAUTHORIZED: u16 = 401;
/// The longest head of an answer, and the most fields in it.
const LONGEST: usize = 8 * 1024;
const MOST_FIELDS: usize = 64;

#[derive(Debug)]
pub(super) struct Client {
    head: Vec<u8>,
}

impl Client {
    pub(super) fn new(credentials: Option<(&[u8], &[u8])>, target: &Target, to_send: &mut Vec<u8>) -> Client {
        to_send.extend_from_slice(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").as_bytes());
        if let Some((name, password)) = credentials {
            to_send.extend_from_slice(b"Proxy-Authorization: Basic ");
            to_send.extend_from_slice(&base64(&[name, b":", password].concat()));
            to_send.extend_from_slice(END_OF_LINE);
        }
        to_send.extend_from_slice(END_OF_LINE);
        Client { head: Vec::new() }
    }

    /// As many bytes as the head has still at least.
    pub(super) fn wanted(&self) -> usize {
        let begun = (1..END.len()).rev().find(|&length| self.head.ends_with(END.get(..length).unwrap_or(END)));
        END.len() - begun.unwrap_or(0)
    }

    pub(super) fn hear(&mut self, bytes: &[u8]) -> Step {
        self.head.extend_from_slice(bytes);
        // The same however the bytes come.
        if self.head.len() > LONGEST {
            return Step::Refused;
        }
        if !self.head.ends_with(END) {
            return if self.head.len() < LONGEST { Step::More } else { Step::Refused };
        }
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let whole = response.parse(&self.head).is_ok_and(|status| status.is_complete());
        match response.code.filter(|_| whole) {
            Some(200..300) => Step::Through,
            Some(AUTHENTICATION_REQUIRED | UNAUTHORIZED) => Step::NotAdmitted,
            _ => Step::Refused,
        }
    }
}

/// The alphabet of RFC 4648 section 4. (The crate `base64` has a dozen of them, and readers.)
fn base64(bytes: &[u8]) -> Vec<u8> {
    let digit = |bits: u32| match (bits & 63) as u8 {
        value @ 0..26 => b'A' + value,
        value @ 26..52 => b'a' + value - 26,
        value @ 52..62 => b'0' + value - 52,
        62 => b'+',
        _ => b'/',
    };
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let digits = [18, 12, 6, 0].map(|shift| digit(bits >> shift));
        let (used, filled) = digits.split_at(group.len() + 1);
        text.extend_from_slice(used);
        text.extend(filled.iter().map(|_| b'='));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::talk;
    use super::super::{Dialogue, Step, Target};
    use super::LONGEST;

    fn answer(text: &str) -> (Step, Vec<u8>) {
        let target = Target::Address("192.0.2.7:443".parse().unwrap());
        let (said, step, rest) = talk(&mut Dialogue::connect(None, &target), &[text.as_bytes()]);
        assert_eq!(said, [b"CONNECT 192.0.2.7:443 HTTP/1.1\r\nHost: 192.0.2.7:443\r\n\r\n"]);
        (step, rest)
    }

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let through =
            |text: &str, rest: &str| assert_eq!(answer(text), (Step::Through, rest.as_bytes().to_vec()), "{text}");
        through("HTTP/1.1 200 Connection established\r\n\r\n220 hello", "220 hello");
        through("HTTP/1.0 200 OK\r\nVia: x\r\nA:\r\n\r\n\r\n\r\n", "\r\n\r\n");
        through("HTTP/1.1 204\r\n\r\n", "");
        let name = talk(&mut Dialogue::connect(None, &Target::Name("a.org".into(), 80)), &[b"HTTP/1.1 200 \r\n\r\n"]);
        assert_eq!(name.0, [b"CONNECT a.org:80 HTTP/1.1\r\nHost: a.org:80\r\n\r\n"]);
    }

    #[test]
    fn a_password_is_given_with_the_question() {
        let target = Target::Address("192.0.2.7:443".parse().unwrap());
        // The example of RFC 7617 section 2, and its section 2.1.
        for (name, password, text) in [
            (&b"Aladdin"[..], &b"open sesame"[..], "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            (b"test", "123\u{a3}".as_bytes(), "dGVzdDoxMjPCow=="),
            (b"a", b"b", "YTpi"),
            (b"a", b"\xff\xfe", "YTr//g=="),
            (b"ab", b"\xff\xff\xbf\xff", "YWI6//+//w=="),
        ] {
            let (said, step, _) =
                talk(&mut Dialogue::connect(Some((name, password)), &target), &[b"HTTP/1.1 200 OK\r\n\r\n"]);
            let text = format!(
                "CONNECT 192.0.2.7:443 HTTP/1.1\r\nHost: 192.0.2.7:443\r\nProxy-Authorization: Basic {text}\r\n\r\n"
            );
            assert_eq!((said, step), (vec![text.into_bytes()], Step::Through));
        }
        for refused in ["407 Proxy Authentication Required\r\nProxy-Authenticate: Basic", "401 Unauthorized"] {
            assert_eq!(answer(&format!("HTTP/1.1 {refused}\r\n\r\n")).0, Step::NotAdmitted);
        }
    }

    #[test]
    fn what_is_no_consent_is_a_refusal() {
        for text in [
            "HTTP/1.1 302 Found\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\n bad: field\r\n\r\n",
        ] {
            assert_eq!(answer(text).0, Step::Refused, "{text}");
        }
        assert_eq!(answer(&format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(LONGEST))).0, Step::Refused);
        assert_eq!(answer("HTTP/1.1 200 OK\r\n").0, Step::More);
    }
}
