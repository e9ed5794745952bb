//! A process that has no descriptor left. In a program of its own, as no other test could do anything meanwhile.

mod guest;

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};

use guest::Network;
use oxislirp::Effect;
use rustix::process::{Resource, Rlimit, setrlimit};
use smoltcp::socket::tcp;

#[test]
fn a_process_without_descriptors_is_told_of_once() {
    let mut network = Network::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Not so many that taking them all would take long, nor so few that the test's own are above.
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: Some(256) }).unwrap();
    let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    for number in 0..20 {
        let socket = network.begin((Ipv4Addr::new(10, 0, 2, 2), port).into(), 40_000 + number, 4096);
        network.until("a refusal", |network| (network.tcp(socket).state() == tcp::State::Closed).then_some(()));
    }
    let effects = network.effects();
    drop(taken);
    let told = effects.iter().filter_map(|effect| if let Effect::Warning(text) = effect { Some(text) } else { None });
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("the host has nothing left for one more socket: "), "{told:?}");
    assert!(told[0].contains("os error 24"), "{told:?}");
}
