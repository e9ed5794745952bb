//! What the library knows of the DNS (RFC 1034, RFC 1035): which servers the host uses, which of them gets the guest's
//! next query, what a message says, and how a search list is encoded. It resolves nothing itself and opens no socket and no file.
//!
//! Observable behaviour: docs/contract/dns.md.

#[cfg(feature = "policy")]
pub mod message;
#[cfg(feature = "policy")]
pub(crate) mod own;
pub(crate) mod relay;
pub(crate) mod resolv_conf;
pub mod search_list;

pub use resolv_conf::Servers;

/// The port of a name server (RFC 1035 section 4.2). resolv.conf can name no other.
pub const PORT: u16 = 53;
