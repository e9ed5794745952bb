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
#[cfg(feature = "schema")]
use super::schema::Form;

/// Names of the virtual network's own, and whom its name server asks for others.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "dns"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    /// Who is asked in place of the servers of `/etc/resolv.conf`; the first 16 of each family are.
    ///
    /// Without it: the host's servers.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [["9.9.9.9", "127.0.0.1:5353"]])))]
    servers: Option<Several<Server>>,
    /// A file as hosts(5) has it, of up to 4 MiB, read once when the network is made. What it has no address for is passed over, and so is a name that a record
    /// makes an alias.
    ///
    /// Without it: none.
    #[cfg_attr(feature = "schema", schemars(with = "Option<super::paths::Written>", extend("examples" = ["/etc/guest-hosts"])))]
    hosts: Option<Spanned<String>>,
    /// Names of the virtual host: 10.0.2.2 and, where the guest has IPv6, fec0::2, or what the program has made of these.
    ///
    /// Without it: none.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["host.internal"])))]
    host_alias: Option<Several<Name>>,
    /// What there is of names, each a table of its own. There are at most 65,536 names, and 16 addresses of a name.
    ///
    /// Without it: no record.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Vec<Record>", extend("examples" = [[{ "name": "db.test", "a": "10.0.2.2" }]]))
    )]
    #[serde(default)]
    records: Vec<Spanned<Record>>,
    /// Domains with servers of their own; of several that a name is in, the nearest counts. No domain may be there twice.
    ///
    /// Without it: all names are asked of the same servers.
    #[cfg_attr(
        feature = "schema",
        schemars(
            with = "Vec<Zone>",
            length(max = OwnNames::MAX_DOMAINS),
            extend("examples" = [[{ "domain": "corp.example", "servers": ["192.0.2.53"] }]])
        )
    )]
    #[serde(default)]
    zone: Vec<Spanned<Zone>>,
}

/// What there is of a name: addresses, or another name that it stands for; and of which addresses it is the name.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "record", transform = of_record))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Record {
    /// The name.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["db.test"])))]
    name: One<Name>,
    /// Its addresses of IPv4, up to 16 with those of IPv6.
    ///
    /// Without it: none.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["10.0.2.2", ["10.0.2.2", "192.0.2.7"]])))]
    a: Option<Several<Ipv4Addr>>,
    /// Its addresses of IPv6.
    ///
    /// Without it: none.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["fec0::2"])))]
    aaaa: Option<Several<Ipv6Addr>>,
    /// The name that it stands for. One that has this has no addresses, in no record.
    ///
    /// Without it: it is no alias.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["www.example.org"])))]
    cname: Option<One<Name>>,
    /// The addresses whose name it is, where somebody asks for that.
    ///
    /// Without it: an address has the first name that was given to it.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["10.0.2.2"])))]
    ptr: Option<Several<IpAddr>>,
    /// How long an answer counts, in seconds.
    #[cfg_attr(feature = "schema", schemars(extend("default" = OwnNames::USUAL_TTL, "examples" = [300])))]
    ttl: Option<u32>,
}

/// What no field alone says of a record.
#[cfg(feature = "schema")]
fn of_record(schema: &mut schemars::Schema) {
    schema.insert("anyOf".into(), super::schema::one_of_keys(&["a", "aaaa", "cname", "ptr"]));
    schema.insert("allOf".into(), serde_json::json!([super::schema::key_excludes("cname", &["a", "aaaa"])]));
}

/// A domain whose names, and whose own, are asked of these servers and of nobody else.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "zone"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Zone {
    /// The domain.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["corp.example"])))]
    domain: One<Name>,
    /// Its servers; always a list.
    ///
    /// Without it: there are no names in the domain but those that are here. An empty list is the same.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [["192.0.2.53", "[2001:db8::53]:5353"]])))]
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

    #[cfg(feature = "schema")]
    fn form() -> Form {
        use super::schema::text;
        Form::text("name", &format!(r"(?:\.|{}\.?)", text::NAME), &["db.test"]).note(text::NAME_NOTE)
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

    #[cfg(feature = "schema")]
    fn form() -> Form {
        use super::schema::text;
        let (v4, v6, port) = (text::IPV4, text::ipv6(), text::PORT);
        let all = format!(r"(?:{v4}(?::{port})?|{v6}|\[{v6}(?:%[0-9]+)?\]:{port})");
        Form::text("name-server", &all, &["192.0.2.53", "192.0.2.53:5353", "[2001:db8::53]:5353"])
            .but_not(text::NOBODY)
            .note("The port is 53 where none is said.")
    }
}

/// An address of either family, or of one.
macro_rules! addresses {
    ($($kind:ty as $name:literal => $what:literal, $form:expr, $example:literal);*) => {$(
        impl Item for $kind {
            const WHAT: &'static str = $what;

            fn of_text(text: &str) -> Result<$kind, String> {
                text.parse().map_err(|_| format!("`{text}` is not {}", Self::WHAT))
            }

            #[cfg(feature = "schema")]
            fn form() -> Form {
                Form::text($name, &$form, &[$example])
            }
        }
    )*};
}

addresses!(
    Ipv4Addr as "ipv4-address" => "an address of IPv4", super::schema::text::IPV4, "10.0.2.2";
    Ipv6Addr as "ipv6-address" => "an address of IPv6", super::schema::text::ipv6(), "fec0::2";
    IpAddr as "address" => "an address", super::schema::text::ip(), "10.0.2.2"
);

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
            ("[dns]\nserver = []\n", "x.toml:2: dns.server: there is no `server` here"),
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
