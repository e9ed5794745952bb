//! The DHCPv4 and BOOTP server of the virtual network (RFC 951, RFC 2131, RFC 2132).
//!
//! It answers from sixteen addresses that follow each other, always with a datagram of [`REPLY_LEN`] bytes, broadcast
//! whatever the client's flags say. Sockets, IP and UDP headers stay outside: [`Dhcp::on_message`] takes the payload of
//! a datagram to port 67 and gives the payload of the one to send from vhost, port 67, to 255.255.255.255, port 68.
//!
//! Observable behaviour: docs/contract/dhcp.md, part A.

mod message;
mod pool;

use std::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress;

use crate::time::Instant;
use crate::wire::header::ETHERNET_MTU;
use message::{Emitter, Header, Request};
use pool::Pool;

pub use message::REPLY_LEN;
pub(crate) use message::{BOOT_FILE_MAX, OPTION_MAX};
pub use pool::SLOTS;
pub(crate) use pool::addresses;

/// Where servers listen, and what they answer from (RFC 2131 section 4.1).
pub(crate) const SERVER_PORT: u16 = 67;
/// Where clients listen.
pub(crate) const CLIENT_PORT: u16 = 68;

/// The longest host name that option 12 carries, in bytes; a longer one is cut. Source: docs/contract/dhcp.md.
pub(crate) const HOST_NAME_MAX: usize = 32;

/// Lease time of option 51, in seconds.
const LEASE_SECONDS: u32 = pool::LEASE.secs() as u32;
/// When a client is to renew its lease, and when to ask any server for it (RFC 2131 section 4.4.5), in seconds.
const RENEWAL_SECONDS: u32 = LEASE_SECONDS / 2;
const REBINDING_SECONDS: u32 = LEASE_SECONDS / 8 * 7;

/// Text of option 56 in a DHCPNAK.
const NAK_TEXT: &[u8] = b"requested address not available";

/// DHCP message types (RFC 2132 section 9.6).
mod kind {
    pub(super) const DISCOVER: u8 = 1;
    pub(super) const OFFER: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const DECLINE: u8 = 4;
    pub(super) const ACK: u8 = 5;
    pub(super) const NAK: u8 = 6;
    pub(super) const RELEASE: u8 = 7;
    pub(super) const INFORM: u8 = 8;
}

/// Option codes (RFC 2132; 119 is RFC 3397).
mod code {
    pub(super) const SUBNET_MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DOMAIN_NAME_SERVER: u8 = 6;
    pub(super) const HOST_NAME: u8 = 12;
    pub(super) const DOMAIN_NAME: u8 = 15;
    pub(super) const INTERFACE_MTU: u8 = 26;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER_IDENTIFIER: u8 = 54;
    pub(super) const MESSAGE: u8 = 56;
    pub(super) const RENEWAL_TIME: u8 = 58;
    pub(super) const REBINDING_TIME: u8 = 59;
    pub(super) const VENDOR_CLASS: u8 = 60;
    pub(super) const TFTP_SERVER_NAME: u8 = 66;
    pub(super) const DOMAIN_SEARCH: u8 = 119;
}

/// What the server tells its clients. Empty names count as absent.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address of the virtual host: server identifier and router.
    pub vhost: Ipv4Addr,
    /// The virtual network's mask.
    pub vnetmask: Ipv4Addr,
    /// The first of the sixteen addresses of the pool.
    pub vdhcp_start: Ipv4Addr,
    /// The virtual name server, announced in option 6 and never leased.
    pub vnameserver: Ipv4Addr,
    /// In a restricted network neither router nor name server is announced.
    pub restricted: bool,
    /// Option 12; cut after 32 bytes.
    pub hostname: Option<Vec<u8>>,
    /// Option 15.
    pub domain: Option<Vec<u8>>,
    /// Option 66.
    pub tftp_server_name: Option<Vec<u8>>,
    /// The address that `tftp_server_name` stands for, found by the caller; it becomes siaddr in place of `vhost`.
    pub tftp_server_addr: Option<Ipv4Addr>,
    /// The file field; cut after 127 bytes. With an http or https URL the client is also told option 60 "HTTPClient".
    pub bootfile: Option<Vec<u8>>,
    /// The largest packet the guests take, in bytes. Told in option 26 to those who ask, unless it is Ethernet's own.
    pub mtu: u16,
    /// The content of option 119 as [`crate::service::dns::search_list::encode`] makes it, or nothing.
    pub search: Vec<u8>,
}

/// An answer to broadcast to the guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The UDP payload, from vhost port 67 to 255.255.255.255 port 68.
    pub payload: [u8; REPLY_LEN],
    /// What an OFFER or ACK has promised: to be entered in the neighbor table, because an address is used before the
    /// guest answers ARP for it. `None` in a NAK, in the answer to an INFORM, and for a hardware address that is not
    /// one station's.
    pub lease: Option<(Ipv4Addr, EthernetAddress)>,
}

/// The server: its configuration and the bindings it has made.
#[derive(Debug, Clone)]
pub struct Dhcp {
    config: Config,
    pool: Pool,
    warnings: Vec<String>,
}

