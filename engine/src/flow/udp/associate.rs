//! How a proxy comes to relay datagrams, and ceases to (RFC 1928 section 7): it is asked over a connection, which is kept as long as the flow
//! is, and when either goes so does the other.

use std::net::{IpAddr, SocketAddr};

use super::relay::{Only, Relay};
use super::{UdpFlow, UdpId, UdpTable};
use crate::flow::clock_hand::{ClockHand, Visit};
use crate::flow::context::Context;
use crate::flow::converse::{Pause, converse};
use crate::flow::effect::Leaving;
use crate::flow::egress::Unreachable;
use crate::flow::gate::Admission;
use crate::flow::journal::End;
use crate::flow::token::{self, Kind};
use crate::flow::via::Lane;
use crate::host::fault::{Fault, is_lack};
use crate::host::handle::{HostNamed, RawSocket};
use crate::host::poller::{News, Readiness};
use crate::host::socket::Hops;
use crate::policy::{Language, Proxy, Via};
use crate::proxy::Dialogue;
use crate::time::{Duration, Instant};

/// How long a proxy may take until it relays: whoever sends datagrams does not wait longer for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what a flow sends is refused before its proxy is asked again.
const REFUSED: Duration = Duration::from_secs(5);
/// Flows that are relayed at one time. When there are more, the one least used goes.
const MOST: usize = 1024;
/// As much as a proxy may say on a connection on which nothing is to be said any more.
const MOST_IDLE: usize = 1024;

/// How far a proxy has come.
pub(super) enum State {
    /// It is connected, and asked.
    Asking(Box<Asking>),
    /// It relays what is sent there.
    Open(SocketAddr),
    /// It does not, and is not asked again before this moment.
    Refused(Instant),
}

pub(super) struct Asking {
    words: Dialogue,
    connecting: bool,
    /// The connection is to be watched for room to write.
    writes: bool,
    until: Instant,
}

/// What has come of looking at the connection to a proxy.
enum Step {
    Nothing,
    /// It relays from now on.
    Open,
    Refused(End),
    /// It does not relay any more.
    Over,
}

/// The flows that are relayed, in the order in which they make room.
#[derive(Default)]
pub(super) struct Relayed {
    hand: ClockHand<UdpId>,
    count: usize,
}

impl Relay {
    pub(super) fn on_ready(&mut self, ready: Readiness) {
        // Which of the two sockets it is about is not told.
        self.news = true;
        if let State::Asking(asking) = &mut self.state {
            asking.connecting &= !(ready.writable || ready.read_closed || ready.error);
        }
    }

    pub(super) fn has_news(&self) -> bool {
        self.news && !matches!(&self.state, State::Asking(asking) if asking.connecting)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Asking(asking) => Some(asking.until),
            State::Open(_) | State::Refused(_) => None,
        }
    }

    /// What the application is to watch the connection for in direct mode.
    pub(super) fn interest(&self) -> Option<(RawSocket, bool, bool)> {
        let stream = self.stream.as_ref()?;
        let writes = matches!(&self.state, State::Asking(asking) if asking.connecting || asking.writes);
        Some((stream.raw_socket(), !writes, writes))
    }

    /// Looks at the connection.
    fn attend(&mut self) -> Step {
        if !self.has_news() {
            return Step::Nothing;
        }
        self.news = false;
        let Some(stream) = &self.stream else { return Step::Nothing };
        match &mut self.state {
            State::Asking(asking) => match converse(stream, &mut asking.words) {
                Pause::Writes => asking.writes = true,
                Pause::Reads => asking.writes = false,
                Pause::Refused(why) => return Step::Refused(why),
                Pause::Through => {
                    let Some(address) = relay_address(asking.words.bound(), self.proxy.address) else {
                        return Step::Refused(End::ProxyRefused);
                    };
                    self.state = State::Open(address);
                    // Its end may have come with the answer, and is told of once.
                    self.news = true;
                    return Step::Open;
                }
            },
            State::Open(_) => {
                let mut place = [0; MOST_IDLE];
                match stream.receive(&mut place, &mut []) {
                    Err(error) if Fault::of(&error) == Fault::WouldBlock => {}
                    Ok(1..MOST_IDLE) => self.news = true,
                    _ => return Step::Over,
                }
            }
            State::Refused(_) => {}
        }
        Step::Nothing
    }
}

