//! Host forwards over the control socket, through the C ABI: added, listed, waited for, replaced and removed. docs/control.md says what is
//! promised.

mod common;
#[path = "common/control.rs"]
mod control;
use common::*;
use control::*;

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

use common::child::open_descriptors;

use serde_json::{Value, json};

#[test]
fn many_forwards_are_listed_in_pages_that_know_what_has_changed() {
    const MANY: u16 = 600;
    let folder = Folder::new("pages");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    let first = free_ports(MANY);
    let (ours, theirs) = (|n: u16| first + n, |n: u16| 1000 + 7 * n);
    let at = |n: u16| format!("127.0.0.1:{}", ours(n));
    let one = |n: u16| json!({ "protocol": "tcp", "listen": at(n), "guest": format!(":{}", theirs(n)) });
    let all: Vec<Value> = (0..MANY).map(one).collect();
    c.ok(&i, "forward.add", json!({ "forwards": all }));
    let listen = |entry: &Value| entry["listen"].as_str().unwrap().to_owned();
    let page = |c: &mut Client, after: &Value| c.ok(&i, "forward.list", json!({ "after": after, "most": 250 }));
    let (mut after, mut listed) = (json!(0), Vec::new());
    while !after.is_null() {
        let page = page(&mut c, &after);
        listed.extend(page["forwards"].as_array().unwrap().iter().map(listen));
        after = page["next"].clone();
    }
    assert_eq!(listed, (0..MANY).map(at).collect::<Vec<_>>());
    // By a client, and by the program.
    let next = page(&mut c, &json!(0))["next"].clone();
    c.ok(&i, "forward.remove", json!({ "forwards": [{ "protocol": "tcp", "listen": at(250) }] }));
    let second = page(&mut c, &next);
    assert_eq!(listen(&second["forwards"][0]), at(251));
    let there = SocketAddrV4::new(LOCALHOST, ours(251));
    assert_eq!(i.remove_hostfwd(false, there), 0);
    assert_eq!(listen(&page(&mut c, &next)["forwards"][0]), at(252));
    i.add_hostfwd(false, there, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 80)).unwrap();
    assert_eq!(
        page(&mut c, &next)["forwards"][0],
        json!({ "protocol": "tcp", "listen": at(251), "guest": "0.0.0.0:80" })
    );
    c.ok(&i, "forward.replace", json!({ "forwards": [one(1)] }));
    assert_eq!(page(&mut c, &next)["forwards"], json!([]));
}

/// As many rules as there may be come in one request, and no answer grows with them.

#[test]
fn forwards_come_and_go_while_the_guest_runs() {
    let folder = Folder::new("forwards");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    let first = free_ports(10);
    let range = format!("127.0.0.1:{first}-{}", first + 9);
    let added = c.ok(&i, "forward.add", forward(&range, ":8000-8009"));
    assert_eq!((&added["added"], &added["waiting"]), (&json!(10), &json!(0)));
    leads_to(&i, first + 3, 8003);
    let entry = json!({ "protocol": "tcp", "listen": range, "guest": "0.0.0.0:8000-8009" });
    assert_eq!(c.ok(&i, "forward.list", json!({})), json!({ "forwards": [entry], "waiting": [] }));
    // One of the middle goes, and the range is two.
    let at = |port: u16| json!({ "forwards": [{ "protocol": "tcp", "listen": format!("127.0.0.1:{port}") }] });
    assert_eq!(c.ok(&i, "forward.remove", at(first + 4))["removed"], 1);
    assert_eq!(c.ok(&i, "forward.list", json!({}))["forwards"].as_array().unwrap().len(), 2);
    assert_eq!(c.refused(&i, "forward.remove", at(first + 4)).0, "missing");
    // All or nothing, for removals too.
    let (kind, message) =
        c.refused(&i, "forward.remove", json!({ "forwards": [{ "protocol": "tcp", "listen": range }] }));
    assert_eq!(kind, "missing");
    assert!(message.contains(&format!("127.0.0.1:{}", first + 4)), "{message}");
    leads_to(&i, first + 9, 8009);
}

