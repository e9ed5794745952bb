//! The text of the resolver's file, and the same lines as a search list.

use oxislirp::internals::dns::{PORT, SERVERS_MAX, Servers, parse_word, search_list};

pub fn run(data: &[u8]) {
    let servers = Servers::parse(data, |zone| zone.len() as u32);
    assert!(servers.v4.len() <= SERVERS_MAX && servers.v6.len() <= SERVERS_MAX);
    assert!(servers.v4.iter().all(|server| server.is_ipv4() && server.port() == PORT));
    assert!(servers.v6.iter().all(|server| server.is_ipv6() && server.port() == PORT));
    if let Some(line) = parse_word(data) {
        assert!(data.starts_with(line.address.to_string().as_bytes()) || line.address.is_ipv6());
    }

    let names: Vec<&[u8]> = data.split(|byte| *byte == b'\n').take(64).collect();
    let Ok(list) = search_list::encode(&names) else { return };
    let expected: Vec<_> = names.iter().map(|name| name.strip_suffix(b".").unwrap_or(name).to_vec()).collect();
    assert_eq!(decode(&list), expected, "{list:02x?}");
}

/// The names of a list in the format of RFC 1035 section 4.1.4. Pointers must lead backwards.
fn decode(list: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let mut next = 0;
    while next < list.len() {
        let (mut at, mut name, mut jumped) = (next, Vec::new(), false);
        loop {
            let length = usize::from(list[at]);
            let step = match length {
                0 => 1,
                192.. => 2,
                _ => 1 + length,
            };
            if !jumped {
                next = at + step;
            }
            match length {
                0 => break,
                192.. => {
                    let to = (length & 0x3f) << 8 | usize::from(list[at + 1]);
                    assert!(to < at, "a pointer at {at} leads to {to}");
                    (at, jumped) = (to, true);
                }
                _ => {
                    if !name.is_empty() {
                        name.push(b'.');
                    }
                    name.extend_from_slice(&list[at + 1..at + step]);
                    at += step;
                }
            }
        }
        names.push(name);
    }
    names
}
