//! The method CONNECT of HTTP/1.1 (RFC 9110 section 9.3.6).

use super::{Step, Target};

/// The end of a head.
const END: &[u8; 4] = b"\r\n\r\n";
/// The longest head of an answer, and the most fields in it.
const LONGEST: usize = 8 * 1024;
const MOST_FIELDS: usize = 64;

#[derive(Debug)]
pub(super) struct Client {
    head: Vec<u8>,
}

impl Client {
    pub(super) fn new(target: &Target, to_send: &mut Vec<u8>) -> Client {
        to_send.extend_from_slice(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes());
        Client { head: Vec::new() }
    }

    /// As many bytes as the head has still at least.
    pub(super) fn wanted(&self) -> usize {
        let begun = (1..END.len()).rev().find(|&length| self.head.ends_with(END.get(..length).unwrap_or(END)));
        END.len() - begun.unwrap_or(0)
    }

    pub(super) fn hear(&mut self, bytes: &[u8]) -> Step {
        self.head.extend_from_slice(bytes);
        if !self.head.ends_with(END) {
            return if self.head.len() < LONGEST { Step::More } else { Step::Refused };
        }
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let whole = response.parse(&self.head).is_ok_and(|status| status.is_complete());
        if whole && response.code.is_some_and(|code| (200..300).contains(&code)) {
            Step::Through
        } else {
            Step::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::talk;
    use super::super::{Dialogue, Step, Target};
    use super::LONGEST;

    fn answer(text: &str) -> (Step, Vec<u8>) {
        let target = Target::Address("192.0.2.7:443".parse().unwrap());
        let (said, step, rest) = talk(Dialogue::connect(&target), &[text.as_bytes()]);
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
        let name = talk(Dialogue::connect(&Target::Name("a.org".into(), 80)), &[b"HTTP/1.1 200 \r\n\r\n"]);
        assert_eq!(name.0, [b"CONNECT a.org:80 HTTP/1.1\r\nHost: a.org:80\r\n\r\n"]);
    }

    #[test]
    fn what_is_no_consent_is_a_refusal() {
        for text in [
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
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
