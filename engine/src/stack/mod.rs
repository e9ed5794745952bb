//! The engine: `Stack` owns every table below it and dispatches frames, readiness and deadlines. It calls nobody:
//! frames and effects are results. No C type, no callback may come in.
//!
//! `output` is what comes out, and the round as a program sees it; `parts` tells the parts of a stack what is configured, `input` and `input6`
//! take frames apart, `in_place` takes bulk where it lies, `frame_copy` is where other frames are copied to, `foreign` knows those
//! that are none of ours, `rounds` is the application's loop seen from inside, `quiet` its rounds in which nothing happens, `deadlines` does what has become due,
//! `attendant` lets a floor above attend to a stack, `ration` says how much one call may make, `recording` has frames captured and flows logged, `review` asks another policy about what there is, `advertiser` when routers are advertised, `descriptor` what a program watches,
//! `thrift` when memory is given back, `rules` adds and removes forwards, `guest_connections` is what a program does with a
//! guest that has come to it, `shortage` says who gives way when descriptors have run out, `tftp` gives the TFTP server its
//! datagrams and its files.
#![forbid(unsafe_code)]

mod advertiser;
#[cfg(feature = "control")]
pub(crate) mod attendant;
mod deadlines;
mod descriptor;
mod foreign;
mod frame_copy;
mod guest_connections;
mod in_place;
mod input;
mod input6;
mod lost;
mod output;
mod parts;
mod quiet;
mod ration;
#[cfg(feature = "capture")]
pub(crate) mod recording;
#[cfg(feature = "control")]
pub(crate) mod review;
mod rounds;
mod rules;
mod shortage;
mod tftp;
mod thrift;

use std::hash::RandomState;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

pub use output::Output;
pub use rounds::Interest;
use smoltcp::wire::EthernetAddress;

use crate::config::Config;
use crate::flow::budget::FrameBudget;
use crate::flow::egress::Egress;
use crate::flow::gate::{Gate, Protocol, Service};
use crate::flow::icmp::IcmpTable;
use crate::flow::identity::Identity;
use crate::flow::journal::Journal;
use crate::flow::key::Endpoint;
use crate::flow::name_server::NameServers;
use crate::flow::policy::Policy;
use crate::flow::tcp::TcpTable;
use crate::flow::tcp::guest::{GuestForwards, Rule};
use crate::flow::timers::TimerQueue;
use crate::flow::udp::UdpTable;
use crate::flow::warnings::Warnings;
use crate::flow::{Caller, Context, Effect, FlowKey};
use crate::forward::listener::TcpForwards;
use crate::host::poller::PollMode;
use crate::host::reserve::Reserve;
use crate::ip::reassembly::{Ipv4Key, Ipv6Key, Reassembler};
use crate::link::outbox::Outbox;
use crate::pace::Pace;
use crate::service::dhcp::{Dhcp, SLOTS};
use crate::service::dhcpv6;
use crate::service::ncsi::NcsiConfig;
use crate::service::tftp::Tftp;
use crate::tcp::{Connection, Pool, Saved};
use crate::time::{Duration, Instant};
use crate::wire::header::ETHERNET_LEN;

/// A clock that goes back by this much was set anew.
const CLOCK_STEP: Duration = Duration::from_secs(1);
/// Whatever more than this passes from one call to the next has not passed for anyone: the application is left a second of
/// sleep at most, so it was stopped, or the machine slept, or the clock was set.
const LONGEST_GAP: Duration = Duration::from_secs(5);
/// Before the first call.
const NEVER: Instant = Instant::from_micros(i64::MIN / 2);
/// The largest datagram there can be.
const SCRATCH: usize = 65536;

