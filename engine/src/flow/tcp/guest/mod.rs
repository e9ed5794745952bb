//! Guest forwards: addresses and TCP ports of the virtual network behind which a program, a command or a Unix socket of the
//! host sits, in place of the host's network. Source: docs/contract/guestfwd-exec-unix.md.
//!
//! `rules` is the list of them, `application` serves connections to a program of this process and `event` is what it is told,
//! `attach` starts the command or connects to the Unix socket when a guest has come, `callback` is
//! the C library's way to a program. Here is what a forward is. What is in the frames must not come in, nor how a
//! connection's bytes get to a host socket: behind a command or a Unix socket there is an ordinary flow.

mod application;
mod attach;
mod callback;
mod event;
mod rules;

pub(crate) use application::Program;
pub(super) use attach::{Attaching, MAX_COMMANDS};
pub(super) use callback::CallbackFlows;
pub use event::{GuestConnection, GuestConnectionError, GuestEvent};
pub(crate) use rules::{GuestForwards, MAX_RULES, Rule};

use std::net::{IpAddr, SocketAddr};

use crate::flow::identity::Identity;
use crate::host::unix::UnixAddress;

/// An address and a TCP port of the virtual network that lead somewhere else than to the host's network.
///
/// ```
/// use std::net::Ipv4Addr;
/// use oxislirp::{Config, GuestForward, Stack};
///
/// let mut stack = Stack::new(Config::default())?;
/// // Whoever connects to 10.0.2.100, port 23, gets a shell.
/// let shell = GuestForward::command("/bin/sh -i", 23).at(Ipv4Addr::new(10, 0, 2, 100));
/// let handle = stack.add_guest_forward(shell)?;
/// assert_eq!(handle.address(), "10.0.2.100:23".parse()?);
/// stack.remove_guest_forward(handle)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestForward {
    address: Option<IpAddr>,
    port: u16,
    target: Target,
}

impl GuestForward {
    /// A forward to this program, which is told of connections by [`GuestEvent`]s and answers them with
    /// [`Stack::guest_receive`](crate::Stack::guest_receive) and its siblings. Beside a driver they are streams:
    /// [`GuestListener`](crate::drive::GuestListener).
    pub fn application(port: u16) -> GuestForward {
        GuestForward::to(Target::Application, port)
    }

    /// A forward to a command of the host, which is started once for each connection of the guest; its standard input, output
    /// and error output are the connection.
    ///
    /// The line is split as a shell does with quotes and backslashes, without any expansion, and the program is searched in
    /// PATH. What is wrong with the program shows when a guest connects: there is an
    /// [`Effect::Warning`](crate::Effect::Warning), and the guest sees the end of the connection.
    ///
    /// No process is ended by the stack. A command sees the end of its input when its connection ends, also with a reset, with the
    /// forward or with the stack, and a broken pipe when it writes then; one that looks at neither lives on. Of the processes
    /// that were started for a stack's forwards, 512 live at one time at most, with a connection or without (what they start in their
    /// turn is theirs): for a further one there is an [`Effect::Warning`](crate::Effect::Warning), and the guest sees the end of the
    /// connection.
    pub fn command(line: impl AsRef<[u8]>, port: u16) -> GuestForward {
        GuestForward::to(Target::Command(line.as_ref().into()), port)
    }

    /// A forward to a Unix stream socket of the host, to which each connection of the guest becomes a connection of its own.
    pub fn unix(address: UnixAddress, port: u16) -> GuestForward {
        GuestForward::to(Target::Unix(address), port)
    }

    /// A forward to a function of the application, as the C library has it: all bytes count as taken. They come as
    /// [`Effect::GuestForward`](crate::Effect::GuestForward).
    #[doc(hidden)]
    pub fn callback(port: u16) -> GuestForward {
        GuestForward::to(Target::Callback, port)
    }

    fn to(target: Target, port: u16) -> GuestForward {
        GuestForward { address: None, port, target }
    }

    /// At this address of the virtual network. Without one a forward is at the network's host number 0.0.2.4, which is
    /// 10.0.2.4 unless the network is another one; one of less than eight addresses has no such number. DHCP leases the address to
    /// nobody as long as the forward is there.
    #[must_use]
    pub fn at(self, address: impl Into<IpAddr>) -> GuestForward {
        GuestForward { address: Some(address.into()), ..self }
    }

    /// The address that was asked for.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The port, in host byte order.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What is behind it.
    pub(crate) fn into_target(self) -> Target {
        self.target
    }

    /// The command, where it leads to one.
    pub(crate) fn command_line(&self) -> Option<&[u8]> {
        if let Target::Command(line) = &self.target { Some(line) } else { None }
    }

    /// Whether it leads to a Unix socket.
    pub(crate) fn is_unix(&self) -> bool {
        matches!(self.target, Target::Unix(_))
    }

    /// Whether it leads to this program.
    #[cfg_attr(windows, expect(dead_code, reason = "it is the drivers'"))]
    pub(crate) fn is_application(&self) -> bool {
        self.target == Target::Application
    }

    /// Whether it leads to a callback, of which IPv6 knows nothing.
    pub(crate) fn is_callback(&self) -> bool {
        self.target == Target::Callback
    }
}

/// What is behind a guest forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// This program, by events.
    Application,
    /// A function of the application.
    Callback,
    /// A command line; the command is started once for each connection.
    Command(Box<[u8]>),
    /// A Unix stream socket.
    Unix(UnixAddress),
}

/// Names a guest forward of a stack, for as long as that lives: another forward at the same address has another handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestForwardHandle {
    stack: Identity,
    number: u64,
    address: SocketAddr,
}

impl GuestForwardHandle {
    /// The address and port of the virtual network where the forward is.
    pub fn address(self) -> SocketAddr {
        self.address
    }
}
