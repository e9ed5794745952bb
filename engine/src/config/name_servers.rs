//! Where the host's name servers are known from.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::host::resolver_file::SYSTEM;

/// Where the name servers are known from that the guest's queries are passed on to.
///
/// The guest asks the virtual name server ([`ConfigBuilder::name_server`](super::ConfigBuilder::name_server)); the stack asks
/// one of these in its place. At most 16 of each family are kept, the first ones, and none
/// that has no port, is a group or is unspecified.
///
/// A query that no server takes is *refused*: not by an answer of DNS, as the stack speaks none, but by an ICMP error (destination
/// unreachable), which a resolver takes for a server that is not there and goes on to its next one. An
/// [`Effect::Warning`](crate::Effect::Warning) tells of that.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NameServerSource {
    /// A file in the format of resolv.conf(5). It is read when the stack is made and again when it has changed, which is
    /// looked for once a second of the caller's clock at most, when the guest asks.
    ///
    /// A file without servers means the ones at 127.0.0.1 and ::1; without a file there are none.
    ResolverFile(PathBuf),
    /// These servers, in order of preference. When there are none, the guest's queries are refused.
    Fixed(Vec<SocketAddr>),
    /// Whatever the program says.
    Custom(Arc<dyn NameServerList>),
}

impl Default for NameServerSource {
    /// The system's own: the file `/etc/resolv.conf`, or on Windows the servers of the network adapters.
    fn default() -> NameServerSource {
        NameServerSource::ResolverFile(SYSTEM.into())
    }
}

/// Name servers that a program knows of, for [`NameServerSource::Custom`].
pub trait NameServerList: fmt::Debug + Send + Sync {
    /// The servers as they are now, in order of preference; none means that the guest's queries are refused.
    ///
    /// Called when the stack is made and then, when the guest asks for a name, once a second of the caller's clock at most.
    /// It is called while the stack works: it must not wait for anything.
    fn name_servers(&self) -> Vec<SocketAddr>;
}
