//! Several clients of the control socket change the forwards at a time: each change is done as if it were alone.

mod common;
#[path = "common/control.rs"]
mod control;
use common::*;
use control::*;

use serde_json::{Value, json};

fn at(first: u16, count: u16) -> String {
    format!("127.0.0.1:{first}-{}", first + count - 1)
}

/// A request with an id, as [`Client::line`] reads its answer.
fn request(word: &str, forwards: Value) -> Value {
    json!({ "id": 1, "do": word, "forwards": forwards })
}

fn leading(listen: &str, guest: &str) -> Value {
    json!([{ "protocol": "tcp", "listen": listen, "guest": guest }])
}

fn listed(c: &mut Client, i: &Instance) -> Value {
    c.ok(i, "forward.list", json!({}))["forwards"].take()
}

#[test]
fn a_change_that_is_undone_takes_nothing_from_the_next_one() {
    if !isolated("a_change_that_is_undone_takes_nothing_from_the_next_one", Isolation::Network) {
        return;
    }
    for first_word in ["forward.add", "forward.replace"] {
        let folder = Folder::new("undone");
        let i = start(&folder);
        let (mut one, mut other) = (Client::new(&i, &folder), Client::new(&i, &folder));
        let first = free_ports(600);
        // The last of them cannot be had, which shows when most of the others are there.
        let taken = TcpListener::bind(("127.0.0.1", first + 599)).unwrap();
        let free = at(first, 599);
        one.send(&request(first_word, leading(&at(first, 600), ":22")));
        other.send(&request("forward.replace", leading(&free, ":80")));
        let refused = one.line(&i);
        assert!(
            refused["error"]["message"].as_str().is_some_and(|text| text.contains(&(first + 599).to_string())),
            "{refused}"
        );
        let done = other.line(&i);
        assert_eq!(done["ok"], json!({ "added": 599, "waiting": 0, "kept": 0, "changed": 0, "removed": 0 }), "{done}");
        assert_eq!(listed(&mut other, &i), leading(&free, "0.0.0.0:80"));
        drop(taken);
    }
}

#[test]
fn two_sets_are_one_after_the_other() {
    if !isolated("two_sets_are_one_after_the_other", Isolation::Network) {
        return;
    }
    let folder = Folder::new("sets");
    let i = start(&folder);
    let (mut one, mut other) = (Client::new(&i, &folder), Client::new(&i, &folder));
    let first = free_ports(800);
    // They have 400 ports in common.
    one.send(&request("forward.replace", leading(&at(first, 600), ":22")));
    other.send(&request("forward.replace", leading(&at(first + 200, 600), ":80")));
    let (one_done, other_done) = (one.line(&i), other.line(&i));
    assert!(one_done.get("ok").is_some() && other_done.get("ok").is_some(), "{one_done} {other_done}");
    let (now, lead) = match other_done["ok"]["removed"] == 200 {
        true => (at(first + 200, 600), "0.0.0.0:80"),
        false => (at(first, 600), "0.0.0.0:22"),
    };
    assert_eq!(listed(&mut one, &i), leading(&now, lead));
}

#[test]
fn what_somebody_has_left_behind_is_gone_before_the_next_change() {
    if !isolated("what_somebody_has_left_behind_is_gone_before_the_next_change", Isolation::Network) {
        return;
    }
    let folder = Folder::new("behind");
    let i = start(&folder);
    let mut one = Client::new(&i, &folder);
    let mut other = Client::new(&i, &folder);
    let mut waits = Client::new(&i, &folder);
    let first = free_ports(4000);
    let range = at(first, 4000);
    let before = child::open_descriptors();
    one.send(&request("forward.add", leading(&range, ":22")));
    i.until("some of them", || (child::open_descriptors() > before + 500).then_some(()));
    // One who waits for his turn and leaves is in nobody's way.
    waits.send(&request("forward.replace", leading(&range, ":23")));
    i.settle();
    drop((one, waits));
    other.send(&request("forward.replace", leading(&range, ":80")));
    let done = other.line(&i);
    assert!(done.get("ok").is_some(), "{done}");
    assert_eq!(listed(&mut other, &i), leading(&range, "0.0.0.0:80"));
}

#[test]
fn what_was_removed_is_free_when_that_is_said() {
    if !isolated("what_was_removed_is_free_when_that_is_said", Isolation::Network) {
        return;
    }
    let folder = Folder::new("free");
    let i = start(&folder);
    let mut c = Client::new(&i, &folder);
    for count in [1, 5, 300] {
        let first = free_ports(count);
        let range = at(first, count);
        c.ok(&i, "forward.add", forward(&range, ":80"));
        c.ok(&i, "forward.remove", json!({ "forwards": [{ "protocol": "tcp", "listen": range }] }));
        // For other programs at once.
        let bound: Vec<_> = (first..first + count).map(|port| TcpListener::bind(("127.0.0.1", port))).collect();
        assert!(bound.iter().all(Result::is_ok), "{count}: {bound:?}");
        drop(bound);
        // And for the same client, whose requests come together.
        c.ok(&i, "forward.add", forward(&range, ":80"));
        c.send(&request("forward.remove", json!([{ "protocol": "tcp", "listen": range }])));
        c.send(&request("forward.add", leading(&range, ":81")));
        let (removed, added) = (c.line(&i), c.line(&i));
        assert_eq!(
            (&removed["ok"]["removed"], &added["ok"]["added"]),
            (&json!(count), &json!(count)),
            "{removed} {added}"
        );
        c.ok(&i, "forward.replace", json!({ "forwards": [] }));
    }
}

#[test]
fn policies_one_after_the_other_leave_the_guest_most_of_the_time() {
    let folder = Folder::new("policies");
    let i = start(&folder);
    let rule = "[[policy.rule]]\naction = 'deny'\nhost = '192.0.2.1'\n";
    let text = format!("{}\n# {}\n", rule, "x".repeat(300_000));
    let mut clients = [(); 2].map(|()| Client::new(&i, &folder));
    for c in &mut clients {
        let line = format!("{}\n", json!({ "id": 1, "do": "policy.replace", "text": text }));
        assert!(c.send_long(&i, line.as_bytes()));
    }
    let answer = |clients: &mut [Client]| clients.iter_mut().find_map(|c| c.look().expect("it goes on"));
    let first = i.until("the first answer", || answer(&mut clients));
    assert!(first.get("ok").is_some(), "{first}");
    // The other one waits, and the guest does not.
    // Four microseconds for each byte.
    let pause = Duration::from_micros(4 * text.len() as u64);
    for _ in 0..10 {
        i.input(&Family::V4.ping_frame(7));
        i.wait_icmp("a reply");
        i.advance(pause / 20);
        i.settle();
        assert_eq!(answer(&mut clients), None);
    }
    i.advance(pause);
    let second = i.until("the second answer", || answer(&mut clients));
    assert!(second.get("ok").is_some(), "{second}");
}
