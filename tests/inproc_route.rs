//! What routers between the host and a destination say reaches the guest: traceroute hop by hop, path MTU. The routers
//! are network namespaces that the test makes.

mod common;

use common::*;
use std::process::{Child, Command, Stdio};

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
/// What the link behind the router takes, in bytes.
const NARROW: u16 = 1280;

/// A network namespace, alive as long as its sleeper.
struct Namespace(Child);

impl Namespace {
    fn new() -> Namespace {
        let sleeper = Command::new("unshare").args(["-n", "sleep", "60"]).stdin(Stdio::null()).spawn();
        let namespace = Namespace(sleeper.expect("unshare and sleep are there"));
        // The namespace is there as soon as the program that was started is no longer in ours.
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", namespace.0.id());
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while std::fs::read_link(&theirs).is_ok_and(|link| link == ours) {
            assert!(std::time::Instant::now() < end, "unshare made no namespace");
            std::thread::yield_now();
        }
        namespace
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn run(&self, script: &str) {
        run(Command::new("nsenter").args(["-t", &self.pid(), "-n", "sh", "-ec", script]));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program is there");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Here, a router, and a server behind it on a narrower link.
fn network() -> [Namespace; 2] {
    let (router, server) = (Namespace::new(), Namespace::new());
    let script = format!(
        "ip link add v0 type veth peer name v1 netns {router}
         ip address add 192.0.2.1/24 dev v0; ip link set v0 up
         ip route add 198.51.100.0/24 via {ROUTER}",
        router = router.pid()
    );
    run(Command::new("sh").args(["-ec", &script]));
    router.run(&format!(
        "ip link set lo up
         ip address add {ROUTER}/24 dev v1; ip link set v1 up
         ip link add w0 mtu {NARROW} type veth peer name w1 mtu {NARROW} netns {server}
         ip address add 198.51.100.1/24 dev w0; ip link set w0 up
         echo 1 > /proc/sys/net/ipv4/ip_forward",
        server = server.pid()
    ));
    server.run(&format!(
        "ip link set lo up; ip address add {SERVER}/24 dev w1; ip link set w1 up
         ip route add default via 198.51.100.1"
    ));
    [router, server]
}

#[test]
fn icmp_a_traceroute_sees_each_hop() {
    if !isolated("icmp_a_traceroute_sees_each_hop", Isolation::Network) {
        return;
    }
    let _network = network();
    let i = Setup::default().real_clock().start();
    // (time to live, who answers, ICMP type and code)
    for (ttl, who, answer) in [(1, VHOST, (11, 0)), (2, ROUTER, (11, 0)), (3, SERVER, (3, 3))] {
        let datagram = udp(at(GUEST, 40000), at(SERVER, 33434), b"where are you");
        i.input(&Ip { ttl, ..Ip::new(SERVER, UDP) }.frame(&datagram));
        let (packet, icmp) = i.wait_icmp("an answer of a hop");
        assert_eq!((packet.src, (icmp.kind, icmp.code)), (who, answer), "TTL {ttl}");
        // The quote names the guest and the server, so that the guest finds its socket.
        assert_eq!((&icmp.data[12..16], &icmp.data[16..20]), (&GUEST.octets()[..], &SERVER.octets()[..]));
        assert_eq!(icmp.data[20..24], datagram[..4]);
    }
}

#[test]
fn icmp_the_path_mtu_reaches_the_guest() {
    if !isolated("icmp_the_path_mtu_reaches_the_guest", Isolation::Network) {
        return;
    }
    if !ours("path-mtu") {
        return;
    }
    let _network = network();
    let i = Setup::default().real_clock().start();
    i.input(&udp_frame(40000, at(SERVER, 9), &[0; 1400]));
    let (packet, icmp) = i.wait_icmp("fragmentation needed");
    assert_eq!((packet.src, icmp.kind, icmp.code), (ROUTER, 3, 4));
    assert_eq!(icmp.rest[2..4], NARROW.to_be_bytes(), "the next hop's MTU (RFC 1191)");
}