/// A user-mode network stack: one virtual network with a guest on it.
///
/// The guest's frames go in by [`Stack::input`]; what the host's sockets have to say is asked for by [`Stack::handle_events`]. Frames for
/// the guest, and [`Effect`]s, are taken out one by one with [`Stack::poll_output`], which also says how long a program may sleep. All
/// times are the caller's own clock.
///
/// [`drive`](crate::drive) has loops for programs that have none; one of a program's own goes like this:
///
/// ```
/// use oxislirp::{Caller, Clock, Config, Glance, Output, Stack};
///
/// let mut stack = Stack::new(Config::default())?;
/// let clock = Clock::new();
/// # let (mut rounds, frames_of_the_guest) = (0, [[0_u8; 60]]);
/// loop {
///     // What is to be done until the next sleep, and how long that may be.
///     let sleep = loop {
///         match stack.poll_output(clock.now()) {
///             Output::Frame(frame) => println!("{} bytes for the guest", frame.len()),
///             Output::Effect(effect) => println!("{effect:?}"),
///             Output::Timeout(sleep) => break sleep,
///             _ => {}
///         }
///     };
///     // Here the program sleeps in poll(2), for no longer than `sleep`, until a frame comes or `stack.descriptor()` is readable.
/// #   let (readable, _) = (false, sleep);
/// #   rounds += 1;
/// #   if rounds == 3 { break }
///     for frame in &frames_of_the_guest {
///         stack.input(frame, Caller::Loop, clock.now());
///     }
///     stack.handle_events(if readable { Glance::News } else { Glance::Quiet }, clock.now());
/// }
/// # std::io::Result::Ok(())
/// ```
///
/// The example program `own_loop` is a whole one.
pub struct Stack {
    cx: Context,
    tcp: TcpTable,
    udp: UdpTable,
    icmp: IcmpTable,
    tcp_forwards: TcpForwards,
    guest_forwards: GuestForwards,
    /// The first address of the DHCP server, where the guest is expected unless a guest forward is there.
    first_lease: Ipv4Addr,
    reassembly: Reassembler<Ipv4Key>,
    reassembly6: Reassembler<Ipv6Key>,
    accepted: foreign::Accepted,
    frame_copy: frame_copy::FrameCopy,
    dhcpv6: dhcpv6::Config,
    dhcp: Option<Dhcp>,
    ncsi: NcsiConfig,
    tftp: Tftp<FlowKey>,
    /// Microseconds from the application's clock to the engine's own.
    clock_shift: i64,
    loop_state: rounds::LoopState,
    quiet: quiet::Quiet,
    advertiser: advertiser::Advertiser,
    output: output::Pending,
    /// See [`Stack::refused_frames`].
    refused_frames: u64,
    traffic: Traffic,
    #[cfg(feature = "capture")]
    recording: recording::Recording,
    #[cfg(feature = "control")]
    attendant: Option<Box<dyn attendant::Attendant>>,
    #[cfg(feature = "control")]
    attendance: attendant::Attendance,
    /// See [`Stack::forwards_changed`].
    #[cfg(feature = "control")]
    forwards_changed: u64,
}

/// Frames of the guest, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub frames_in: u64,
    pub bytes_in: u64,
}

/// How many there are of what a stack holds.
impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("now", &self.cx.now)
            .field("tcp", &self.tcp.flows.len())
            .field("udp", &self.udp.flows.len())
            .field("host_forwards", &self.host_forwards().count())
            .field("guest_forwards", &self.guest_forwards().count())
            .finish_non_exhaustive()
    }
}

impl Stack {
    /// Makes a stack. No frame is sent and no socket made, but for the poller's descriptor and the reserve's.
    ///
    /// # Errors
    /// What the operating system says when it has no descriptor for the poller.
    pub fn new(config: Config) -> io::Result<Stack> {
        let poller = PollMode::new(config.direct_poll)?;
        let policy = Policy { v4: config.v4, v6: config.v6, reach: config.reach };
        let mut effects = Vec::new();
        let dhcp = config.dhcp(&mut effects);
        let tftp = config.tftp(&mut effects);
        let mut cx = Context {
            now: NEVER,
            egress: Egress::new(&policy, config.mtu),
            policy,
            #[cfg(feature = "policy")]
            gate: Gate::new(config.policy.clone()),
            #[cfg(not(feature = "policy"))]
            gate: Gate::default(),
            #[cfg(feature = "policy")]
            limits: crate::limits::Ledger::new(&config.limits).map(Box::new),
            first_guest: config.dhcp_start,
            effects,
            warnings: Warnings::default(),
            journal: Journal::default(),
            tells_of_sockets: config.direct_poll,
            budget: FrameBudget::default(),
            timers: TimerQueue::default(),
            poller,
            pool: Pool::with_budget(config.buffer_memory),
            reserve: Reserve::default(),
            giving_way: 0,
            name_servers: NameServers::new(&config.name_servers),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            secret: RandomState::new(),
            tcp_config: config.tcp(),
            made: 0,
            pace: Pace::default(),
            caller: Caller::Loop,
        };
        #[cfg(feature = "policy")]
        {
            let mut own = config.own_names.clone();
            let reach = &cx.policy.reach;
            own.settle(reach.ipv4.then_some(cx.policy.v4.host), reach.ipv6.then_some(cx.policy.v6.host));
            cx.name_servers.serve(own);
        }
        if config.handover {
            cx.egress.handover.engage(ETHERNET_LEN + config.mtu);
        }
        let mut stack = Stack {
            cx,
            tcp: TcpTable::default(),
            udp: UdpTable::default(),
            icmp: IcmpTable::default(),
            tcp_forwards: TcpForwards::default(),
            guest_forwards: GuestForwards::default(),
            first_lease: config.dhcp_start,
            reassembly: Reassembler::ipv4(),
            reassembly6: Reassembler::ipv6(),
            accepted: foreign::Accepted::default(),
            frame_copy: frame_copy::FrameCopy::default(),
            dhcpv6: config.dhcpv6(),
            dhcp,
            ncsi: config.ncsi,
            tftp,
            clock_shift: 0,
            loop_state: rounds::LoopState::default(),
            quiet: quiet::Quiet::default(),
            advertiser: advertiser::Advertiser::default(),
            output: output::Pending::default(),
            refused_frames: 0,
            traffic: Traffic::default(),
            #[cfg(feature = "capture")]
            recording: recording::Recording::default(),
            #[cfg(feature = "control")]
            attendant: None,
            #[cfg(feature = "control")]
            attendance: attendant::Attendance::default(),
            #[cfg(feature = "control")]
            forwards_changed: 0,
        };
        stack.begin_ration();
        Ok(stack)
    }