#[test]
fn a_range_of_which_one_port_is_taken_is_added_not_at_all() {
    if !isolated("a_range_of_which_one_port_is_taken_is_added_not_at_all", Isolation::Network) {
        return;
    }
    let folder = Folder::new("nothing");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    let first = free_ports(600);
    let taken = TcpListener::bind(("127.0.0.1", first + 555)).unwrap();
    let range = format!("127.0.0.1:{first}-{}", first + 599);
    warm_up(&mut c, &i);
    let before = open_descriptors();
    let (kind, message) = c.refused(&i, "forward.add", forward(&range, ":80"));
    assert_eq!(kind, "system");
    assert!(message.contains(&format!("127.0.0.1:{}", first + 555)), "{message}");
    i.settle();
    assert_eq!(open_descriptors(), before);
    assert_eq!(c.ok(&i, "forward.list", json!({}))["forwards"], json!([]));
    drop(taken);
    assert_eq!(c.ok(&i, "forward.add", forward(&range, ":80"))["added"], 600);
    // Each is one descriptor.
    assert_eq!(open_descriptors(), before - 1 + 600);
}

#[test]
fn whoever_leaves_before_all_are_there_leaves_none() {
    if !isolated("whoever_leaves_before_all_are_there_leaves_none", Isolation::Network) {
        return;
    }
    let folder = Folder::new("leaves");
    let i = start(&folder);
    let first = free_ports(1000);
    let mut c = Client::new(&i, &folder);
    warm_up(&mut c, &i);
    let before = open_descriptors();
    c.send(&json!({ "do": "forward.add",
        "forwards": [{ "protocol": "tcp", "listen": format!("127.0.0.1:{first}-{}", first + 999) }] }));
    i.until("the first of them", || (open_descriptors() > before + 100).then_some(()));
    assert!(open_descriptors() < before + 1000, "they are there at once");
    drop(c);
    let mut c = Client::new(&i, &folder);
    i.settle();
    assert_eq!(c.ok(&i, "forward.list", json!({}))["forwards"], json!([]));
    assert_eq!(open_descriptors(), before);
}

#[test]
fn what_can_lead_nowhere_or_needs_too_much_is_refused() {
    let folder = Folder::new("refused");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    let mut why = |listen: &str, guest: &str| c.refused(&i, "forward.add", forward(listen, guest));
    assert_eq!(why("127.0.0.1:8000", "8.8.8.8:80").0, "invalid");
    assert_eq!(why("127.0.0.1:8000", "10.0.2.2:80").0, "invalid");
    assert_eq!(why("localhost:8000", ":80").0, "invalid");
    let (kind, message) = why("192.0.2.1:8000", ":80");
    assert!(kind == "system" && message.contains("192.0.2.1:8000"), "{kind}: {message}");
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a place for a limit.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    if limit.rlim_cur < 60_000 {
        let (kind, message) = why("127.0.0.1:2000-61999", ":80");
        assert!(kind == "limit" && message.contains(&limit.rlim_cur.to_string()), "{kind}: {message}");
    } else {
        let all = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
            .map(|ip| json!({ "protocol": "tcp", "listen": format!("{ip}:1-65535") }));
        assert_eq!(c.refused(&i, "forward.add", json!({ "forwards": all })).0, "limit");
    }
}

