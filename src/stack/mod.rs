//! The engine: `Stack` owns every table below it and dispatches frames, readiness and deadlines. It calls nobody:
//! frames and effects are results. No C type, no callback may come in.
//!
//! `config` says what a stack is made from, `input` and `input6` take frames apart, `rounds` is the application's loop seen from
//! inside, `rules` adds and removes forwards.
#![forbid(unsafe_code)]

pub mod config;
mod input;
mod input6;
mod rounds;
mod rules;

use std::hash::RandomState;
use std::io;
use std::net::Ipv4Addr;

pub use config::Config;
pub use rounds::Interest;
use smoltcp::wire::EthernetAddress;

use crate::flow::egress::Egress;
use crate::flow::icmp::IcmpTable;
use crate::flow::name_server::NameServers;
use crate::flow::tcp::TcpTable;
use crate::flow::timers::TimerQueue;
use crate::flow::udp::UdpTable;
use crate::flow::{Context, Effect};
use crate::forward::guest::GuestForwards;
use crate::forward::listener::TcpForwards;
use crate::host::poller::Poller;
use crate::ip::reassembly::{Ipv4Key, Ipv6Key, Reassembler};
use crate::link::outbox::Outbox;
use crate::service::dhcp::{Dhcp, SLOTS};
use crate::service::dhcpv6;
use crate::tcp::Pool;
use crate::time::Instant;
use crate::wire::subnet::Ipv4Subnet;

/// The largest datagram there can be.
const SCRATCH: usize = 65536;

/// A user-mode network stack: one virtual network with a guest on it.
///
/// Frames and events go in by the methods; frames come out in [`Stack::outbox`] and everything else in
/// [`Stack::effects`], both to be looked at after each call. All times are the caller's own clock.
pub struct Stack {
    cx: Context,
    tcp: TcpTable,
    udp: UdpTable,
    icmp: IcmpTable,
    tcp_forwards: TcpForwards,
    guest_forwards: GuestForwards,
    reassembly: Reassembler<Ipv4Key>,
    reassembly6: Reassembler<Ipv6Key>,
    dhcpv6: dhcpv6::Config,
    dhcp: Option<Dhcp>,
    dhcp_start: Ipv4Addr,
    loop_state: rounds::LoopState,
}

impl Stack {
    /// Makes a stack. No frame is sent and no socket made, but for the poller's descriptor.
    ///
    /// # Errors
    /// What the operating system says when it has no descriptor for the poller.
    pub fn new(config: Config) -> io::Result<Stack> {
        let poller = if config.direct_poll { None } else { Some(Poller::new()?) };
        let policy = config.policy();
        let subnet = Ipv4Subnet::new(policy.network, policy.netmask);
        let mut effects = Vec::new();
        let dhcp = config.dhcp(&mut effects);
        let mut cx = Context {
            now: Instant::ZERO,
            egress: Egress::new(subnet, policy.vhost, policy.vhost6, config.mtu),
            policy,
            effects,
            timers: TimerQueue::default(),
            poller,
            pool: Pool::default(),
            name_servers: NameServers::default(),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            secret: RandomState::new(),
            tcp_config: config.tcp(),
            made: 0,
        };
        if let Some(dhcp) = &dhcp {
            cx.effects.extend(dhcp.warnings().iter().cloned().map(Effect::Warning));
        }
        Ok(Stack {
            cx,
            tcp: TcpTable::default(),
            udp: UdpTable::default(),
            icmp: IcmpTable::default(),
            tcp_forwards: TcpForwards::default(),
            guest_forwards: GuestForwards::default(),
            reassembly: Reassembler::ipv4(),
            reassembly6: Reassembler::ipv6(),
            dhcpv6: config.dhcpv6(),
            dhcp,
            dhcp_start: config.dhcp_start,
            loop_state: rounds::LoopState::default(),
        })
    }

    /// The frames for the guest. The caller takes them out (or swaps in an empty outbox) after each call.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.cx.egress.outbox
    }

    /// What the application is to be told, in order. The caller takes it out after each call.
    pub fn effects(&mut self) -> &mut Vec<Effect> {
        &mut self.cx.effects
    }

    /// Sets the clock, for calls that take no time themselves.
    pub fn set_now(&mut self, now: Instant) {
        // A clock that goes back would make everything seem younger than it is; it is held instead.
        self.cx.now = self.cx.now.max(now);
    }

    /// Ends every flow and forward: the host sockets leave by [`Stack::effects`]. The guest is told nothing.
    pub fn shut_down(&mut self) {
        self.udp.clear(&mut self.cx);
        self.tcp.clear(&mut self.cx);
        self.tcp_forwards.clear(&mut self.cx);
        self.icmp.clear(&mut self.cx);
    }

    /// Takes over what a saved state brought.
    pub(crate) fn restore(&mut self, ip_id: Option<u16>, pool: Option<[Option<EthernetAddress>; SLOTS]>) {
        if let Some(ip_id) = ip_id {
            self.cx.egress.set_ip_id(ip_id);
        }
        if let (Some(pool), Some(dhcp)) = (pool, &mut self.dhcp) {
            dhcp.set_slots(pool);
        }
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
