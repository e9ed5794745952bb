//! A rule as a sentence.

use std::fmt::{self, Display};

use super::{Action, PortRange, Rule};
use crate::policy::address::Set;
use crate::policy::hello::HelloKind;
use crate::policy::question::{Direction, Protocol, Service};
use crate::policy::via::Via;

/// What the rule does, as a sentence without its full stop: `allow tcp from the guest to 192.0.2.0/24, port 443`.
impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.action {
            Action::Allow => "allow ",
            Action::Deny => "deny, and say so, ",
            Action::Drop => "drop, and say nothing, ",
        })?;
        if self.services != 0 {
            return self.write_services(f);
        }
        let protocols = [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp"), (Protocol::Icmp, "ping")];
        let protocols = protocols.iter().filter(|(protocol, _)| self.protocols & protocol.bit() != 0);
        let protocols: Vec<&str> = protocols.map(|(_, word)| *word).collect();
        f.write_str(&if protocols.is_empty() { "everything".into() } else { any_of(&protocols) })?;
        match self.direction {
            Direction::Out => {
                f.write_str(" from the guest")?;
                self.write_guest(f)?;
                f.write_str(" to ")?;
                if self.host.is_empty() && self.named.is_empty() && self.names.is_empty() {
                    f.write_str("anywhere")?;
                }
                self.write_host(f)?;
                match &self.via {
                    None => {}
                    Some(Via::Address(address)) => write!(f, ", and lead it to {address}")?,
                    Some(Via::Proxy(proxy)) => write!(f, ", and lead it through {proxy}")?,
                }
            }
            Direction::In => {
                f.write_str(" that comes in from ")?;
                if self.host.is_empty() {
                    f.write_str("anywhere")?;
                }
                self.write_host(f)?;
                f.write_str(", to the guest")?;
                self.write_guest(f)?;
            }
        }
        Ok(())
    }
}

impl Rule {
    fn write_services(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = [
            (Service::Dns, "the name server"),
            (Service::Dhcp, "DHCP"),
            (Service::Tftp, "TFTP"),
            (Service::GuestForward, "guest forwards"),
            (Service::Echo, "pings of the virtual addresses"),
        ];
        let services = services.iter().filter(|(service, _)| self.services & service.bit() != 0);
        let services: Vec<&str> = services.map(|(_, word)| *word).collect();
        write!(f, "{} to the guest", any_of(&services))?;
        self.write_guest(f)?;
        if !(self.host.is_empty() && self.named.is_empty()) {
            f.write_str(", at ")?;
        }
        self.write_host(f)
    }

    fn write_guest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.guest.is_empty() {
            write!(f, " at {}", addresses(&self.guest))?;
        }
        write_ports(f, &self.guest_ports)
    }

    fn write_host(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut and = "";
        if !self.host.is_empty() {
            f.write_str(&addresses(&self.host))?;
            and = ", ";
        }
        if !self.named.is_empty() {
            write!(f, "{and}what the guest calls {}", addresses(&self.named))?;
            and = ", ";
        }
        if !self.names.is_empty() {
            let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            write!(f, "{and}{}", any_of(&names))?;
        }
        write_ports(f, &self.host_ports)?;
        let hellos = [(HelloKind::Tls, "the server's name of TLS"), (HelloKind::Http, "the host of HTTP")];
        let hellos = hellos.iter().filter(|(kind, _)| self.hellos & kind.bit() != 0);
        let hellos: Vec<&str> = hellos.map(|(_, word)| *word).collect();
        if hellos.is_empty() { Ok(()) } else { write!(f, ", if {} says so", any_of(&hellos)) }
    }
}

fn any_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn addresses(set: &Set) -> String {
    let words: Vec<String> = set.prefixes().map(|prefix| prefix.to_string()).collect();
    let words: Vec<&str> = words.iter().map(|word| word.trim_end_matches("/128")).collect();
    let words: Vec<&str> =
        words.iter().map(|word| if word.contains(':') { word } else { word.trim_end_matches("/32") }).collect();
    any_of(&words)
}

fn write_ports(f: &mut fmt::Formatter<'_>, ports: &[PortRange]) -> fmt::Result {
    if ports.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = ports.iter().map(PortRange::to_string).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    write!(f, ", port {}", any_of(&words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Cidr, Proxy};

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_rule_is_a_sentence() {
        let ports = [PortRange::one(443), PortRange::new(8000, 8099).unwrap()];
        for (rule, sentence) in [
            (Rule::allow(), "allow everything from the guest to anywhere"),
            (
                Rule::allow()
                    .protocol(Protocol::Tcp)
                    .host([cidr("192.0.2.0/24"), cidr("2001:db8::1")])
                    .host_ports(ports),
                "allow tcp from the guest to 192.0.2.0/24 or 2001:db8::1, port 443 or 8000-8099",
            ),
            (
                Rule::deny().guest([cidr("10.0.2.16")]).guest_ports([PortRange::one(9)]).named([cidr("10.0.2.2")]),
                "deny, and say so, everything from the guest at 10.0.2.16, port 9 to what the guest calls 10.0.2.2",
            ),
            (
                Rule::drop().direction(Direction::In).protocol(Protocol::Udp).protocol(Protocol::Tcp),
                "drop, and say nothing, tcp or udp that comes in from anywhere, to the guest",
            ),
            (
                Rule::allow().service(Service::Dns).service(Service::Tftp).service(Service::Dhcp),
                "allow the name server, DHCP or TFTP to the guest",
            ),
            (
                Rule::allow().service(Service::Dns).host_ports([PortRange::one(53)]),
                "allow the name server to the guest, port 53",
            ),
            (
                Rule::allow().service(Service::GuestForward).named([cidr("10.0.2.9")]).host_ports([PortRange::one(80)]),
                "allow guest forwards to the guest, at what the guest calls 10.0.2.9, port 80",
            ),
            (
                Rule::allow().names(["*.example.org".parse().unwrap()]).protocol(Protocol::Tcp).hello(HelloKind::Tls),
                "allow tcp from the guest to *.example.org, if the server's name of TLS says so",
            ),
            (
                Rule::allow().protocol(Protocol::Udp).via(Via::Address("192.0.2.7:53".parse().unwrap())),
                "allow udp from the guest to anywhere, and lead it to 192.0.2.7:53",
            ),
            (
                Rule::allow()
                    .protocol(Protocol::Tcp)
                    .via(Via::Proxy("socks5://me:secret@192.0.2.7:1080".parse::<Proxy>().unwrap().with_names(true))),
                "allow tcp from the guest to anywhere, and lead it through socks5://192.0.2.7:1080, which is told names",
            ),
        ] {
            assert_eq!(rule.to_string(), sentence);
        }
    }
}