#[test]
fn the_set_of_forwards_is_replaced_whole() {
    let folder = Folder::new("replace");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    let first = free_ports(6);
    let listen = |from: u16, to: u16| format!("127.0.0.1:{}-{}", first + from, first + to);
    c.ok(&i, "forward.add", forward(&listen(0, 3), ":100-103"));
    let wanted = json!({ "forwards": [
        { "protocol": "tcp", "listen": listen(2, 3), "guest": ":102-103" },
        { "protocol": "tcp", "listen": format!("127.0.0.1:{}", first + 1), "guest": ":9" },
        { "protocol": "tcp", "listen": listen(4, 5), "guest": ":80" },
    ] });
    let done = c.ok(&i, "forward.replace", wanted.clone());
    assert_eq!(done, json!({ "added": 2, "changed": 1, "kept": 2, "removed": 1, "waiting": 0 }));
    leads_to(&i, first + 1, 9);
    leads_to(&i, first + 2, 102);
    leads_to(&i, first + 5, 80);
    // What cannot be had whole changes nothing.
    let _taken = TcpListener::bind(("127.0.0.1", first)).unwrap();
    let (kind, _) = c.refused(&i, "forward.replace", forward(&listen(0, 1), ":7"));
    assert_eq!(kind, "system");
    assert_eq!(c.ok(&i, "forward.replace", wanted)["kept"], 5);
    assert_eq!(c.ok(&i, "forward.replace", json!({ "forwards": [] }))["removed"], 5);
}

#[test]
fn datagrams_and_unix_sockets_are_forwarded_as_well() {
    let folder = Folder::new("kinds");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    let path = folder.0.join("ssh.sock");
    let both = json!({ "forwards": [
        { "protocol": "unix", "listen": path, "guest": ":22" },
        { "protocol": "udp", "listen": "127.0.0.1:0", "guest": ":53" },
    ] });
    let added = c.ok(&i, "forward.add", both);
    let udp: SocketAddr = added["bound"][0].as_str().unwrap().parse().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.send_to(b"hello", udp).unwrap();
    let datagram = i.wait("a datagram for the guest", |frame| frame.udp());
    assert_eq!((datagram.dst.port(), &datagram.data[..]), (53, &b"hello"[..]));
    let _peer = UnixStream::connect(&path).unwrap();
    let syn = i.wait("a SYN for the guest", |frame| frame.tcp().filter(|segment| segment.has(SYN)));
    assert_eq!(syn.dst.port(), 22);
    let remove = json!({ "forwards": [{ "protocol": "unix", "listen": path }, { "protocol": "udp", "listen": udp }] });
    assert_eq!(c.ok(&i, "forward.remove", remove)["removed"], 2);
    assert!(!path.exists());
}

#[test]
fn an_address_that_comes_later_is_waited_for() {
    if !isolated("an_address_that_comes_later_is_waited_for", Isolation::Network) {
        return;
    }
    let folder = Folder::new("wait");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    // More than a round does.
    let range = "[2001:db8::77]:4000-4599";
    let mut wanted = forward(range, ":80");
    assert_eq!(c.refused(&i, "forward.add", wanted.clone()).0, "system");
    wanted["forwards"][0]["wait"] = true.into();
    assert_eq!(c.ok(&i, "forward.add", wanted.clone()), json!({ "added": 0, "waiting": 1 }));
    assert_eq!(c.ok(&i, "forward.list", json!({}))["waiting"][0]["listen"], range);
    // Who waits can be taken away.
    let place = json!({ "forwards": [{ "protocol": "tcp", "listen": range }] });
    assert_eq!(c.ok(&i, "forward.remove", place), json!({ "removed": 0, "waiting": 1 }));
    c.ok(&i, "forward.add", wanted);
    add_loopback_address(ip("2001:db8::77"));
    i.move_clock(Duration::from_millis(900));
    i.settle();
    assert_eq!(c.ok(&i, "forward.list", json!({}))["forwards"], json!([]));
    // While one of its ports is somebody's there is nothing of it.
    let taken = TcpListener::bind("[2001:db8::77]:4555").unwrap();
    i.move_clock(Duration::from_millis(200));
    (0..20).for_each(|_| i.settle());
    let list = c.ok(&i, "forward.list", json!({}));
    assert_eq!(list["forwards"], json!([]));
    assert!(list["waiting"][0]["why"].as_str().unwrap().contains("use"), "{list}");
    drop(taken);
    i.move_clock(Duration::from_millis(1100));
    (0..20).for_each(|_| i.settle());
    let entry = json!([{ "protocol": "tcp", "listen": range, "guest": "0.0.0.0:80" }]);
    assert_eq!(c.ok(&i, "forward.list", json!({})), json!({ "forwards": entry, "waiting": [] }));
}

