//! The table `[dns]`: names of the virtual network's own, and who is asked for others. What the words mean is told in docs/dns.md.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use oxislirp::policy::Name;
use oxislirp::{ConfigBuilder, NameServerSource, OwnNames, OwnNamesError};
use serde::Deserialize;
use toml::Spanned;

use super::item::{Item, One, Several};
use super::paths::Instance;
use super::read;

/// The table as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    servers: Option<Several<Server>>,
    hosts: Option<Spanned<String>>,
    host_alias: Option<Several<Name>>,
    #[serde(default)]
    records: Vec<Spanned<Record>>,
    #[serde(default)]
    zone: Vec<Spanned<Zone>>,
}

/// What there is of a name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Record {
    name: One<Name>,
    a: Option<Several<Ipv4Addr>>,
    aaaa: Option<Several<Ipv6Addr>>,
    cname: Option<One<Name>>,
    ptr: Option<Several<IpAddr>>,
    ttl: Option<u32>,
}

/// A domain with servers of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Zone {
    domain: One<Name>,
    #[serde(default)]
    servers: Vec<One<Server>>,
}

/// A name server: an address, or an address and a port.
#[derive(Clone, Copy, Debug)]
struct Server(SocketAddr);

/// What the table says.
#[derive(Debug)]
pub(crate) struct Dns {
    servers: Option<Vec<SocketAddr>>,
    names: OwnNames,
}

impl Dns {
    /// The names of the network's own.
    #[allow(dead_code, reason = "it is the command that asks")]
    pub(crate) fn names(&self) -> &OwnNames {
        &self.names
    }

    /// Whom the virtual name server asks, where the file says it.
    #[allow(dead_code, reason = "it is the command that asks")]
    pub(crate) fn servers(&self) -> Option<&[SocketAddr]> {
        self.servers.as_deref()
    }

    pub(super) fn apply(&self, config: ConfigBuilder) -> ConfigBuilder {
        let config = config.own_names(self.names.clone());
        match &self.servers {
            Some(servers) => config.name_server_source(NameServerSource::Fixed(servers.clone())),
            None => config,
        }
    }
}

type Fault = (Range<usize>, String);

impl Table {
    /// What the engine makes of it. The file with hosts is read here.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(super) fn dns(self, instance: &Instance) -> Result<Dns, Fault> {
        let mut names = OwnNames::default();
        for record in self.records {
            let place = record.span();
            record.into_inner().add_to(&mut names).map_err(|text| (place, text))?;
        }
        if let Some(path) = self.hosts {
            let at = |text: String| (path.span(), text);
            let file = instance.path(path.get_ref()).map_err(at)?;
            let text = read(&file).map_err(|error| at(format!("{}: {error}", file.display())))?;
            names.add_hosts(&text).map_err(|error| at(format!("{}: {error}", file.display())))?;
        }
        for name in self.host_alias.into_iter().flat_map(|Several(names)| names) {
            names.add_host(name);
        }
        for zone in self.zone {
            let place = zone.span();
            let Zone { domain: One(domain), servers } = zone.into_inner();
            let servers = servers.into_iter().map(|One(Server(server))| server).collect();
            names.add_domain(domain, servers).map_err(|error| (place, error.to_string()))?;
        }
        let servers = self.servers.map(|Several(servers)| servers.into_iter().map(|Server(server)| server).collect());
        Ok(Dns { servers, names })
    }
}

impl Record {
    fn add_to(self, names: &mut OwnNames) -> Result<(), String> {
        let Record { name: One(name), a, aaaa, cname, ptr, ttl } = self;
        if a.is_none() && aaaa.is_none() && cname.is_none() && ptr.is_none() {
            return Err("a record has one of a, aaaa, cname, ptr".into());
        }
        let four = a.into_iter().flat_map(|Several(all)| all).map(IpAddr::V4);
        let six = aaaa.into_iter().flat_map(|Several(all)| all).map(IpAddr::V6);
        let add = || -> Result<(), OwnNamesError> {
            for ip in four.chain(six) {
                names.add_address(name.clone(), ip, ttl)?;
            }
            if let Some(One(target)) = cname {
                names.add_alias(name.clone(), target, ttl)?;
            }
            for ip in ptr.into_iter().flat_map(|Several(all)| all) {
                names.add_pointer(ip, name.clone(), ttl)?;
            }
            Ok(())
        };
        add().map_err(|error| error.to_string())
    }
}

