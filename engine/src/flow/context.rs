//! What all flows of a stack share.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::budget::FrameBudget;
use super::effect::{Effect, Leaving};
use super::egress::Egress;
use super::gate::Gate;
use super::journal::Journal;
use super::key::{Endpoint, FlowKey};
#[cfg(feature = "policy")]
use super::meter::Ledger;
use super::name_server::NameServers;
use super::policy::Policy;
use super::timers::TimerQueue;
use super::warnings::{Subject, Warnings};
use crate::host::fault::{Fault, is_lack};
use crate::host::handle::{HostNamed, RawSocket};
use crate::host::poller::{News, PollMode};
use crate::host::reserve::Reserve;
use crate::host::socket::{Hops, Stream};
use crate::pace::Pace;
use crate::tcp::{Ecn, Pool, SeqNumber};
use crate::time::Instant;
use crate::wire::header::{ETHERNET_MTU, IPV4_LEN, IPV6_LEN};
use crate::wire::subnet::Ipv4Subnet;

/// Flows of datagrams that no connection takes the descriptor of.
const LEFT_BY_CONNECTIONS: usize = 16;

/// Where a call comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// From the loop that sleeps, calls [`handle_events`](crate::Stack::handle_events) and takes the output out. It is not
    /// asleep, and a round follows: what may wait for other frames waits for that.
    #[default]
    Loop,
    /// From somewhere else, while the loop may be asleep: nothing waits for the end of a round, and
    /// [`Effect::Notify`] asks for the loop to be woken when there is something for it to do.
    Elsewhere,
}

/// What flows work with: the way to the guest, the deadlines, the poller, and what the host is to be told.
pub(crate) struct Context {
    /// The application's clock at the last reading.
    pub now: Instant,
    pub policy: Policy,
    /// Whether a flow may begin.
    pub gate: Gate,
    /// How much may pass.
    #[cfg(feature = "policy")]
    pub limits: Option<Box<Ledger>>,
    /// The address that the guest has while nothing else is known of it: the first one of the DHCP server.
    pub first_guest: Ipv4Addr,
    pub egress: Egress,
    /// How many frames this step of the engine may still make; the stack sets it before each step.
    pub budget: FrameBudget,
    pub effects: Vec<Effect>,
    pub warnings: Warnings,
    /// Where flows note that they begin, are refused and end.
    pub journal: Journal,
    /// The application is told of each host socket before it closes, as one that watches them has to be.
    pub tells_of_sockets: bool,
    pub timers: TimerQueue,
    /// `None` in direct mode: the application watches each socket itself.
    pub poller: PollMode,
    pub pool: Pool,
    /// Descriptors for when there are no others.
    pub reserve: Reserve,
    /// Flows of datagrams, which give way when descriptors have run out.
    pub giving_way: usize,
    pub name_servers: NameServers,
    /// Room for one datagram from the host.
    pub scratch: Box<[u8]>,
    /// The secret of RFC 6528's initial sequence numbers.
    pub secret: RandomState,
    pub tcp_config: crate::tcp::Config,
    /// How many flows and forwards were made.
    pub made: u64,
    /// What the round has brought so far, and what follows from it.
    pub pace: Pace,
    /// Where the frame that is worked on comes from, or the call.
    pub caller: Caller,
}

impl Context {
    /// How many frames may still be made in this step. What has more to send takes a turn for it later.
    pub(crate) fn room(&self) -> usize {
        self.budget.room(&self.egress.outbox)
    }

    /// Whether the round has done as much as one may: what is left is for its end, and for answers.
    pub(crate) fn is_spent(&self) -> bool {
        self.budget.is_spent(&self.egress.outbox)
    }

    /// [`Context::room`] for datagrams from the host, which wait in their socket while there is no room on the way to the guest.
    pub(crate) fn datagram_room(&mut self) -> usize {
        if !self.egress.fits(ETHERNET_MTU) {
            self.egress.handover.refuse(true);
            self.pace.on_datagrams_refused();
            return 0;
        }
        self.room().min(self.pace.datagrams_left())
    }

    /// Makes the socket of a flow of datagrams. When the process has no descriptor left, one is there all the same as long as
    /// the reserve lasts, and the flows that are least used pay it back ([`crate::stack::Stack`] sees to that).
    ///
    /// # Errors
    /// What `make` said.
    pub(crate) fn open_datagram<T>(&mut self, make: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let made = self.reserve.spend(make);
        self.tell_of_lack(made)
    }