#[test]
fn two_that_wait_for_one_address_are_refused_as_one_would_wait_for_ever() {
    let folder = Folder::new("two-wait");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    let waiting =
        |listen: &str, guest: &str| json!({ "protocol": "tcp", "listen": listen, "guest": guest, "wait": true });
    let forwards = |list: &[Value]| json!({ "forwards": list });
    let first = waiting("192.0.2.77:2000-2009", "10.0.2.15:22");
    c.ok(&i, "forward.add", forwards(std::slice::from_ref(&first)));
    let meets = "listen: tcp 192.0.2.77:2000-2009 waits for the same address";
    for other in ["192.0.2.77:2009", "192.0.2.77:1990-2000", "192.0.2.77:1990-2100"] {
        let refused = c.refused(&i, "forward.add", forwards(&[waiting(other, "10.0.2.16:22")]));
        assert_eq!(refused, ("invalid".into(), meets.into()), "{other}");
    }
    // What is beside it waits as well, all of it or nothing.
    let beside = [waiting("192.0.2.77:2010", ":22"), waiting("192.0.2.78:2000", ":22")];
    let twice = [beside[0].clone(), beside[1].clone(), beside[0].clone()];
    assert!(c.refused(&i, "forward.add", forwards(&twice)).1.contains("192.0.2.77:2010 waits for the same address"));
    let mut datagrams = first.clone();
    datagrams["protocol"] = "udp".into();
    datagrams["guest"] = ":2000-2009".into();
    assert_eq!(c.ok(&i, "forward.add", forwards(&[beside[0].clone(), beside[1].clone(), datagrams]))["waiting"], 3);
    // A set has its own ones only.
    assert_eq!(c.ok(&i, "forward.replace", forwards(&[waiting("192.0.2.77:2005", ":22")]))["waiting"], 1);
    assert_eq!(c.ok(&i, "forward.list", json!({}))["waiting"].as_array().unwrap().len(), 1);
}

#[test]
fn a_forward_for_ipv6_alone_is_told_from_one_for_both() {
    if !isolated("a_forward_for_ipv6_alone_is_told_from_one_for_both", Isolation::Network) {
        return;
    }
    let folder = Folder::new("families");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    for protocol in ["tcp", "udp"] {
        let at = |port: u16, only_v6: bool| json!({ "protocol": protocol, "listen": format!("[::]:{port}"), "guest": format!(":{port}"), "only_v6": only_v6 });
        let forwards = |list: &[Value]| json!({ "forwards": list });
        c.ok(&i, "forward.add", forwards(&[at(3000, false), at(3001, true), at(3002, true)]));
        let both = json!({ "protocol": protocol, "listen": "[::]:3000", "guest": "0.0.0.0:3000" });
        let one =
            json!({ "protocol": protocol, "listen": "[::]:3001-3002", "guest": "0.0.0.0:3001-3002", "only_v6": true });
        assert_eq!(c.ok(&i, "forward.list", json!({}))["forwards"], json!([both, one]));
        for (wrong, there) in [(at(3000, true), "for both families"), (at(3001, false), "for IPv6 only")] {
            let listen = wrong["listen"].as_str().unwrap();
            let text = format!("listen: {listen} is there {there}, and has to be removed before");
            assert_eq!(
                c.refused(&i, "forward.replace", forwards(std::slice::from_ref(&wrong))),
                ("invalid".into(), text)
            );
        }
        let kept = c.ok(&i, "forward.replace", forwards(&[at(3000, false), at(3001, true)]));
        assert_eq!(kept, json!({ "added": 0, "changed": 0, "kept": 2, "removed": 1, "waiting": 0 }));
        c.ok(&i, "forward.replace", forwards(&[]));
    }
}