impl Item for Name {
    const WHAT: &'static str = "a name, such as \"db.test\"";

    fn of_text(text: &str) -> Result<Name, String> {
        text.parse().map_err(|error| format!("`{text}`: {error}"))
    }
}

impl Item for Server {
    const WHAT: &'static str =
        "the address of a name server, also with a port: \"192.0.2.53:5353\", \"[2001:db8::53]:5353\"";

    fn of_text(text: &str) -> Result<Server, String> {
        let bare = || Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 53));
        let server = text.parse().ok().or_else(bare).ok_or_else(|| format!("`{text}` is not {}", Self::WHAT))?;
        let nobody = server.port() == 0 || server.ip().is_unspecified() || server.ip().is_multicast();
        if nobody { Err(format!("nobody answers at {server}")) } else { Ok(Server(server)) }
    }
}

/// An address of either family, or of one.
macro_rules! addresses {
    ($($kind:ty => $what:literal),*) => {$(
        impl Item for $kind {
            const WHAT: &'static str = $what;

            fn of_text(text: &str) -> Result<$kind, String> {
                text.parse().map_err(|_| format!("`{text}` is not {}", Self::WHAT))
            }
        }
    )*};
}

addresses!(Ipv4Addr => "an address of IPv4", Ipv6Addr => "an address of IPv6", IpAddr => "an address");

#[cfg(test)]
mod tests {
    use super::super::tests::parse;

    #[test]
    fn what_the_page_shows_is_taken() {
        let page = include_str!("../../docs/dns.md");
        let shown: Vec<&str> =
            page.split("```toml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
        assert!(!shown.is_empty());
        for text in &shown {
            // There is no such file here.
            let without_hosts: String =
                text.lines().filter(|line| !line.starts_with("hosts")).map(|line| format!("{line}\n")).collect();
            let dns = parse(&without_hosts).unwrap().dns.unwrap();
            assert!(dns.servers.is_none_or(|servers| !servers.is_empty()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_has_its_line_and_its_field() {
        for (text, wanted) in [
            ("[dns]\nserver = []\n", "x.toml:2: dns.server: unknown field `server`"),
            ("[dns]\nservers = 'a.test'\n", "x.toml:2: dns.servers: `a.test` is not the address of a name server"),
            ("[dns]\nservers = ['0.0.0.0']\n", "x.toml:2: dns.servers: nobody answers at 0.0.0.0:53"),
            ("[dns]\nservers = []\n", "x.toml:2: dns.servers: an empty list"),
            ("[[dns.records]]\nname = 'a..b'\n", "x.toml:2: dns.records.name: `a..b`: a label of the name is empty"),
            ("[[dns.records]]\nname = 'a.b'\na = '::1'\n", "x.toml:3: dns.records.a: `::1` is not an address of IPv4"),
            ("[[dns.records]]\nname = 'a.b'\n", "x.toml:1: dns.records: a record has one of a, aaaa, cname, ptr"),
            (
                "[[dns.records]]\nname = 'a.b'\na = '1.2.3.4'\ncname = 'c'\n",
                "x.toml:1: dns.records: a.b is an alias, and an alias has nothing else",
            ),
            ("[dns]\nhosts = '/nonexistent/x'\n", "x.toml:2: dns.hosts: /nonexistent/x: "),
            (
                "[[dns.zone]]\ndomain = 'a'\n[[dns.zone]]\ndomain = 'A.'\n",
                "x.toml:3: dns.zone: a has its servers already",
            ),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.starts_with(wanted), "{fault}\n{wanted}");
        }
    }
}
