//! Where the host's name servers are known from, and when that is looked at.

use std::fmt;
use std::sync::Arc;

use crate::config::{NameServerList, NameServerSource};
use crate::host::resolver_file::{ResolverFile, interface_index};
use crate::service::dns::resolv_conf::Servers;
use crate::time::{Duration, Instant};

/// How long a look at where servers are named holds good (docs/contract/dns.md section 2).
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Where servers are named.
#[derive(Debug)]
pub(super) struct Source {
    names: Names,
    looked_at: Option<Instant>,
}

#[derive(Debug)]
enum Names {
    File(ResolverFile),
    /// The servers never change.
    Fixed,
    Custom(Arc<dyn NameServerList>),
}

impl Source {
    /// Looks at where servers are named for as long as that is allowed: now. Applications shut themselves in once their
    /// network is set up.
    pub(super) fn new(source: &NameServerSource) -> (Source, Servers) {
        let (names, servers) = match source {
            NameServerSource::ResolverFile(path) => {
                let file = ResolverFile::new(path);
                let servers = servers_in(&file);
                (Names::File(file), servers)
            }
            NameServerSource::Fixed(servers) => (Names::Fixed, servers.iter().copied().collect()),
            NameServerSource::Custom(list) => (Names::Custom(list.clone()), list.name_servers().into_iter().collect()),
        };
        (Source { names, looked_at: None }, servers)
    }

    /// Looks again unless the last look still holds good. The servers, when they may be others than before.
    pub(super) fn refresh(&mut self, now: Instant) -> Option<Servers> {
        // A clock that has gone back says nothing about the age of the last look.
        if self.looked_at.is_some_and(|at| at <= now && now - at < LOOK_INTERVAL) {
            return None;
        }
        self.looked_at = Some(now);
        match &mut self.names {
            Names::File(file) => file.look().then(|| servers_in(file)),
            Names::Fixed => None,
            Names::Custom(list) => Some(list.name_servers().into_iter().collect()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.names {
            Names::File(file) => file.path().display().fmt(f),
            Names::Fixed => f.write_str("the configuration"),
            Names::Custom(_) => f.write_str("the application"),
        }
    }
}

fn servers_in(file: &ResolverFile) -> Servers {
    match file.content() {
        Some(text) => Servers::parse(text, interface_index),
        None => Servers::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct List {
        servers: Mutex<Vec<SocketAddr>>,
        asked: Mutex<u32>,
    }

    impl NameServerList for List {
        fn name_servers(&self) -> Vec<SocketAddr> {
            *self.asked.lock().unwrap() += 1;
            self.servers.lock().unwrap().clone()
        }
    }

    fn at(millis: i64) -> Instant {
        Instant::from_millis(millis)
    }

    fn server(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_program_is_asked_once_a_second_and_when_its_clock_goes_back() {
        let list = Arc::new(List::default());
        list.servers.lock().unwrap().push(server("192.0.2.1:53"));
        let (mut source, servers) = Source::new(&NameServerSource::Custom(list.clone()));
        assert_eq!(servers.v4, [server("192.0.2.1:53")]);
        *list.servers.lock().unwrap() = vec![server("[2001:db8::1]:5353"), server("192.0.2.2:53")];
        let servers = source.refresh(at(0)).unwrap();
        assert_eq!((servers.v4, servers.v6), (vec![server("192.0.2.2:53")], vec![server("[2001:db8::1]:5353")]));
        assert_eq!(source.refresh(at(999)), None);
        assert!(source.refresh(at(1000)).is_some() && source.refresh(at(500)).is_some());
        assert_eq!(*list.asked.lock().unwrap(), 4);
    }

    #[test]
    fn a_fixed_list_is_kept_as_far_as_there_is_room() {
        let nobody = ["0.0.0.0:53", "[::]:53", "192.0.2.1:0", "255.255.255.255:53", "224.0.0.1:53"];
        let (_, servers) = Source::new(&NameServerSource::Fixed(nobody.map(server).into()));
        assert_eq!(servers, Servers::default());
        let many = (0..40).map(|last| server(&format!("192.0.2.{last}:53"))).collect();
        let (mut source, servers) = Source::new(&NameServerSource::Fixed(many));
        assert_eq!((servers.v4.len(), servers.v6.len()), (16, 0));
        assert_eq!(servers.v4[15], server("192.0.2.15:53"));
        assert_eq!(source.refresh(at(5000)), None);
    }
}