/// Where a proxy relays, by what it has said: an address that is none is its own (RFC 1928 section 6 has no word of it, and proxies do so). `None`
/// where nothing can be sent there, or it is an address of this machine that the proxy can not mean.
fn relay_address(bound: Option<SocketAddr>, proxy: SocketAddr) -> Option<SocketAddr> {
    let bound = bound.filter(|bound| bound.port() != 0)?;
    let ip = if bound.ip().is_unspecified() { proxy.ip() } else { bound.ip() };
    let is_one = match ip {
        IpAddr::V4(ip) => !(ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !ip.is_multicast(),
    };
    let fits = ip.is_ipv4() == proxy.is_ipv4() && (!ip.is_loopback() || proxy.ip().is_loopback());
    (is_one && fits).then_some(SocketAddr::new(ip, bound.port()))
}

/// What a proxy is asked first.
fn words(proxy: &Proxy) -> Option<Dialogue> {
    let Language::Socks5(credentials) = &proxy.language else { return None };
    Some(Dialogue::associate(credentials.as_ref().map(|(name, password)| (&**name, &**password))))
}

impl UdpTable {
    /// Asks the proxy of a new flow, which goes to `real` first.
    #[cold]
    pub(super) fn associate(&mut self, id: UdpId, (real, admission): (SocketAddr, Admission), cx: &mut Context) {
        let Some(Via::Proxy(proxy)) = cx.gate.via(admission).cloned() else { return };
        let Some(words) = words(&proxy) else { return };
        if self.relayed.count >= MOST {
            let flows = &mut self.flows;
            let victim = self.relayed.hand.victim(|id| match flows.get_mut(id) {
                None => Visit::Gone,
                Some(flow) => Visit::of(&mut flow.used),
            });
            victim.into_iter().for_each(|id| self.remove(id, End::MadeRoom, cx));
        }
        let Some(flow) = self.flows.get_mut(id) else { return };
        let one = matches!(flow.mapping.lane, Lane::Proxy(_, Some(_)));
        let only = one.then(|| Only { target: cx.target(&proxy, admission, real), real, answers: None });
        let connected = cx.connect(proxy.address, Hops::Default).and_then(|stream| {
            cx.watch(stream.raw_socket(), token::pack(Kind::Udp, id), News::Stream)?;
            Ok(stream)
        });
        let (stream, state) = match connected {
            Ok(stream) => {
                let asking = Asking { words, connecting: true, writes: true, until: cx.now + PATIENCE };
                (Some(stream), State::Asking(Box::new(asking)))
            }
            Err(error) => {
                let end = if is_lack(&error) { End::NoResources } else { End::NotConnected };
                flow.mapping.account.ends(end);
                (None, State::Refused(cx.now + REFUSED))
            }
        };
        flow.relay = Some(Box::new(Relay::new(proxy, only, stream, state)));
        let flows = &self.flows;
        self.relayed.hand.insert(id, self.relayed.count, |id| flows.get(id).is_some());
        self.relayed.count += 1;
        self.flows.settle(id, cx);
    }

    /// A flow is gone, and with it what it had of its proxy.
    #[inline]
    pub(super) fn dissociate(&mut self, relay: Option<Box<Relay>>, cx: &mut Context) {
        let Some(relay) = relay else { return };
        self.relayed.count = self.relayed.count.saturating_sub(1);
        if let Some(stream) = relay.stream {
            cx.unwatch(Leaving::Stream(stream));
        }
    }

    /// Looks at what the proxy of a flow says, after what it has relayed. Whether the flow is still there.
    pub(super) fn hear_proxy(&mut self, id: UdpId, cx: &mut Context) -> bool {
        let Some(flow) = self.flows.get_mut(id) else { return false };
        match flow.relay.as_mut().map_or(Step::Nothing, |relay| relay.attend()) {
            Step::Nothing => {}
            Step::Open => flow.send_kept(cx),
            Step::Refused(why) => flow.refuse(why, cx),
            Step::Over => {
                self.remove(id, End::HostReset, cx);
                return false;
            }
        }
        true
    }
}

impl UdpFlow {
    /// The proxy does not relay: what waits for it is refused, and so is what the guest sends for a while, after which the flow ends.
    fn refuse(&mut self, why: End, cx: &mut Context) {
        let Some(relay) = &mut self.relay else { return };
        let until = cx.now + REFUSED;
        self.mapping.account.ends(why);
        self.mapping.expires = until;
        relay.state = State::Refused(until);
        if let Some(stream) = relay.stream.take() {
            cx.unwatch(Leaving::Stream(stream));
        }
        for (kept, _) in std::mem::take(&mut relay.kept) {
            let datagram = kept.datagram(self.mapping.guest);
            cx.egress.unreachable(Unreachable::Prohibited, datagram.packet, cx.now);
        }
    }

    /// A deadline has come: a proxy that has not answered until now does not relay.
    pub(super) fn wait_no_longer(&mut self, cx: &mut Context) {
        let Some(State::Asking(asking)) = self.relay.as_ref().map(|relay| &relay.state) else { return };
        if asking.until <= cx.now {
            let why = if asking.connecting { End::NotConnected } else { End::ProxyRefused };
            self.refuse(why, cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_relays_where_it_says_if_that_is_a_place() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (bound, proxy, relay) in [
            ("192.0.2.7:9", "192.0.2.1:1080", Some("192.0.2.7:9")),
            ("0.0.0.0:9", "192.0.2.1:1080", Some("192.0.2.1:9")),
            ("[::]:9", "192.0.2.1:1080", Some("192.0.2.1:9")),
            ("0.0.0.0:9", "[2001:db8::1]:1080", Some("[2001:db8::1]:9")),
            ("[2001:db8::2]:9", "[2001:db8::1]:1080", Some("[2001:db8::2]:9")),
            ("127.0.0.1:9", "127.0.0.1:1080", Some("127.0.0.1:9")),
            ("127.0.0.1:9", "192.0.2.1:1080", None),
            ("[2001:db8::2]:9", "192.0.2.1:1080", None),
            ("192.0.2.7:0", "192.0.2.1:1080", None),
            ("224.0.0.1:9", "192.0.2.1:1080", None),
            ("255.255.255.255:9", "192.0.2.1:1080", None),
            ("[ff02::1]:9", "[2001:db8::1]:1080", None),
        ] {
            assert_eq!(relay_address(Some(address(bound)), address(proxy)), relay.map(address), "{bound} of {proxy}");
        }
        assert_eq!(relay_address(None, address("192.0.2.1:1080")), None);
    }
}