    /// Tells it from every other stack.
    #[cfg_attr(windows, expect(dead_code, reason = "it is the drivers'"))]
    pub(crate) fn identity(&self) -> Identity {
        self.cx.identity()
    }

    /// The frames for the guest, for a caller that takes them out after each call.
    #[doc(hidden)]
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.cx.egress.outbox
    }

    /// What the application is to be told, in order, for a caller that takes it out after each call.
    #[doc(hidden)]
    pub fn effects(&mut self) -> &mut Vec<Effect> {
        &mut self.cx.effects
    }

    /// Whether there are frames or effects to be taken out, or a marker is to follow those that were.
    #[inline]
    #[doc(hidden)]
    pub fn has_output(&self) -> bool {
        !self.cx.effects.is_empty() || self.cx.egress.has_output(self.cx.now)
    }

    /// Sets the clock, for calls that take no time themselves.
    ///
    /// A clock that goes back (some applications give the time of day) would make everything seem younger than it is. The
    /// engine's own time stands still for that moment and goes on from there. One that jumps ahead would end whatever waits
    /// for an answer, although nobody had the time to give one: the engine's time goes ahead by five seconds.
    pub fn set_now(&mut self, now: Instant) {
        let mut own = self.own_time(now);
        if own < self.cx.now {
            let back = self.cx.now - own;
            // A little is only two threads that read the clock in one order and came in in the other.
            if back >= CLOCK_STEP {
                self.shift_clock(back, i64::saturating_add);
                self.clock_went_back(now);
            }
            own = self.cx.now;
        } else if self.is_gap(own) {
            own = self.after_gap(own);
        }
        self.cx.now = own;
    }

    /// The engine's own time at a moment of the application's clock that goes on as it did.
    #[inline]
    fn own_time(&self, now: Instant) -> Instant {
        Instant::from_micros(now.total_micros().saturating_add(self.clock_shift))
    }

    /// Whether more has passed than can have passed for anyone.
    #[inline]
    fn is_gap(&self, own: Instant) -> bool {
        own - self.cx.now > LONGEST_GAP
    }

    /// The clock went far ahead, or is seen for the first time.
    #[cold]
    fn after_gap(&mut self, own: Instant) -> Instant {
        if self.cx.now == NEVER {
            self.cx.now = own;
            self.begin_advertising();
            return own;
        }
        let latest = self.cx.now + LONGEST_GAP;
        self.shift_clock(own - latest, i64::saturating_sub);
        latest
    }

    #[cold]
    fn shift_clock(&mut self, by: Duration, how: impl FnOnce(i64, i64) -> i64) {
        self.clock_shift = how(self.clock_shift, i64::try_from(by.total_micros()).unwrap_or(i64::MAX));
    }

    /// Ends every flow and every host forward: their sockets leave by [`Effect::Unregister`]. Guest forwards stay, without the connections that
    /// came by them. The guest is told nothing. The stack goes on: what comes afterwards is served.
    pub fn shut_down(&mut self) {
        #[cfg(feature = "control")]
        self.dismiss();
        self.udp.clear(&mut self.cx);
        self.tcp.clear(&mut self.cx);
        self.tcp_forwards.clear(&mut self.cx);
        self.icmp.clear(&mut self.cx);
        #[cfg(feature = "capture")]
        self.write_records();
    }

    /// Takes over what a saved state brought.
    pub(crate) fn restore(&mut self, ip_id: Option<u16>, pool: Option<[Option<EthernetAddress>; SLOTS]>) {
        if let Some(ip_id) = ip_id {
            self.cx.egress.set_ip_id(ip_id);
        }
        if let (Some(pool), Some(dhcp)) = (pool, &mut self.dhcp) {
            dhcp.set_slots(pool, self.cx.now);
            // As when they were leased, but that nobody was heard of now. The first is to be the one heard of last.
            for (address, mac) in dhcp.leases().rev() {
                let is_ours = |ip| self.cx.policy.v4.is_virtual(ip) || self.guest_forwards.covers(ip);
                self.cx.egress.learn_lease(address, mac, is_ours, None);
            }
        }
    }

    /// The callback guest forward at an address and port.
    pub(crate) fn callback_forward(&self, at: Endpoint) -> Option<Arc<Rule>> {
        self.guest_forwards.find(at).filter(|forward| forward.is_callback())
    }

    /// Whether a guest could have this end of a connection: its frames would be let in.
    pub(crate) fn may_be_guest(&self, end: Endpoint) -> bool {
        let std::net::IpAddr::V4(ip) = end.ip else { return false };
        let policy = &self.cx.policy;
        let ours = !policy.plausible_source(ip) || self.guest_forwards.covers(ip);
        end.port != 0 && !ours && !ip.is_unspecified() && !policy.is_group(end.ip)
    }

    /// A connection of a guest forward from what a saved state brought; `None` when it cannot be.
    pub(crate) fn restored(&mut self, tcp: &Saved, received: &[u8], unacknowledged: &[u8]) -> Option<Connection> {
        let config = self.cx.callback_tcp_config();
        Connection::restore(&config, tcp, received, unacknowledged, self.cx.now, &mut self.cx.pool)
    }

    /// Whether a guest forward is open for a connection that a saved state brings: the policy may be another one by now.
    pub(crate) fn admits(&self, key: &FlowKey) -> bool {
        let gate = &self.cx.gate;
        gate.service(Service::GuestForward, Protocol::Tcp, key.guest, key.remote).is_allowed()
    }

    /// Takes a restored connection in, in the place of one between the same ends.
    pub(crate) fn adopt(&mut self, key: FlowKey, connection: Connection, forward: Arc<Rule>, tos: u8) {
        self.tcp.adopt(key, connection, forward, tos, &mut self.cx);
    }

    /// What came over the link.
    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// For the rooms that describe a stack.
    pub(crate) fn tables(&self) -> Tables<'_> {
        Tables {
            cx: &self.cx,
            tcp: &self.tcp,
            udp: &self.udp,
            icmp: &self.icmp,
            tcp_forwards: &self.tcp_forwards,
            dhcp: self.dhcp.as_ref(),
        }
    }
}

