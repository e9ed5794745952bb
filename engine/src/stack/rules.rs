//! Forwards: added, looked up and removed by the application.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Stack;
use crate::config::Network4;
use crate::flow::Caller;
use crate::flow::key::Endpoint;
use crate::flow::table::Entry;
use crate::flow::tcp::guest::{GuestForward, GuestForwardHandle, MAX_RULES};
use crate::forward::check;
use crate::forward::error::ForwardError;
use crate::forward::host::{HostForward, HostForwardEntry, HostForwardHandle, Id, ListenAddress, Protocol};
use crate::host::socket::{Datagram, Listener};
use crate::host::unix;
use crate::service::dhcp;
use crate::wire::subnet::Ipv4Subnet;

/// The host number of the address that guest forwards have by default.
const DEFAULT_HOST: Ipv4Addr = Ipv4Addr::new(0, 0, 2, 4);

impl Stack {
    /// Adds a host forward. What the handle tells is the address that it is bound to.
    ///
    /// # Errors
    /// What can lead to no guest is refused with its reason: [`ForwardError::NoPort`], [`ForwardError::NoMachine`],
    /// [`ForwardError::NoFamily`], [`ForwardError::OutsideNetwork`], [`ForwardError::OwnAddress`] and [`ForwardError::OnlyV6`].
    /// What the host says is [`ForwardError::Listen`] or [`ForwardError::Unwatched`]; and there is [`ForwardError::TooMany`].
    pub fn add_host_forward(&mut self, forward: HostForward) -> Result<HostForwardHandle, ForwardError> {
        self.check_host_forward(&forward)?;
        self.add_host_forward_lenient(forward)
    }

    /// Whether a host forward can lead to a guest.
    pub(crate) fn check_host_forward(&self, forward: &HostForward) -> Result<(), ForwardError> {
        let (policy, forwards) = (&self.cx.policy, &self.guest_forwards);
        let leased = Ipv4Subnet::new(self.first_lease, policy.v4.netmask);
        check::host_forward(forward, policy, leased, |ip| forwards.covers(ip))
    }

    /// Has a host forward lead elsewhere from the next connection, or datagram, on.
    #[cfg(feature = "control")]
    pub(crate) fn lead_host_forward(&mut self, handle: HostForwardHandle, guest: SocketAddr) {
        self.forwards_changed += 1;
        match handle.id(self.cx.identity()) {
            Some(Id::Listener(id)) => self.tcp_forwards.lead(id, guest.into()),
            Some(Id::Udp(id)) => self.udp.lead(id, guest.into(), &mut self.cx),
            None => {}
        }
    }

    /// A number that is another one when host forwards have come, gone, or lead elsewhere.
    #[cfg(feature = "control")]
    pub(crate) fn forwards_changed(&self) -> u64 {
        self.forwards_changed
    }

    /// Where a host forward leads, and whether it listens at all addresses of IPv6 and none of IPv4.
    #[cfg(feature = "control")]
    pub(crate) fn host_forward_leads(&self, handle: HostForwardHandle) -> Option<(SocketAddr, bool)> {
        let (guest, only_v6) = match handle.id(self.cx.identity())? {
            Id::Listener(id) => {
                let forward = self.tcp_forwards.flows.get(id)?;
                (forward.guest(), forward.is_only_v6())
            }
            Id::Udp(id) => {
                let forward = self.udp.forward(id)?;
                (forward.guest(), forward.is_only_v6())
            }
        };
        Some((guest.socket_address(), only_v6))
    }

    /// The same without a look at whether it can lead to a guest, for the C library, whose callers upstream lets do that.
    ///
    /// # Errors
    /// [`ForwardError::Listen`], [`ForwardError::Unwatched`] and [`ForwardError::TooMany`].
    #[doc(hidden)]
    pub fn add_host_forward_lenient(&mut self, forward: HostForward) -> Result<HostForwardHandle, ForwardError> {
        let guest = Endpoint::from(forward.guest());
        let only_v6 = forward.is_only_v6();
        let refused = |error| ForwardError::Listen { address: forward.listen().clone(), error };
        let id = match (forward.protocol(), forward.listen()) {
            (Protocol::Udp, ListenAddress::Inet(listen)) => {
                let socket = Datagram::bind(*listen, only_v6).map_err(refused)?;
                self.udp.add_forward(socket, guest, &mut self.cx).map(Id::Udp)?
            }
            (_, listen) => {
                let listener = match listen {
                    ListenAddress::Inet(listen) => Listener::bind(*listen, only_v6),
                    ListenAddress::Unix(listen) => Listener::bind_unix(listen),
                };
                let listener = listener.map_err(refused)?;
                self.tcp_forwards.add(listener, guest, &mut self.cx).map(Id::Listener)?
            }
        };
        #[cfg(feature = "control")]
        (self.forwards_changed += 1);
        Ok(self.host_forward_handle(id))
    }

