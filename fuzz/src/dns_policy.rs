//! Messages of the DNS under a policy with names: what is asked on is what was judged, and what the guest gets has nothing in it that does
//! not belong to the question.
//!
//! Input: one byte that says what follows. Even: a query as the guest sends it. Odd: an answer, behind a header and a question that fit.

use oxislirp::internals::dns::message::{self, Asked, Unfit};

use crate::input::Input;

/// What is asked where the input is an answer.
const QUESTION: &[u8] = b"\x03www\x07allowed\x04test\0";

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8();
    let rest = input.bytes(usize::MAX);
    if kind & 1 == 0 {
        query(rest);
    } else {
        answer(kind >> 1, rest);
    }
}

fn query(bytes: &[u8]) {
    let asked = match message::read_query(bytes) {
        Ok(asked) => asked,
        Err(Unfit::Silent) => return,
        Err(Unfit::Reply(reply)) => {
            assert!(reply.len() >= 12 && reply[..2] == bytes[..2] && reply[2] & 0x80 != 0 && reply[3] & 15 != 0);
            return assert_eq!(reply[7], 0, "records in a refusal");
        }
    };
    // Read in the plainest way it asks for the same.
    let mut labels = Vec::new();
    let mut at = 12;
    while bytes[at] != 0 {
        let label = &bytes[at + 1..at + 1 + usize::from(bytes[at])];
        labels.push(std::str::from_utf8(label).unwrap().to_ascii_lowercase());
        at += 1 + label.len();
    }
    assert_eq!(labels.join("."), asked.name.as_str());
    assert_eq!(bytes[at + 1..at + 5], [(asked.kind >> 8) as u8, asked.kind as u8, 0, 1]);
    for reply in [message::refusal(bytes), message::failure(&asked).unwrap()] {
        let mut answer = reply.clone();
        // As one that says that all went well it is an answer to this.
        answer[3] &= 0xf0;
        assert!(message::answers(&answer, &asked));
        assert_eq!(message::look_through(&answer, &asked, None, |_| true).unwrap().addresses, []);
    }
}

fn answer(kind: u8, records: &[u8]) {
    let kind = [1_u16, 28, 5, 65, 16, 255][usize::from(kind) % 6];
    let asked = Asked { id: 0x1234, name: "www.allowed.test".parse().unwrap(), kind };
    let (counts, records) = records.split_at(records.len().min(6));
    let mut bytes = [&[0x12, 0x34, 0x81, 0x80, 0, 1][..], counts].concat();
    bytes.resize(12, 0);
    bytes.extend(QUESTION);
    bytes.extend([(kind >> 8) as u8, kind as u8, 0, 1]);
    bytes.extend(records);
    assert!(message::answers(&bytes, &asked));
    let public = |ip: std::net::IpAddr| matches!(ip, std::net::IpAddr::V4(ip) if ip.octets()[0] == 8);
    let Some(found) = message::look_through(&bytes, &asked, None, public) else { return };
    assert!(found.addresses.len() <= 64 && found.addresses.iter().all(|(ip, _)| public(*ip)));
    assert!(found.addresses.iter().all(|(_, ttl)| ttl.secs() <= 3600));
    // What was taken out is gone: there is nothing to take out a second time, and the same is learnt.
    let Some(rewritten) = found.rewritten else { return };
    assert!(message::answers(&rewritten, &asked));
    let cut = rewritten[2] & 2 != 0;
    let again = message::look_through(&rewritten, &asked, None, public).expect("what was written can be read");
    assert!(again.rewritten.is_none(), "{rewritten:?}");
    assert!(cut || again.addresses == found.addresses);
}