    /// The same for a connection, or for a file. These take the place of datagrams, but not of the last ones, as those are
    /// where names are asked for.
    ///
    /// # Errors
    /// What `make` said.
    pub(crate) fn open_stream<T>(&mut self, mut make: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let made = if self.datagrams_give_way() { self.reserve.spend(make) } else { make() };
        self.tell_of_lack(made)
    }

    /// Begins a connection to a host peer, from the source that was configured.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn connect(&mut self, destination: SocketAddr, hops: Hops) -> io::Result<Stream> {
        let source = self.policy.outbound(destination);
        let made = self.open_stream(|| Stream::connect(destination, source, hops));
        self.tell_of_source(source, made)
    }

    /// A socket that could not be made, because the host lacks something, is told of.
    pub(crate) fn tell_of_lack<T>(&mut self, made: io::Result<T>) -> io::Result<T> {
        made.inspect_err(|error| {
            if is_lack(error) {
                self.warn(Subject::Lack, || format!("the host has nothing left for one more socket: {error}"));
            }
        })
    }

    /// The same for a socket whose source was configured, and that cannot have it.
    pub(crate) fn tell_of_source<T>(&mut self, source: Option<SocketAddr>, made: io::Result<T>) -> io::Result<T> {
        made.inspect_err(|error| {
            let Some(source) = source else { return };
            let field = if source.is_ipv4() { "outbound" } else { "outbound6" };
            let subject = if source.is_ipv4() { Subject::Outbound4 } else { Subject::Outbound6 };
            match Fault::of(error) {
                Fault::NoAddress | Fault::Invalid => {
                    self.warn(subject, || format!("{field}: nothing can leave from {source}: {error}"));
                }
                Fault::AddressInUse | Fault::Forbidden if source.port() != 0 => {
                    let text = "has its port fixed, which is not to be had for one more";
                    self.warn(subject, || format!("{field}: {source} {text}: {error}"));
                }
                _ => {}
            }
        })
    }

    /// A name server has refused what `client` asked it, or cannot be reached: see [`NameServers::refused`]. When all have refused a
    /// query, the application is told.
    pub(crate) fn refused_by(&mut self, server: SocketAddr, client: Endpoint, known_as: Endpoint) -> bool {
        let other = self.name_servers.refused(server, client, known_as, self.now);
        if self.name_servers.has_lost() {
            self.warn(Subject::NameServers, || {
                format!("no name server can be reached, {server} was the last one: what the guest asks is refused")
            });
        }
        other
    }

    /// The guest has asked, and there is no name server.
    #[cold]
    pub(crate) fn tell_of_no_name_server(&mut self) {
        let servers = &self.name_servers;
        self.warnings.tell(Subject::NameServers, self.now, &mut self.effects, || servers.complaint());
    }

    /// Has the application told of something, unless it was lately.
    #[cold]
    pub(crate) fn warn(&mut self, subject: Subject, text: impl FnOnce() -> String) {
        self.warnings.tell(subject, self.now, &mut self.effects, text);
    }

    /// A socket of a flow or a forward is there no more.
    #[cold]
    pub(crate) fn tell_of_lost(&mut self) {
        self.warn(Subject::Lost, || {
            "the program has closed a socket of its network by mistake: what went through it has ended".to_owned()
        });
    }

    /// Whether there are flows of datagrams that give way to a connection or a file.
    pub(crate) fn datagrams_give_way(&self) -> bool {
        self.giving_way > LEFT_BY_CONNECTIONS
    }

    /// The number of a new flow or forward: they are listed and ended newest first.
    pub(crate) fn number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// How TCP behaves on a guest forward's callback: a saved state, which upstream may load, has no place for the options
    /// it does not know, so none are agreed on.
    pub(crate) fn callback_tcp_config(&self) -> crate::tcp::Config {
        crate::tcp::Config { window_scale: false, sack: false, timestamps: false, ecn: Ecn::Refuse, ..self.tcp_config }
    }

    /// Whether the caller is the application's loop, so that a round ends soon after what it hands in.
    pub(crate) fn in_loop(&self) -> bool {
        self.caller == Caller::Loop
    }

    /// Announces a new host socket and has the poller watch it.
    ///
    /// # Errors
    /// What the poller said, which has no room for it; the socket is of no use then.
    pub(crate) fn watch(&mut self, socket: RawSocket, token: u64, news: News) -> io::Result<()> {
        if let Some(poller) = self.poller.as_ref() {
            poller.add(socket, token, news).inspect_err(|error| {
                let text = || format!("the host cannot watch one more socket: {error}");
                self.warnings.tell(Subject::Watches, self.now, &mut self.effects, text);
            })?;
        }
        if news == News::Stream {
            self.pace.on_stream();
        }
        if self.tells_of_sockets {
            self.effects.push(Effect::Register(socket));
        }
        Ok(())
    }

    /// Stops watching a host socket and lets it close: at once, or when an application that is told of sockets was told.
    pub(crate) fn unwatch(&mut self, socket: Leaving) {
        // Streams come and go by the thousand, so the system call is saved for them: the close ends the watch. Should a
        // child process of the application hold a copy of one, there may be reports of it, with a token that names nobody.
        if let Some(poller) = self.poller.as_ref()
            && !matches!(socket, Leaving::Stream(_))
            && !socket.is_lost()
        {
            poller.remove(socket.raw_socket());
        }
        if self.tells_of_sockets {
            self.effects.push(Effect::Unregister(socket.into()));
        }
    }

    /// How the TCP of a flow behaves towards the guest: IPv6's header leaves less for the segment, and the timestamps of
    /// each pair of ends begin at a place of their own, the same each time (RFC 7323 section 5.4).
    pub(crate) fn tcp_config_for(&self, key: &FlowKey) -> crate::tcp::Config {
        let mut config = self.tcp_config;
        // The half of the hash that initial sequence numbers do not show.
        config.stamp_offset = (self.secret.hash_one(key) >> 32) as u32;
        if key.guest.ip.is_ipv6() {
            config.mss = config.mss.saturating_sub((IPV6_LEN - IPV4_LEN) as u16).max(1);
        }
        config
    }

    /// Where a forward leads: an unspecified address stands for the guest, see [`Context::guest_address`]. `None` while
    /// none is known, and where the network does not have this family at all. Whoever is behind it is asked whether it is
    /// still there when that is not certain.
    pub(crate) fn guest_behind(&mut self, guest: Endpoint) -> Option<Endpoint> {
        let policy = &self.policy;
        let v6 = guest.ip.is_ipv6();
        if !(if v6 { policy.reach.ipv6 } else { policy.reach.ipv4 }) {
            return None;
        }
        let anywhere = guest.ip.is_unspecified();
        let ip = if anywhere { self.guest_address(v6)? } else { guest.ip };
        if self.egress.neighbors.is_doubtful(ip, self.now, |other| anywhere && self.may_be_guest(other)) {
            self.egress.ask(ip, self.now);
        }
        Some(Endpoint::new(ip, guest.port))
    }

    /// The guest's address of one family, as far as it is known. Over IPv4 it is the first one of the DHCP server, where
    /// the guest is expected, as long as somebody answers there or nobody else was heard of; over IPv6 one under the
    /// prefix if there is one. Of several it is the one heard of last that answers.
    pub(crate) fn guest_address(&self, v6: bool) -> Option<IpAddr> {
        let neighbors = &self.egress.neighbors;
        if v6 {
            return neighbors.guest_ipv6(|ip| self.policy.v6.contains(ip)).map(IpAddr::V6);
        }
        Some(neighbors.guest_ipv4(self.first_guest, |ip| self.may_be_guest(ip.into())).into())
    }

    /// Asks for the guest at all of its addresses of one family that did not answer: it may be back at any of them.
    pub(crate) fn ask_silent_guests(&mut self, v6: bool) {
        let silent: Vec<IpAddr> = self.egress.neighbors.silent(v6).filter(|ip| self.may_be_guest(*ip)).collect();
        for ip in silent {
            self.egress.ask(ip, self.now);
        }
    }

    /// Whether a neighbor's address is one of the network, so that it may stand for the guest.
    fn may_be_guest(&self, ip: IpAddr) -> bool {
        match ip {
            // The DHCP server may give out addresses of another network than the one that is configured.
            IpAddr::V4(ip) => {
                let leased = Ipv4Subnet::new(self.first_guest, self.policy.v4.netmask);
                self.policy.v4.contains(ip) || leased.contains(ip)
            }
            IpAddr::V6(ip) => self.policy.v6.contains(ip),
        }
    }

    /// The initial sequence number of a connection (RFC 6528 section 3): a clock of 4 microseconds plus a keyed hash of
    /// the connection's ends.
    pub(crate) fn initial_sequence(&self, key: &FlowKey) -> SeqNumber {
        let clock = (self.now.total_micros() / 4) as u32;
        SeqNumber(clock.wrapping_add(self.secret.hash_one(key) as u32))
    }
}