    /// Ends a host forward: nobody is let in any more. TCP connections that came through it go on; datagrams of a UDP forward
    /// do not.
    ///
    /// The socket is closed when this returns, so that the same address can be forwarded anew at once. In direct mode the
    /// program, which watches the socket, has to be told first: there it is in an
    /// [`Effect::Unregister`](crate::Effect::Unregister) and closes when that is dropped. Until then the address is
    /// taken, and the host's kernel completes connections, which then break off.
    ///
    /// # Errors
    /// [`ForwardError::Gone`] for a handle that was used before, or is of another stack.
    pub fn remove_host_forward(&mut self, handle: HostForwardHandle) -> Result<(), ForwardError> {
        #[cfg(feature = "control")]
        (self.forwards_changed += 1);
        let removed = match handle.id(self.cx.identity()) {
            Some(Id::Listener(id)) => self.tcp_forwards.remove(id, &mut self.cx),
            Some(Id::Udp(id)) => self.udp.remove_forward(id, &mut self.cx),
            None => false,
        };
        if removed { Ok(()) } else { Err(ForwardError::Gone) }
    }

    /// The host forward that is bound to exactly this address; the scope of a link-local address is not told apart. Of several
    /// it is the oldest.
    pub fn host_forward_at(&self, protocol: Protocol, listen: &ListenAddress) -> Option<HostForwardHandle> {
        let id = match (protocol, listen) {
            (Protocol::Tcp, listen) => self.tcp_forwards.find(listen).map(Id::Listener),
            (Protocol::Udp, ListenAddress::Inet(listen)) => self.udp.find_forward(*listen).map(Id::Udp),
            (Protocol::Udp, ListenAddress::Unix(_)) => None,
        };
        id.map(|id| self.host_forward_handle(id))
    }

    /// All host forwards, oldest first.
    pub fn host_forwards(&self) -> impl Iterator<Item = HostForwardEntry> {
        let entry = |id, protocol, listen, guest: Endpoint, only_v6| {
            let handle = self.host_forward_handle(id);
            HostForwardEntry { handle, protocol, listen, guest: guest.socket_address(), only_v6 }
        };
        let streams = self.tcp_forwards.flows.iter().filter_map(|(id, Entry { flow: forward, number, .. })| {
            let listen = forward.address()?.clone();
            Some((*number, entry(Id::Listener(id), Protocol::Tcp, listen, forward.guest(), forward.is_only_v6())))
        });
        let datagrams = self.udp.forwards().filter_map(|(id, Entry { flow, number, .. })| {
            let listen = ListenAddress::Inet(flow.bound()?);
            Some((*number, entry(Id::Udp(id), Protocol::Udp, listen, flow.guest(), flow.is_only_v6())))
        });
        let mut all: Vec<(u64, HostForwardEntry)> = streams.chain(datagrams).collect();
        all.sort_by_key(|&(number, _)| number);
        all.into_iter().map(|(_, entry)| entry)
    }

    fn host_forward_handle(&self, id: Id) -> HostForwardHandle {
        let bound = match id {
            Id::Listener(id) => match self.tcp_forwards.flows.get(id).and_then(|forward| forward.address()) {
                Some(ListenAddress::Inet(address)) => Some(*address),
                _ => None,
            },
            Id::Udp(id) => self.udp.forward(id).and_then(|flow| flow.bound()),
        };
        HostForwardHandle::new(self.cx.identity(), id, bound)
    }

    /// The address of the virtual network that a guest forward has when none is asked for. (A network of four addresses or two has
    /// no such number: the address is the network's own then, and [`Stack::add_guest_forward`] asks for one to be given.)
    // Source: docs/contract/guestfwd-exec-unix.md section 1.
    pub fn default_guest_forward_address(&self) -> Ipv4Addr {
        let policy = &self.cx.policy;
        policy.v4.address(DEFAULT_HOST.to_bits())
    }

    /// Adds a guest forward, which goes before whatever else is at its address and port; the guest is told that there is
    /// somebody at the address, and DHCP does not lease it as long as the forward is there. IPv6 addresses are those under the
    /// network's prefix.
    ///
    /// # Errors
    /// What no guest could reach is refused with its reason: [`ForwardError::NoPort`], [`ForwardError::NoMachine`],
    /// [`ForwardError::NoFamily`], [`ForwardError::OutsideNetwork`] and [`ForwardError::NoDefaultAddress`]; what is no command,
    /// [`ForwardError::CommandLine`]; a Unix socket where there are none, [`ForwardError::NoUnixSockets`]; also what somebody else has: [`ForwardError::Leased`], [`ForwardError::GuestExpected`],
    /// [`ForwardError::NameServer`] and [`ForwardError::Taken`]. And there is [`ForwardError::TooMany`].
    pub fn add_guest_forward(&mut self, forward: GuestForward) -> Result<GuestForwardHandle, ForwardError> {
        let ip = check::guest_forward(&forward, self.default_guest_forward_address(), &self.cx.policy)?;
        if let (IpAddr::V4(ip), Some(dhcp)) = (ip, &self.dhcp)
            && dhcp.has_leased(ip, self.cx.now)
        {
            return Err(ForwardError::Leased(ip));
        }
        if self.host_forwards().any(|entry| entry.guest.ip() == ip) {
            return Err(ForwardError::GuestExpected(ip));
        }
        self.add_guest_forward_lenient(forward)
    }

