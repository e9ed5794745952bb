//! What stands beside the frames of a capture, and captures of some frames only, through the C ABI. docs/capture.md says what is
//! promised.

mod common;
use common::config_file::try_under;
use common::pcapng::{Capture, Way, read};
use common::*;

use std::net::IpAddr;
use std::path::PathBuf;

/// A file of one test; it goes with this value.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> File {
        File(std::env::temp_dir().join(format!("oxislirp-filter-{}-{name}", std::process::id())))
    }

    /// A network that is captured there, with more to say behind the table.
    fn under(&self, capture: &str, rest: &str) -> Box<Instance> {
        let text = format!("[capture]\nfile = {:?}\nfiles = 1\n{capture}\n{rest}", self.0.display().to_string());
        let i = try_under(&text, Setup::default().silent()).expect("the file makes sense");
        i.input(&arp(1, GUEST_MAC, GUEST, [0; 6], GUEST));
        i.drain();
        i
    }

    fn read(&self) -> Capture {
        read(&self.0)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The frames with a remark: their ways and the remarks.
fn remarks(capture: &Capture) -> Vec<(Way, &str)> {
    capture.frames.iter().filter_map(|frame| Some((frame.way, frame.comment.as_deref()?))).collect()
}

/// The remark of a flow, without its number, which the test cannot know.
fn without_number(remark: &str) -> String {
    remark.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// The ports at the remote ends of the frames.
fn remote_ports(capture: &Capture) -> Vec<u16> {
    let port = |frame: &common::pcapng::Captured| {
        let at = if frame.way == Way::In { 36 } else { 34 };
        u16::from_be_bytes(frame.bytes[at..at + 2].try_into().unwrap())
    };
    let mut ports: Vec<u16> = capture.frames.iter().map(port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// A query for the address of `host.internal`.
fn query() -> Vec<u8> {
    [&b"\0\x07\x01\0\0\x01\0\0\0\0\0\0"[..], b"\x04host\x08internal\0", b"\0\x01\0\x01"].concat()
}

#[test]
fn the_first_frame_of_a_flow_says_which_rule_and_which_name() {
    let file = File::new("remarks");
    let (listener, port) = tcp_listener();
    let (peer, peer_port) = udp_peer();
    let i = file.under(
        "",
        "[dns]\nhost-alias = 'host.internal'\n[policy]\nrule = [\n\
         { action = 'allow', service = 'dns' },\n\
         { action = 'allow', name = 'host.internal', protocol = 'tcp' },\n\
         { action = 'allow', protocol = 'udp' },\n\
         { action = 'allow', direction = 'in' },\n]\n",
    );
    i.input(&udp_frame(4001, at(VDNS, 53), &query()));
    i.settle();
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut stream = accept(&i, &listener);
    for _ in 0..3 {
        conn.data(&i, &[7; 1400]);
        assert_eq!(host_read(&i, &mut stream, 1400).len(), 1400);
        i.input(&udp_frame(4000, at_vhost(peer_port), b"x"));
        assert_eq!(host_recv(&i, &peer).0, b"x");
    }
    // One that is refused, twice.
    for _ in 0..2 {
        i.input(&Ip::new(Ipv4Addr::new(192, 0, 2, 1), ICMP).frame(&echo_request(1, 1, b"ping")));
    }
    // One that a peer of the host begins: its first frame goes to the guest.
    let forward = closed_tcp_port();
    i.add_hostfwd(false, at(Ipv4Addr::LOCALHOST, forward), at(GUEST, 22)).unwrap();
    let _client = client(forward);
    i.settle();
    drop(i);

    let capture = file.read();
    let told: Vec<(Way, String)> =
        remarks(&capture).into_iter().map(|(way, text)| (way, without_number(text))).collect();
    let rules = remarks(&capture).into_iter().filter_map(|(_, text)| text.split_once("rule ")).map(|found| found.1);
    // The address counts for the name, whatever goes there or comes from there.
    assert_eq!(rules.collect::<Vec<_>>(), [2, 3, 4].map(|rule| format!("{rule}, name host.internal")));
    let expected = [
        (Way::In, "flow , rule , name host.internal"),
        (Way::In, "flow , rule , name host.internal"),
        (Way::In, "refused: policy"),
        (Way::Out, "flow , rule , name host.internal"),
    ];
    assert_eq!(told, expected.map(|(way, text)| (way, text.to_owned())), "{:?}", remarks(&capture));
    assert_eq!(capture.names, [(IpAddr::from(VHOST), "host.internal".to_owned())]);
    let first = capture.frames.iter().find(|frame| frame.comment.is_some()).unwrap();
    assert_eq!(first.bytes[47] & 2, 2, "the SYN");
}

#[test]
fn a_capture_may_be_of_one_port() {
    let file = File::new("port");
    let (listener, port) = tcp_listener();
    let (other, other_port) = tcp_listener();
    let i = file.under(&format!("protocol = 'tcp'\nremote = '10.0.2.0/24'\nremote-port = {port}"), "");
    for (listener, port) in [(&other, other_port), (&listener, port)] {
        let mut conn = Conn::connect(&i, at_vhost(port));
        let mut stream = accept(&i, listener);
        conn.data(&i, &[1; 1400]);
        assert_eq!(host_read(&i, &mut stream, 1400).len(), 1400);
    }
    i.input(&udp_frame(4000, at_vhost(port), b"x"));
    drop(i);
    let capture = file.read();
    assert!(capture.comment.ends_with(&format!(", only tcp, remote 10.0.2.0/24, remote port {port}")));
    assert!(capture.frames.len() > 3);
    assert_eq!(remote_ports(&capture), [port]);
    // What is not wanted is neither captured nor dropped.
    assert_eq!(capture.statistics, Some((capture.frames.len() as u64, 0)));
}

#[test]
fn a_capture_may_be_of_what_a_rule_has_decided() {
    let file = File::new("rule");
    let (listener, port) = tcp_listener();
    let (other, other_port) = tcp_listener();
    let refused = closed_tcp_port();
    let i = file.under(
        "rule = [2, 3]",
        &format!(
            "[policy]\nrule = [\n{{ action = 'allow', host-port = {other_port} }},\n\
             {{ action = 'allow', protocol = 'tcp', host-port = {port} }},\n\
             {{ action = 'deny', protocol = 'tcp', host-port = {refused} }},\n]\n"
        ),
    );
    for (listener, port) in [(&other, other_port), (&listener, port)] {
        let mut conn = Conn::connect(&i, at_vhost(port));
        let mut stream = accept(&i, listener);
        conn.data(&i, &[1; 1400]);
        assert_eq!(host_read(&i, &mut stream, 1400).len(), 1400);
    }
    Conn::try_connect(&i, at_vhost(refused), &[]);
    // No rule is about this one.
    Conn::try_connect(&i, at_vhost(closed_tcp_port()), &[]);
    i.settle();
    drop(i);
    let capture = file.read();
    let mut expected = [port, refused];
    expected.sort_unstable();
    assert_eq!(remote_ports(&capture), expected);
    let of_refused: Vec<Way> = capture
        .frames
        .iter()
        .filter(|frame| frame.bytes[34..38].chunks(2).any(|port| port == refused.to_be_bytes()))
        .map(|frame| frame.way)
        .collect();
    assert_eq!(of_refused, [Way::In, Way::Out], "the SYN and its reset");
    assert_eq!(remarks(&capture).iter().filter(|(_, text)| text.ends_with("rule 2")).count(), 1);
    assert_eq!(capture.statistics, Some((capture.frames.len() as u64, 0)));
}
