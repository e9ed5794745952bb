//! The command line.

use std::error::Error;
use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

use crate::ranges::Range;

pub(crate) const USAGE: &str = "\
netns: gives a network namespace an Internet, through sockets of this process

  --pid PID            the namespaces of a process: its network, and its users where they differ from ours
  --netns PATH         a network namespace by its path, as `ip netns` makes them
  --userns PATH        the user namespace that owns that one
  --tun                a tun device, in place of a tap device
  --device NAME        its name; tap0 by default
  --mtu BYTES          its MTU; 1500 by default
  --ipv6               IPv6 as well
  -L, --local [udp:]HOST=GUEST      what comes to HOST here leads to GUEST, both ADDRESS:PORT
  -R, --remote ADDRESS:PORT=unix:PATH      who connects to ADDRESS in the namespace is led to a Unix socket
  -R, --remote ADDRESS:PORT=exec:COMMAND   or to a command, one for each connection
  -R, --remote ADDRESS:PORT=tcp:HOST       or to a TCP server out here, ADDRESS:PORT
  --allow RANGE        nothing but these (ADDRESS/LENGTH) and the virtual network is reached; may be repeated
  --deny RANGE         these are not reached, whatever is allowed; may be repeated. The virtual network is, unless RANGE lies in it
  --outbound ADDRESS   the source of IPv4 connections and datagrams
  --outbound6 ADDRESS  the source of IPv6 connections and datagrams
  --no-host-loopback   this machine's loopback is not reached";

/// Where the namespace is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespace {
    pub net: Option<PathBuf>,
    pub user: Option<PathBuf>,
}

/// Who is led where from the namespace.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Unix(OsString),
    Command(OsString),
    Tcp(SocketAddr),
}

#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub udp: bool,
    pub host: SocketAddr,
    pub guest: SocketAddr,
}

#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub at: SocketAddrV4,
    pub target: Target,
}

#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    /// The part of this program that joins the namespace.
    pub inside: bool,
    pub namespace: Namespace,
    pub tun: bool,
    pub device: String,
    pub mtu: usize,
    pub ipv6: bool,
    pub local: Vec<Local>,
    pub remote: Vec<Remote>,
    pub allow: Vec<Range>,
    pub deny: Vec<Range>,
    pub outbound4: Option<Ipv4Addr>,
    pub outbound6: Option<Ipv6Addr>,
    pub host_loopback: bool,
}

impl Arguments {
    /// `None` when only help is wanted.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Option<Arguments>, Box<dyn Error>> {
        let mut found = Arguments {
            inside: false,
            namespace: Namespace::default(),
            tun: false,
            device: "tap0".to_owned(),
            mtu: 1500,
            ipv6: false,
            local: Vec::new(),
            remote: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            outbound4: None,
            outbound6: None,
            host_loopback: true,
        };
        let mut parser = Parser::from_args(words);
        while let Some(word) = parser.next()? {
            match word {
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                Arg::Long("inside") => found.inside = true,
                Arg::Long("pid") => {
                    let pid: u32 = parser.value()?.parse()?;
                    found.namespace.net = Some(format!("/proc/{pid}/ns/net").into());
                    found.namespace.user = Some(format!("/proc/{pid}/ns/user").into());
                }
                Arg::Long("netns") => found.namespace.net = Some(parser.value()?.into()),
                Arg::Long("userns") => found.namespace.user = Some(parser.value()?.into()),
                Arg::Long("tun") => found.tun = true,
                Arg::Long("device") => found.device = parser.value()?.string()?,
                Arg::Long("mtu") => found.mtu = parser.value()?.parse()?,
                Arg::Long("ipv6") => found.ipv6 = true,
                Arg::Long("local") | Arg::Short('L') => {
                    found.local.push(parser.value()?.parse_with(|word| local(word).ok_or("not [udp:]HOST=GUEST"))?);
                }
                Arg::Long("remote") | Arg::Short('R') => {
                    found
                        .remote
                        .push(parser.value()?.parse_with(|word| remote(word).ok_or("not ADDRESS:PORT=TARGET"))?);
                }
                Arg::Long("allow") => found.allow.push(parser.value()?.parse()?),
                Arg::Long("deny") => found.deny.push(parser.value()?.parse()?),
                Arg::Long("outbound") => found.outbound4 = Some(parser.value()?.parse()?),
                Arg::Long("outbound6") => found.outbound6 = Some(parser.value()?.parse()?),
                Arg::Long("no-host-loopback") => found.host_loopback = false,
                other => return Err(other.unexpected().into()),
            }
        }
        if found.namespace.net.is_none() {
            return Err("which namespace? --pid or --netns says so".into());
        }
        Ok(Some(found))
    }
}

fn local(word: &str) -> Option<Local> {
    let (udp, rest) = match word.strip_prefix("udp:") {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let (host, guest) = rest.split_once('=')?;
    Some(Local { udp, host: host.parse().ok()?, guest: guest.parse().ok()? })
}

fn remote(word: &str) -> Option<Remote> {
    let (at, target) = word.split_once('=')?;
    let target = match target.split_once(':')? {
        ("unix", path) => Target::Unix(path.into()),
        ("exec", command) => Target::Command(command.into()),
        ("tcp", server) => Target::Tcp(server.parse().ok()?),
        _ => return None,
    };
    Some(Remote { at: at.parse().ok()?, target })
}
