//! An Ethernet address as it stands in this crate's interface.

use std::fmt;

/// The address of a station or a group on the virtual link (IEEE 802-2014 section 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether it is that of a group, or the broadcast address.
    #[must_use]
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl From<[u8; 6]> for MacAddress {
    fn from(octets: [u8; 6]) -> MacAddress {
        MacAddress(octets)
    }
}

impl From<MacAddress> for [u8; 6] {
    fn from(address: MacAddress) -> [u8; 6] {
        address.0
    }
}

impl fmt::Display for MacAddress {
    /// Six pairs of digits with colons between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_people_write_it() {
        let host = MacAddress::from([0x52, 0x55, 10, 0, 2, 0xfe]);
        assert_eq!(host.to_string(), "52:55:0a:00:02:fe");
        assert!(!host.is_multicast() && MacAddress([0x33, 0x33, 0, 0, 0, 1]).is_multicast());
        assert_eq!(<[u8; 6]>::from(host)[5], 0xfe);
    }
}