    /// The same without a look at whether a guest could reach it, for the C library: upstream takes what is in the network. A
    /// guest that has leased the address gets another one when it renews its lease.
    ///
    /// # Errors
    /// [`ForwardError::OutsideNetwork`], [`ForwardError::NameServer`], [`ForwardError::Taken`], [`ForwardError::TooMany`] and
    /// [`ForwardError::NoUnixSockets`].
    #[doc(hidden)]
    pub fn add_guest_forward_lenient(&mut self, forward: GuestForward) -> Result<GuestForwardHandle, ForwardError> {
        if forward.is_unix() {
            unix::available().map_err(ForwardError::NoUnixSockets)?;
        }
        let policy = &self.cx.policy;
        let ip = forward.address().unwrap_or_else(|| self.default_guest_forward_address().into());
        let inside = match ip {
            IpAddr::V4(ip) => policy.v4.contains(ip),
            // Saved states have no place for a callback's connections over IPv6.
            IpAddr::V6(ip) => policy.reach.ipv6 && policy.v6.contains(ip) && !forward.is_callback(),
        };
        if !inside {
            return Err(ForwardError::OutsideNetwork(ip));
        }
        let at = Endpoint::new(ip, forward.port());
        if policy.is_name_server(at) {
            return Err(ForwardError::NameServer(at.socket_address()));
        }
        if self.guest_forwards.find(at).is_some() {
            return Err(ForwardError::Taken(at.socket_address()));
        }
        let full = || ForwardError::TooMany { most: MAX_RULES };
        let rule = self.guest_forwards.add(at, forward.into_target()).ok_or_else(full)?;
        self.keep_forwards_from_guests();
        Ok(rule.handle(self.cx.identity()))
    }

    /// Guest forwards have come or gone: no guest is given their addresses, or expected there.
    fn keep_forwards_from_guests(&mut self) {
        let forwards = &self.guest_forwards;
        if let Some(dhcp) = &mut self.dhcp {
            dhcp.hold(|ip| forwards.covers(ip));
        }
        let Network4 { netmask, host, name_server, .. } = self.cx.policy.v4;
        let pool = || dhcp::addresses(self.first_lease, netmask, [host, name_server]).into_iter().flatten();
        let free = |ip: &Ipv4Addr| !forwards.covers(*ip);
        let first = Some(self.first_lease).filter(free).or_else(|| pool().find(free));
        self.cx.first_guest = first.unwrap_or(self.first_lease);
    }

    /// Removes a guest forward. Its connections are reset.
    ///
    /// # Errors
    /// [`ForwardError::Gone`] for a handle that was used before, or is of another stack.
    pub fn remove_guest_forward(&mut self, handle: GuestForwardHandle) -> Result<(), ForwardError> {
        let rule = self.guest_forwards.remove(handle, self.cx.identity()).ok_or(ForwardError::Gone)?;
        self.keep_forwards_from_guests();
        self.begin_call();
        self.tcp.end_forward(&rule, &mut self.cx);
        Ok(())
    }

    /// The guest forward at an address and port of the virtual network.
    pub fn guest_forward_at(&self, address: SocketAddr) -> Option<GuestForwardHandle> {
        self.guest_forwards.find(address.into()).map(|rule| rule.handle(self.cx.identity()))
    }

    /// All guest forwards, oldest first.
    pub fn guest_forwards(&self) -> impl Iterator<Item = GuestForwardHandle> {
        let stack = self.cx.identity();
        self.guest_forwards.iter().map(move |rule| rule.handle(stack))
    }

    /// How many bytes for the guest the newest connection of a callback's guest forward takes now.
    #[doc(hidden)]
    pub fn guest_forward_room(&self, address: SocketAddr) -> usize {
        self.tcp.room_for(address.into())
    }

    /// Takes bytes for the guest from the application behind a callback's guest forward.
    #[doc(hidden)]
    pub fn guest_forward_receive(&mut self, address: SocketAddr, data: &[u8], caller: Caller) {
        self.cx.caller = caller;
        self.begin_call();
        self.tcp.receive_for(address.into(), data, &mut self.cx);
        self.wake_application();
    }
}
