//! Names of the virtual network's own: records that are answered here, and domains that have servers of their own. It finds
//! what there is; `message` makes a reply of it.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::message::Asked;
use crate::policy::Name;

/// Types of records that are found here (RFC 1035 section 3.2.2, RFC 3596 section 2.1).
const A: u16 = 1;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const AAAA: u16 = 28;

/// Names that the virtual name server answers itself, over UDP and TCP, and domains whose names are asked of servers of
/// their own.
///
/// ```
/// use oxislirp::{Config, OwnNames, Stack};
///
/// let mut names = OwnNames::default();
/// names.add_address("db.test".parse()?, "10.0.2.2".parse()?, None)?;
/// names.add_alias("www.test".parse()?, "db.test".parse()?, None)?;
/// names.add_host("host.internal".parse()?);
/// names.add_domain("corp.example".parse()?, vec!["192.0.2.53:53".parse()?])?;
/// let stack = Stack::new(Config::builder().own_names(names).build()?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct OwnNames {
    names: HashMap<Name, Records>,
    /// The first name of each address.
    pointers: HashMap<IpAddr, (Name, u32)>,
    /// Names of the virtual host.
    hosts: Vec<Name>,
    domains: HashMap<Name, usize>,
    servers: Vec<Vec<SocketAddr>>,
}

/// What there is of a name.
#[derive(Clone, Debug, Default)]
struct Records {
    addresses: Vec<(IpAddr, u32)>,
    alias: Option<(Name, u32)>,
}

/// Why something was not added.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnNamesError {
    /// There are more names, addresses of one name or domains than there may be.
    TooMany,
    /// The name is an alias, and would have something else as well (RFC 1034 section 3.6.2).
    Alias(Name),
    /// The domain is there already.
    Twice(Name),
}

impl fmt::Display for OwnNamesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnNamesError::TooMany => f.write_str("there are more than there may be"),
            OwnNamesError::Alias(name) => write!(f, "{name} is an alias, and an alias has nothing else"),
            OwnNamesError::Twice(name) => write!(f, "{name} has its servers already"),
        }
    }
}

impl std::error::Error for OwnNamesError {}

/// What a question finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Aliases from the name that was asked for, in their order, and how long each counts.
    pub aliases: Vec<(Name, Name, u32)>,
    /// Addresses of the last name, or of the one that was asked for.
    pub addresses: Vec<(IpAddr, u32)>,
    /// The name of the address that was asked for.
    pub pointer: Option<(Name, u32)>,
    /// What the last alias stands for is no name of here: it has to be asked for.
    pub elsewhere: Option<Name>,
    /// There is no such name.
    pub missing: bool,
}

impl OwnNames {
    /// The most names, pointers included.
    pub const MAX_NAMES: usize = 65_536;
    /// The most addresses that one name may have: as many as an answer of 512 bytes has room for.
    pub const MAX_ADDRESSES: usize = 16;
    /// The most domains with servers of their own.
    pub const MAX_DOMAINS: usize = 256;
    /// How long what is said here counts where nothing else is said, in seconds.
    pub const USUAL_TTL: u32 = 60;
    /// The most aliases behind each other that are followed.
    const MAX_ALIASES: usize = 8;

    /// Gives a name an address, and the address the name where it has none yet. `ttl` is how long an answer counts, in seconds.
    ///
    /// # Errors
    /// The name is an alias, or there is no room.
    pub fn add_address(&mut self, name: Name, ip: IpAddr, ttl: impl Into<Option<u32>>) -> Result<(), OwnNamesError> {
        let ttl = ttl.into().unwrap_or(OwnNames::USUAL_TTL);
        let records = self.records(&name)?;
        if records.alias.is_some() {
            return Err(OwnNamesError::Alias(name));
        }
        if records.addresses.iter().any(|(other, _)| *other == ip) {
            return Ok(());
        }
        if records.addresses.len() >= OwnNames::MAX_ADDRESSES {
            return Err(OwnNamesError::TooMany);
        }
        records.addresses.push((ip, ttl));
        if self.pointers.len() < OwnNames::MAX_NAMES {
            self.pointers.entry(ip.to_canonical()).or_insert((name, ttl));
        }
        Ok(())
    }

    /// Makes a name stand for another one, which may be one of anybody's.
    ///
    /// # Errors
    /// The name has something else, or there is no room.
    pub fn add_alias(&mut self, name: Name, target: Name, ttl: impl Into<Option<u32>>) -> Result<(), OwnNamesError> {
        let ttl = ttl.into().unwrap_or(OwnNames::USUAL_TTL);
        let records = self.records(&name)?;
        if records.alias.is_some() || !records.addresses.is_empty() {
            return Err(OwnNamesError::Alias(name));
        }
        records.alias = Some((target, ttl));
        Ok(())
    }

