//! Patterns (ECMA-262, as JSON Schema has them) of what the values of several kinds are put together from. Each is what Rust's own parser takes, or the engine's.

/// A number from 0 to 255 without zeros before it.
macro_rules! octet {
    () => {
        "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    };
}

/// An address of IPv4.
pub(crate) const IPV4: &str = concat!("(?:", octet!(), r"\.){3}", octet!());
/// A port, with or without zeros before it.
pub(crate) const PORT: &str = "0*(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
/// A name of the DNS up to its last dot: labels of up to 63 letters, 253 in all. It stands at the end of a pattern.
pub(crate) const NAME: &str = r"(?=.{1,253}\.?$)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*";

/// The same in words.
pub(crate) const NAME_NOTE: &str = "Labels have up to 63 letters, digits, hyphens and underscores, all together 253 with the dots between them; upper and lower case are the same, and so is a dot at the end.";

/// Addresses at which nobody answers: unspecified ones, groups, and the port 0. Of an address, with or without a port.
pub(crate) const NOBODY: &str =
    r"^\[?(?:0\.0\.0\.0|2(?:2[4-9]|3[0-9])\.|[Ff]{2}[0-9A-Fa-f]{2}:|[0:]*:[0:.]*(?:$|\]|%))|^[0-9.]+:0+$|\]:0+$";
/// The same behind the beginning of a proxy.
pub(crate) const NOBODY_BEHIND: &str = r"(?://|@)\[?(?:0\.0\.0\.0|2(?:2[4-9]|3[0-9])\.|[Ff]{2}[0-9A-Fa-f]{2}:|[0:]*:[0:.]*(?:\]|%))[^@]*$|(?:[0-9]|\]):0+/?$";

/// An address of IPv6 (RFC 3986 section 3.2.2).
pub(crate) fn ipv6() -> String {
    let group = "[0-9A-Fa-f]{1,4}";
    let last = format!("(?:{group}:{group}|{IPV4})");
    // So many groups before the two colons at most, and exactly so many behind.
    let shortened = (0..=7).map(|behind| {
        let before = match 7 - behind {
            0 => String::new(),
            1 => format!("(?:{group})?"),
            more => format!("(?:(?:{group}:){{0,{}}}{group})?", more - 1),
        };
        let end = match behind {
            0 => String::new(),
            1 => group.to_owned(),
            2 => last.clone(),
            more => format!("(?:{group}:){{{}}}{last}", more - 2),
        };
        format!("{before}::{end}")
    });
    let all: Vec<String> = std::iter::once(format!("(?:{group}:){{6}}{last}")).chain(shortened).collect();
    format!("(?:{})", all.join("|"))
}

/// An address of either family.
pub(crate) fn ip() -> String {
    format!("(?:{IPV4}|{})", ipv6())
}

/// An address with a port.
pub(crate) fn destination() -> String {
    format!(r"(?:{IPV4}|\[{}(?:%0+)?\]):{PORT}", ipv6())
}