/// A stack's tables, to be read.
pub(crate) struct Tables<'a> {
    pub cx: &'a Context,
    pub tcp: &'a TcpTable,
    pub udp: &'a UdpTable,
    pub icmp: &'a IcmpTable,
    pub tcp_forwards: &'a TcpForwards,
    pub dhcp: Option<&'a Dhcp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_back_does_not_stop_time() {
        let mut stack = Stack::new(Config::default()).unwrap();
        stack.set_now(Instant::from_secs(1000));
        stack.set_now(Instant::from_secs(10));
        assert_eq!(stack.cx.now, Instant::from_secs(1000));
        stack.set_now(Instant::from_secs(11));
        assert_eq!(stack.cx.now, Instant::from_secs(1001));
        // The application's second is one of ours again.
        stack.set_now(Instant::from_secs(12));
        assert_eq!(stack.cx.now, Instant::from_secs(1002));
        // A clock may also start below zero.
        let mut stack = Stack::new(Config::default()).unwrap();
        stack.set_now(Instant::from_secs(-5));
        assert_eq!(stack.cx.now, Instant::from_secs(-5));
    }

    #[test]
    fn a_clock_that_jumps_ahead_takes_little_time_with_it() {
        let mut stack = Stack::new(Config::default()).unwrap();
        let mut at = |seconds| {
            stack.set_now(Instant::from_secs(seconds));
            stack.cx.now.total_micros() / 1_000_000
        };
        assert_eq!(at(1_000_000), 1_000_000);
        assert_eq!(at(1_000_005), 1_000_005);
        assert_eq!(at(1_003_605), 1_000_010, "an hour");
        assert_eq!(at(1_003_606), 1_000_011);
        assert_eq!(at(1_000_007), 1_000_011, "and back");
        assert_eq!(at(1_000_009), 1_000_013);
        assert_eq!(at(i64::MAX / 2_000_000), 1_000_018);
        assert_eq!(at(i64::MIN / 2_000_000), 1_000_018);
        assert_eq!(at(i64::MIN / 2_000_000 + 1), 1_000_019);
    }
}