    /// Gives an address a name, in place of the one that it may have.
    ///
    /// # Errors
    /// There is no room.
    pub fn add_pointer(&mut self, ip: IpAddr, name: Name, ttl: impl Into<Option<u32>>) -> Result<(), OwnNamesError> {
        if self.pointers.len() >= OwnNames::MAX_NAMES {
            return Err(OwnNamesError::TooMany);
        }
        self.pointers.insert(ip.to_canonical(), (name, ttl.into().unwrap_or(OwnNames::USUAL_TTL)));
        Ok(())
    }

    /// Takes the names out of a text as hosts(5) has it: an address and its names on each line. What is none is passed over.
    ///
    /// # Errors
    /// There is no room.
    pub fn add_hosts(&mut self, text: &str) -> Result<(), OwnNamesError> {
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else { continue };
            for name in words.filter_map(|word| word.parse().ok()) {
                match self.add_address(name, ip, None) {
                    // A record that was given before says more.
                    Err(OwnNamesError::Alias(_)) | Ok(()) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Gives the virtual host a name.
    pub fn add_host(&mut self, name: Name) {
        self.hosts.push(name);
    }

    /// Has the names of a domain, the domain's own among them, asked of these servers and of nobody else. Where there are none,
    /// there are no names in the domain but those that are here.
    ///
    /// # Errors
    /// The domain is there already, or there is no room.
    pub fn add_domain(&mut self, domain: Name, servers: Vec<SocketAddr>) -> Result<(), OwnNamesError> {
        if self.domains.contains_key(&domain) {
            return Err(OwnNamesError::Twice(domain));
        }
        if self.domains.len() >= OwnNames::MAX_DOMAINS {
            return Err(OwnNamesError::TooMany);
        }
        self.domains.insert(domain, self.servers.len());
        self.servers.push(servers);
        Ok(())
    }

    /// Aliases that lead to no name, as they lead in a circle or over more than eight others: the guest gets no address for these.
    pub fn endless_aliases(&self) -> Vec<Name> {
        let leads_nowhere = |name: &Name| {
            let mut name = name;
            for _ in 0..OwnNames::MAX_ALIASES {
                match self.names.get(name).and_then(|records| records.alias.as_ref()) {
                    Some((target, _)) => name = target,
                    None => return false,
                }
            }
            true
        };
        let mut endless: Vec<Name> = self.names.keys().filter(|name| leads_nowhere(name)).cloned().collect();
        endless.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        endless
    }

    /// What there is, in sentences for people.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        let aliases = self.names.values().filter(|records| records.alias.is_some()).count();
        let counts = [
            (self.names.len() - aliases, "names that the virtual name server answers itself"),
            (aliases, "aliases of names"),
            (self.pointers.len(), "addresses that it has a name for"),
        ];
        sentences.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
        sentences.extend(self.hosts.iter().map(|name| format!("{name} is the host")));
        let mut domains: Vec<(&Name, &[SocketAddr])> = self
            .domains
            .iter()
            .map(|(name, at)| (name, self.servers.get(*at).map(Vec::as_slice).unwrap_or_default()))
            .collect();
        domains.sort_unstable_by_key(|(name, _)| name.as_str());
        sentences.extend(domains.into_iter().map(|(name, servers)| match servers {
            [] => format!("nobody is asked for names in {name}"),
            servers => {
                let servers: Vec<String> = servers.iter().map(SocketAddr::to_string).collect();
                format!("names in {name} are asked of {}", servers.join(", "))
            }
        }));
        sentences
    }

    fn records(&mut self, name: &Name) -> Result<&mut Records, OwnNamesError> {
        if self.names.len() >= OwnNames::MAX_NAMES && !self.names.contains_key(name) {
            return Err(OwnNamesError::TooMany);
        }
        Ok(self.names.entry(name.clone()).or_default())
    }

    /// Gives the names of the virtual host its addresses, as far as the guest has the families.
    pub(crate) fn settle(&mut self, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) {
        let addresses = [v4.map(IpAddr::V4), v6.map(IpAddr::V6)];
        for name in std::mem::take(&mut self.hosts) {
            for ip in addresses.into_iter().flatten() {
                // A name that is something else already stays that.
                let _ = self.add_address(name.clone(), ip, None);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.pointers.is_empty() && self.domains.is_empty() && self.hosts.is_empty()
    }

    /// The servers of each domain that has its own.
    pub(crate) fn servers(&self) -> &[Vec<SocketAddr>] {
        &self.servers
    }

    /// The domain that a name is in, by its place in [`OwnNames::servers`]; of several the nearest.
    pub(crate) fn domain(&self, name: &Name) -> Option<usize> {
        if self.domains.is_empty() {
            return None;
        }
        name.and_parents().find_map(|parent| self.domains.get(parent)).copied()
    }

    /// What there is to say to a question; `None` where others are to be asked.
    pub(crate) fn find(&self, asked: &Asked) -> Option<Found> {
        let pointer = || reverse(asked.name.as_str()).and_then(|ip| self.pointers.get(&ip));
        if asked.kind == PTR
            && let Some(pointer) = pointer()
        {
            return Some(Found { pointer: Some(pointer.clone()), ..Found::default() });
        }
        let Some(mut records) = self.names.get(&asked.name) else {
            let closed =
                self.domain(&asked.name).and_then(|domain| self.servers.get(domain)).is_some_and(Vec::is_empty);
            return closed.then(|| Found { missing: true, ..Found::default() });
        };
        let mut found = Found::default();
        let mut name = &asked.name;
        while let Some((target, ttl)) = &records.alias {
            found.aliases.push((name.clone(), target.clone(), *ttl));
            if asked.kind == CNAME || found.aliases.len() >= OwnNames::MAX_ALIASES {
                return Some(found);
            }
            name = target;
            let Some(next) = self.names.get(target) else {
                found.elsewhere = Some(target.clone());
                return Some(found);
            };
            records = next;
        }
        let wanted = |ip: &IpAddr| matches!((ip, asked.kind), (IpAddr::V4(_), A) | (IpAddr::V6(_), AAAA));
        found.addresses.extend(records.addresses.iter().filter(|(ip, _)| wanted(ip)));
        Some(found)
    }
}

/// The address whose name is asked for (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0_u8; 4];
        let mut labels = labels.split('.').map(|label| label.parse::<u8>().ok());
        for octet in octets.iter_mut().rev() {
            *octet = labels.next()??;
        }
        return labels.next().is_none().then(|| octets.into());
    }
    let mut bits = 0_u128;
    let mut labels = name.strip_suffix(".ip6.arpa")?.split('.');
    for place in 0..32 {
        let label = labels.next().filter(|label| label.len() == 1)?;
        bits |= u128::from(u8::from_str_radix(label, 16).ok()?) << (4 * place);
    }
    labels.next().is_none().then(|| Ipv6Addr::from_bits(bits).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn find(names: &OwnNames, text: &str, kind: u16) -> Option<Found> {
        names.find(&Asked { id: 1, name: name(text), kind })
    }

    fn some() -> OwnNames {
        let mut names = OwnNames::default();
        names.add_address(name("db.test"), ip("10.0.2.2"), 5).unwrap();
        names.add_address(name("db.test"), ip("fec0::2"), None).unwrap();
        names.add_alias(name("www.test"), name("db.test"), 7).unwrap();
        names.add_alias(name("far.test"), name("example.org"), None).unwrap();
        names.add_alias(name("a.test"), name("b.test"), None).unwrap();
        names.add_alias(name("b.test"), name("a.test"), None).unwrap();
        names.add_host(name("host.internal"));
        names.settle(Some([10, 0, 2, 2].into()), None);
        names
    }

    #[test]
    fn a_name_has_its_addresses_of_the_family_that_is_asked_for() {
        let names = some();
        assert_eq!(find(&names, "DB.test", A).unwrap().addresses, [(ip("10.0.2.2"), 5)]);
        assert_eq!(find(&names, "db.test", AAAA).unwrap().addresses, [(ip("fec0::2"), OwnNames::USUAL_TTL)]);
        // There is nothing of other types, and nobody else is asked for them.
        assert_eq!(find(&names, "db.test", 15), Some(Found::default()));
        assert_eq!(find(&names, "x.db.test", A), None);
        assert_eq!(find(&names, "host.internal", A).unwrap().addresses, [(ip("10.0.2.2"), OwnNames::USUAL_TTL)]);
        assert_eq!(find(&names, "host.internal", AAAA), Some(Found::default()));
    }

    #[test]
    fn what_there_is_can_be_said() {
        let mut names = some();
        names.add_host(name("late.internal"));
        names.add_domain(name("corp.test"), vec!["192.0.2.53:53".parse().unwrap()]).unwrap();
        names.add_domain(name("closed.test"), Vec::new()).unwrap();
        let expected = [
            "2 names that the virtual name server answers itself",
            "4 aliases of names",
            "2 addresses that it has a name for",
            "late.internal is the host",
            "nobody is asked for names in closed.test",
            "names in corp.test are asked of 192.0.2.53:53",
        ];
        assert_eq!(names.sentences(), expected);
        assert!(OwnNames::default().sentences().is_empty());
        // Eight behind each other are followed.
        let mut long = OwnNames::default();
        for number in 0..9 {
            long.add_alias(name(&format!("n{number}.test")), name(&format!("n{}.test", number + 1)), None).unwrap();
        }
        assert_eq!(long.endless_aliases(), [name("n0.test"), name("n1.test")]);
    }

    #[test]
    fn aliases_are_followed_as_far_as_they_are_known() {
        let names = some();
        let found = find(&names, "www.test", A).unwrap();
        assert_eq!(found.aliases, [(name("www.test"), name("db.test"), 7)]);
        assert_eq!(found.addresses, [(ip("10.0.2.2"), 5)]);
        assert!(find(&names, "www.test", CNAME).unwrap().addresses.is_empty());
        assert_eq!(find(&names, "far.test", AAAA).unwrap().elsewhere, Some(name("example.org")));
        assert_eq!(find(&names, "a.test", A).unwrap().aliases.len(), OwnNames::MAX_ALIASES, "a circle ends");
        assert_eq!(names.endless_aliases(), [name("a.test"), name("b.test")]);
        let refused = OwnNamesError::Alias(name("www.test"));
        assert_eq!(some().add_address(name("www.test"), ip("::1"), None), Err(refused));
        assert!(some().add_alias(name("db.test"), name("x"), None).is_err());
    }

    #[test]
    fn addresses_have_the_name_that_was_given_first() {
        let mut names = some();
        let pointer = |names: &OwnNames, text: &str| find(names, text, PTR).map(|found| found.pointer.unwrap().0);
        assert_eq!(pointer(&names, "2.2.0.10.in-addr.arpa"), Some(name("db.test")));
        let six = format!("2{}.0.c.e.f.ip6.arpa", ".0".repeat(27));
        assert_eq!(pointer(&names, &six), Some(name("db.test")));
        names.add_pointer(ip("10.0.2.2"), name("gateway.test"), None).unwrap();
        assert_eq!(pointer(&names, "2.2.0.10.in-addr.arpa"), Some(name("gateway.test")));
        for none in ["3.2.0.10.in-addr.arpa", "2.2.0.in-addr.arpa", "1.2.2.0.10.in-addr.arpa", "in-addr.arpa", "arpa"] {
            assert_eq!(find(&names, none, PTR), None, "{none}");
        }
        assert_eq!(reverse("x.2.0.10.in-addr.arpa").or(reverse("256.2.0.10.in-addr.arpa")), None);
        assert_eq!(reverse(&six.replace("2.", "+.")).or(reverse(&six.replace("2.", "22."))), None);
    }

    #[test]
    fn a_domain_has_servers_of_its_own_and_the_nearest_counts() {
        let mut names = some();
        let server: SocketAddr = "192.0.2.53:5353".parse().unwrap();
        names.add_domain(name("corp.example"), vec![server]).unwrap();
        names.add_domain(name("lab.corp.example"), Vec::new()).unwrap();
        assert_eq!(names.add_domain(name("CORP.example"), vec![]), Err(OwnNamesError::Twice(name("corp.example"))));
        let domain = |text: &str| names.domain(&name(text));
        assert_eq!((domain("corp.example"), domain("a.b.corp.example")), (Some(0), Some(0)));
        assert_eq!((domain("x.lab.corp.example"), domain("xcorp.example"), domain("example")), (Some(1), None, None));
        assert_eq!(names.servers()[0], [server]);
        assert!(find(&names, "x.lab.corp.example", A).unwrap().missing);
        assert_eq!(find(&names, "x.corp.example", A), None);
    }

    #[test]
    fn a_file_of_hosts_is_read() {
        let mut names = OwnNames::default();
        let text = "127.0.0.1 localhost\n# nothing\n10.1.2.3\tOne.test one # two\nfe80::1%lo0 x\nbad y\n::5 one.test b\u{e4}\n";
        names.add_hosts(text).unwrap();
        assert_eq!(find(&names, "one", A).unwrap().addresses, [(ip("10.1.2.3"), OwnNames::USUAL_TTL)]);
        assert_eq!(find(&names, "one.test", AAAA).unwrap().addresses, [(ip("::5"), OwnNames::USUAL_TTL)]);
        assert_eq!((find(&names, "two", A), find(&names, "x", A), find(&names, "y", A)), (None, None, None));
        let many: String = (0..20).map(|last| format!("10.0.0.{last} many\n")).collect();
        assert_eq!(names.add_hosts(&many), Err(OwnNamesError::TooMany));
        assert!(!names.is_empty() && OwnNames::default().is_empty());
    }
}