impl Dhcp {
    /// A server whose addresses are all free.
    #[must_use]
    pub fn new(config: Config) -> Dhcp {
        let pool = Pool::new(&config);
        let mut dhcp = Dhcp { config, pool, warnings: Vec::new() };
        // The options of every OFFER and ACK are the same, so what does not fit is known from the beginning.
        let header = Header {
            xid: [0; 4],
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::BROADCAST,
            siaddr: Ipv4Addr::UNSPECIFIED,
            chaddr: EthernetAddress([0; 6]),
        };
        let mut warnings = Vec::new();
        let mut warn = |what: &str| warnings.push(format!("DHCP packet size exceeded, {what}"));
        dhcp.configured_reply(&header, kind::ACK, false, &mut warn, &mut [0; REPLY_LEN]);
        dhcp.warnings = warnings;
        dhcp
    }

    /// What of the configuration does not fit into a reply and is therefore left out or cut, in words for the
    /// application's log. The same for the whole life of the server.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Who has leased or was offered what: slot `i` is `vdhcp_start + i` and holds the owner's hardware address.
    #[must_use]
    pub fn slots(&self) -> [Option<EthernetAddress>; SLOTS] {
        self.pool.slots()
    }

    /// The same for a saved state, which has leases only.
    #[must_use]
    pub fn leased(&self) -> [Option<EthernetAddress>; SLOTS] {
        self.pool.leased()
    }

