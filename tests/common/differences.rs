//! The one list of places where our library chooses to differ from upstream's, as these tests see them.

use super::library::library;

/// One difference: what the contract file says about it, and what each library does.
pub struct Difference {
    pub id: &'static str,
    pub contract: &'static str,
    pub upstream: &'static str,
    pub ours: &'static str,
}

const fn d(id: &'static str, contract: &'static str, upstream: &'static str, ours: &'static str) -> Difference {
    Difference { id, contract, upstream, ours }
}

/// True when the library under test is ours and so takes the better side of the difference `id`.
pub fn ours(id: &str) -> bool {
    assert!(DIFFERENCES.iter().any(|d| d.id == id), "{id} is not in the table of differences");
    !library().upstream
}

pub const DIFFERENCES: &[Difference] = &[
    d(
        "arp-claims",
        "ethernet-arp-ndp.md: unsolicited replies may claim the library's addresses",
        "learned like any other",
        "ignored",
    ),
    d(
        "arp-one-request",
        "ethernet-arp-ndp.md section 5: one request per waiting packet class",
        "each reply of the library itself asks again",
        "one request per address and second",
    ),
    d(
        "fragment-timeout",
        "ipv4.md section 2: timeout at most 499 ms while a fragment waits",
        "at most 499 ms",
        "at most 1000 ms; the deadline is what counts",
    ),
    d(
        "udp-broadcast-reply",
        "ipv4.md oddities: replies for 255.255.255.255",
        "come from 127.0.0.1",
        "come from the virtual host",
    ),
    d(
        "loopback-bypass",
        "ipv4.md oddities: disable_host_loopback and 127.0.0.0/8, 0.0.0.0",
        "still reachable",
        "refused",
    ),
    d("ping-ttl", "icmp.md oddities: the TTL of an echo request", "ignored", "may be honoured"),
    d(
        "icmp-loopback-offender",
        "icmp.md oddities: source of errors from the host's loopback",
        "127.0.0.1",
        "the address that the guest used",
    ),
];
