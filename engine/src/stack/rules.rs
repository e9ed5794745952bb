//! Forwards: added and removed by the application.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::Stack;
use crate::flow::Caller;
use crate::flow::key::Endpoint;
use crate::flow::tcp::Target;
use crate::host::socket::{Datagram, Listener};
use crate::host::unix::UnixAddress;

impl Stack {
    /// Forwards what host peers send to `host` to the guest at `guest`; the unspecified guest address means whatever
    /// address the guest has, by IPv4 the first one of the DHCP server as long as somebody answers there, port 0 of the
    /// host lets the kernel choose. The two may be of different families: the guest then sees the virtual host. Source:
    /// docs/contract/hostfwd.md.
    ///
    /// # Errors
    /// What `socket`, `bind` or `listen` said; `ENOMEM` when there are too many forwards.
    pub fn add_host_forward(
        &mut self,
        udp: bool,
        host: SocketAddr,
        guest: SocketAddr,
        only_v6: bool,
    ) -> io::Result<()> {
        let guest = Endpoint::from(guest);
        if udp {
            let socket = Datagram::bind(host, only_v6)?;
            self.udp.add_forward(socket, guest, &mut self.cx)
        } else {
            let listener = Listener::bind(host, only_v6)?;
            self.tcp_forwards.add(listener, guest, &mut self.cx)
        }
    }

    /// Removes the forward that is bound to exactly `host`; false when there is none. Its TCP connections go on.
    pub fn remove_host_forward(&mut self, udp: bool, host: SocketAddr) -> bool {
        if udp { self.udp.remove_forward(host, &mut self.cx) } else { self.tcp_forwards.remove(host, &mut self.cx) }
    }

    /// Forwards who connects to the Unix socket `host` to the guest at `guest`, as [`Stack::add_host_forward`] does.
    ///
    /// # Errors
    /// What `socket`, `bind` or `listen` said: `EADDRINUSE` when somebody listens there; `ENOMEM` when there are too many
    /// forwards.
    pub fn add_unix_host_forward(&mut self, host: &UnixAddress, guest: SocketAddr) -> io::Result<()> {
        self.tcp_forwards.add(Listener::bind_unix(host)?, Endpoint::from(guest), &mut self.cx)
    }

    /// Removes the forward on the Unix socket `host`, and its file; false when there is none. Its connections go on.
    pub fn remove_unix_host_forward(&mut self, host: &UnixAddress) -> bool {
        self.tcp_forwards.remove_unix(host, &mut self.cx)
    }

    /// Adds a guest forward whose bytes are to be given to the application, and gives its number. Address and result as
    /// for [`Stack::add_guest_forward_to`].
    pub fn add_guest_forward(&mut self, address: &mut Ipv4Addr, port: u16) -> Option<u64> {
        self.add_guest_forward_to(Target::Callback, address, port)
    }

    /// Adds a guest forward to `target` and gives its number. The unspecified address is replaced by the default one.
    /// Source: docs/contract/guestfwd-exec-unix.md section 1.
    ///
    /// `None` when the address is outside the virtual network, is the name server's port 53, or is taken.
    pub fn add_guest_forward_to(&mut self, target: Target, address: &mut Ipv4Addr, port: u16) -> Option<u64> {
        let policy = &self.cx.policy;
        if address.is_unspecified() {
            *address = policy.v4.address(Ipv4Addr::new(0, 0, 2, 4).to_bits());
        }
        if !policy.v4.contains(*address) || policy.is_name_server(Endpoint::new(*address, port)) {
            return None;
        }
        self.guest_forwards.add(*address, port, target)
    }

    /// Removes a guest forward and gives its number; `None` when there is none. Its connections are reset.
    pub fn remove_guest_forward(&mut self, address: Ipv4Addr, port: u16) -> Option<u64> {
        let number = self.guest_forwards.remove(address, port)?;
        self.begin_call();
        self.tcp.end_forward(number, &mut self.cx);
        Some(number)
    }

    /// How many bytes for the guest the newest connection of a guest forward takes now.
    pub fn guest_forward_room(&self, address: Ipv4Addr, port: u16) -> usize {
        self.tcp.room_for(Endpoint::new(address, port))
    }

    /// Takes bytes for the guest from the application behind a guest forward.
    pub fn guest_forward_receive(&mut self, address: Ipv4Addr, port: u16, data: &[u8], caller: Caller) {
        self.cx.caller = caller;
        self.begin_call();
        self.tcp.receive_for(Endpoint::new(address, port), data, &mut self.cx);
        self.wake_application();
    }
}