    /// The bindings: each address that is somebody's, with its owner.
    pub fn leases(&self) -> impl DoubleEndedIterator<Item = (Ipv4Addr, EthernetAddress)> + '_ {
        self.pool.leases()
    }

    /// Whether a client has this address: it has taken up an offer, and its lease is not over.
    #[must_use]
    pub fn has_leased(&self, address: Ipv4Addr, now: Instant) -> bool {
        self.pool.has_leased(address, now)
    }

    /// Says which addresses somebody else has from now on: they are not given out, and who has leased one before gets another
    /// one when it renews its lease. To be called whenever that has changed.
    pub fn hold(&mut self, is_held: impl Fn(Ipv4Addr) -> bool) {
        self.pool.hold(is_held);
    }

    /// Replaces all bindings by those of a saved state. They count as confirmed at this moment, though not against a client
    /// that uses one of the addresses.
    pub fn set_slots(&mut self, slots: [Option<EthernetAddress>; SLOTS], now: Instant) {
        self.pool.set_slots(slots, now);
    }

    /// Handles the payload of one UDP datagram to port 67 and gives the answer, if there is one.
    ///
    /// Silence is the answer to anything that is no BOOTREQUEST of at least 236 bytes, to message types that no client
    /// sends, to RELEASE and DECLINE (RFC 2131 sections 4.3.3 and 4.3.4), to a REQUEST for what another server has offered,
    /// and when no address is left.
    pub fn on_message(&mut self, bootp: &[u8], now: Instant) -> Option<Reply> {
        let mut reply = Reply { payload: [0; REPLY_LEN], lease: None };
        self.answer(bootp, now, &mut reply).then_some(reply)
    }

    /// The same with a place for the answer, which is long; whether there is one.
    pub fn answer(&mut self, bootp: &[u8], now: Instant, reply: &mut Reply) -> bool {
        self.try_answer(bootp, now, reply).is_some()
    }

    fn try_answer(&mut self, bootp: &[u8], now: Instant, reply: &mut Reply) -> Option<()> {
        let request = Request::parse(bootp)?;
        reply.lease = None;
        match request.kind {
            kind::DISCOVER => {
                let address = request
                    .requested
                    .filter(|wish| self.pool.take(*wish, request.chaddr, false, now))
                    .or_else(|| self.pool.allocate(request.chaddr, false, now))?;
                self.grant(&request, kind::OFFER, address, reply);
            }
            // The client has taken another server's offer and declines ours (RFC 2131 section 4.3.2).
            kind::REQUEST if !self.is_for_us(&request) => {
                self.pool.withdraw(request.chaddr);
                return None;
            }
            // A message without a type comes from a BOOTP client. It is answered like a REQUEST, with DHCP options.
            kind::REQUEST | 0 => {
                // RFC 2131 section 4.3.2: a client that renews has its address in ciaddr. In plain BOOTP ciaddr is no
                // request for a lease (RFC 951 section 3).
                let renewed = Some(request.ciaddr).filter(|a| request.kind == kind::REQUEST && !a.is_unspecified());
                match (request.requested, renewed) {
                    (Some(wish), _) if self.pool.take(wish, request.chaddr, true, now) => {
                        self.grant(&request, kind::ACK, wish, reply);
                    }
                    (None, Some(used)) if self.pool.claim(used, request.chaddr, now) => {
                        self.grant(&request, kind::ACK, used, reply);
                    }
                    (Some(_), _) | (_, Some(_)) => self.nak(&request, reply),
                    (None, None) => {
                        let held = self.pool.held_by(request.chaddr);
                        let held = held.filter(|address| self.pool.take(*address, request.chaddr, true, now));
                        let address = held.or_else(|| self.pool.allocate(request.chaddr, true, now))?;
                        self.grant(&request, kind::ACK, address, reply);
                    }
                }
            }
            kind::INFORM => self.inform(&request, reply),
            kind::RELEASE => {
                if self.is_for_us(&request) {
                    self.pool.release(request.ciaddr, request.chaddr);
                }
                return None;
            }
            kind::DECLINE => {
                if let Some(address) = request.requested.filter(|_| self.is_for_us(&request)) {
                    self.pool.decline(address, request.chaddr, now);
                }
                return None;
            }
            _ => return None,
        }
        Some(())
    }

    /// Whether a message speaks of this server. RELEASE and DECLINE must name the server, and a REQUEST that answers an
    /// offer must too; one that names none is taken as ours.
    fn is_for_us(&self, request: &Request) -> bool {
        request.server.is_none_or(|server| server == self.config.vhost)
    }

    fn grant(&self, request: &Request, kind: u8, address: Ipv4Addr, reply: &mut Reply) {
        let header = Header { yiaddr: address, ..self.header(request) };
        self.configured_reply(&header, kind, request.wants_mtu, &mut |_| (), &mut reply.payload);
        reply.lease = Some((address, request.chaddr)).filter(|(_, mac)| mac.is_unicast());
    }

    /// The answer to a client that has its address from elsewhere: everything but an address and a lease time
    /// (RFC 2131 section 4.3.5).
    fn inform(&self, request: &Request, reply: &mut Reply) {
        let header = Header { ciaddr: request.ciaddr, ..self.header(request) };
        self.configured_reply(&header, kind::ACK, request.wants_mtu, &mut |_| (), &mut reply.payload);
    }

    fn nak(&self, request: &Request, reply: &mut Reply) {
        let mut out = Emitter::new(&self.header(request), &mut reply.payload);
        out.option(code::MESSAGE_TYPE, &[kind::NAK]);
        out.option(code::SERVER_IDENTIFIER, &self.config.vhost.octets());
        out.option(code::MESSAGE, NAK_TEXT);
        out.finish();
    }

    fn header(&self, request: &Request) -> Header {
        Header {
            xid: request.xid,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: self.config.tftp_server_addr.unwrap_or(self.config.vhost),
            chaddr: request.chaddr,
        }
    }

    /// An OFFER or ACK with all that is configured, in the order of docs/contract/dhcp.md section A3. `left_out` is
    /// told of each option that does not fit. An ACK without an address carries no lease time.
    fn configured_reply(
        &self,
        header: &Header,
        kind: u8,
        with_mtu: bool,
        left_out: &mut dyn FnMut(&str),
        payload: &mut [u8; REPLY_LEN],
    ) {
        let config = &self.config;
        let mut out = Emitter::new(header, payload);
        out.option(code::MESSAGE_TYPE, &[kind]);
        out.option(code::SERVER_IDENTIFIER, &config.vhost.octets());
        out.option(code::SUBNET_MASK, &config.vnetmask.octets());
        if !config.restricted {
            out.option(code::ROUTER, &config.vhost.octets());
            out.option(code::DOMAIN_NAME_SERVER, &config.vnameserver.octets());
        }
        if !header.yiaddr.is_unspecified() {
            out.option(code::LEASE_TIME, &LEASE_SECONDS.to_be_bytes());
        }
        if let Some(name) = set(&config.hostname) {
            out.option(code::HOST_NAME, name.get(..HOST_NAME_MAX).unwrap_or(name));
        }
        if let Some(name) = set(&config.domain)
            && !out.option(code::DOMAIN_NAME, name)
        {
            left_out("omitting domain name option");
        }
        if let Some(name) = set(&config.tftp_server_name)
            && !out.option(code::TFTP_SERVER_NAME, name)
        {
            left_out("omitting TFTP server name option");
        }
        if !config.search.is_empty() && !out.long_option(code::DOMAIN_SEARCH, &config.search) {
            left_out("omitting domain search option");
        }
        if let Some(file) = set(&config.bootfile) {
            if !out.file(file) {
                left_out("cutting the boot file name");
            }
            let http = file.starts_with(b"http://") || file.starts_with(b"https://");
            if http && !out.option(code::VENDOR_CLASS, b"HTTPClient") {
                left_out("omitting vendor class option");
            }
        }
        // Last, so that they take the place of nothing else. A client that is not told the times computes the same ones.
        if with_mtu && usize::from(config.mtu) != ETHERNET_MTU {
            out.option(code::INTERFACE_MTU, &config.mtu.to_be_bytes());
        }
        if !header.yiaddr.is_unspecified() && out.option(code::RENEWAL_TIME, &RENEWAL_SECONDS.to_be_bytes()) {
            out.option(code::REBINDING_TIME, &REBINDING_SECONDS.to_be_bytes());
        }
        out.finish();
    }
}

fn set(name: &Option<Vec<u8>>) -> Option<&[u8]> {
    name.as_deref().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
