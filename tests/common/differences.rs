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
];
