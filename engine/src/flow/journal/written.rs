//! What the journal notes, as lines of a log. Each line names the flow in full, so that it can be read alone.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::net::SocketAddr;

use super::{About, Account, Carrier, End, Refusal, Way};
use crate::capture::frames::Recorded;
use crate::capture::log::Log;
use crate::flow::gate::{Admission, Service};
use crate::flow::key::Endpoint;
use crate::time::Instant;

/// Destinations of a flow that are remembered, so that each is told of once. When there are more, the oldest goes, and is told
/// of again should it come back.
const MOST_DESTINATIONS: usize = 16;

/// A flow whose beginning is in the log.
struct Open {
    /// What each of its lines says.
    members: String,
    begun: Instant,
    destinations: Vec<Endpoint>,
    carrier: Carrier,
    guest: Endpoint,
}

/// See the module.
pub(super) struct Written {
    log: Log,
    /// By their numbers. There are as many as the tables of flows hold.
    open: HashMap<u64, Open>,
}

impl Written {
    pub(super) fn new(log: Log) -> Written {
        Written { log, open: HashMap::new() }
    }

    pub(super) fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    pub(super) fn recorded(&self) -> Recorded {
        self.log.recorded()
    }

    pub(super) fn begun(&mut self, number: u64, about: &About, name: Option<&str>, now: Instant) {
        let members = format!("\"flow\":{number},{}{}", Members(about), Named(name));
        self.log.line("begun", &members, now);
        let (carrier, guest) = (about.carrier, about.guest);
        self.open.insert(number, Open { members, begun: now, destinations: vec![about.remote], carrier, guest });
    }

    pub(super) fn refused(&mut self, about: &About, why: Refusal, name: Option<&str>, now: Instant) {
        let members = format!("{}{},\"reason\":\"{}\"", Members(about), Named(name), reason(why));
        self.log.line("refused", &members, now);
    }

    pub(super) fn goes_to(
        &mut self,
        number: u64,
        (remote, host): (Endpoint, SocketAddr),
        (admission, name): (Admission, Option<&str>),
        now: Instant,
    ) {
        let Some(open) = self.open.get_mut(&number) else { return };
        if open.destinations.contains(&remote) {
            return;
        }
        if open.destinations.len() >= MOST_DESTINATIONS {
            open.destinations.remove(0);
        }
        open.destinations.push(remote);
        let about = About::out(open.carrier, open.guest, remote, Some(host)).by(admission);
        self.log.line("destination", &format!("\"flow\":{number},{}{}", Members(&about), Named(name)), now);
    }

    pub(super) fn ended(&mut self, number: u64, account: &Account, (end, said): (End, Option<&str>), now: Instant) {
        let Some(mut open) = self.open.remove(&number) else { return };
        let lasted = if now > open.begun { (now - open.begun).total_micros() } else { 0 };
        // Writing to a String cannot fail.
        if let Some(said) = said {
            let _ = write!(open.members, ",\"said\":\"{said}\"");
        }
        let _ = write!(
            open.members,
            ",\"to_host\":{},\"to_guest\":{},\"seconds\":{}.{:06},\"end\":\"{}\"",
            account.to_host(),
            account.to_guest(),
            lasted / 1_000_000,
            lasted % 1_000_000,
            word(end)
        );
        self.log.line("ended", &open.members, now);
    }
}

/// Nothing comes after it.
impl Drop for Written {
    fn drop(&mut self) {
        self.log.finish();
    }
}

/// The members of an object of JSON that say which flow it is about. Nothing in them has to be escaped.
struct Members<'a>(&'a About);

impl fmt::Display for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let About { carrier, way, guest, remote, host, service, rule } = self.0;
        let way = match way {
            Way::Out => "out",
            Way::In => "in",
        };
        let (name, has_ports) = match carrier {
            Carrier::Tcp => ("tcp", true),
            Carrier::Udp => ("udp", true),
            Carrier::Icmp => ("icmp", false),
        };
        write!(f, "\"protocol\":\"{name}\",\"direction\":\"{way}\"")?;
        let ends =
            [("guest", Some(guest.socket_address())), ("remote", Some(remote.socket_address())), ("host", *host)];
        for (name, end) in ends {
            match end {
                Some(end) if has_ports => write!(f, ",\"{name}\":\"{end}\"")?,
                Some(end) => write!(f, ",\"{name}\":\"{}\"", end.ip())?,
                None => {}
            }
        }
        if let Some(service) = service {
            write!(f, ",\"service\":\"{}\"", service_name(*service))?;
        }
        rule.map_or(Ok(()), |rule| write!(f, ",\"rule\":{rule}"))
    }
}

/// The name of the other end, or that was asked for. The guest may have chosen it, and nothing in it has to be escaped: it has letters,
/// digits, hyphens, underscores and dots, as `Name` sees to.
struct Named<'a>(Option<&'a str>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, ",\"name\":\"{name}\""))
    }
}

/// A reason in a word.
pub(super) fn reason(why: Refusal) -> &'static str {
    match why {
        Refusal::Restricted => "restricted",
        Refusal::Policy => "policy",
        #[cfg(feature = "policy")]
        Refusal::Draining => "draining",
        Refusal::Limit => "limit",
        Refusal::NoRoute => "no-route",
        Refusal::NoNameServer => "no-name-server",
        Refusal::HopsExceeded => "hops-exceeded",
        Refusal::TableFull => "table-full",
        Refusal::NoResources => "no-resources",
        Refusal::HostRefused => "host-refused",
        Refusal::NoGuest => "no-guest",
    }
}

fn service_name(service: Service) -> &'static str {
    match service {
        Service::Dns => "dns",
        Service::Dhcp => "dhcp",
        Service::Tftp => "tftp",
        Service::GuestForward => "guestfwd",
        Service::Echo => "echo",
    }
}

fn word(end: End) -> &'static str {
    match end {
        End::Closed => "closed",
        End::GuestReset => "guest-reset",
        End::GuestSilent => "guest-silent",
        End::HostReset => "host-reset",
        End::NotConnected => "not-connected",
        End::ProxyRefused => "proxy-refused",
        End::ProxyCredentials => "proxy-credentials",
        End::Policy => "policy",
        End::Limit => "limit",
        End::Reset => "reset",
        End::Expired => "expired",
        End::MadeRoom => "made-room",
        End::Replaced => "replaced",
        End::NoResources => "no-resources",
        End::Stopped => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn a_line_names_its_flow_in_full() {
        let guest = Endpoint { ip: "fd00::5".parse().unwrap(), port: 4000 };
        let remote = Endpoint { ip: "fd00::2".parse().unwrap(), port: 53 };
        let mut about = About::out(Carrier::Udp, guest, remote, Some("127.0.0.53:53".parse().unwrap()));
        let text =
            "\"protocol\":\"udp\",\"direction\":\"out\",\"guest\":\"[fd00::5]:4000\",\"remote\":\"[fd00::2]:53\"";
        assert_eq!(Members(&about).to_string(), format!("{text},\"host\":\"127.0.0.53:53\""));
        (about.host, about.rule, about.way) = (None, NonZeroU32::new(3), Way::In);
        about.service = Some(Service::GuestForward);
        let text = text.replace("out", "in");
        assert_eq!(Members(&about).to_string(), format!("{text},\"service\":\"guestfwd\",\"rule\":3"));
        about.carrier = Carrier::Icmp;
        assert!(Members(&about).to_string().contains("\"guest\":\"fd00::5\",\"remote\":\"fd00::2\""));
    }
}
