//! Clients of the control socket, whose answers are read line by line; and instances that have one. No part of `common`, as tests
//! that know nothing of JSON are compiled without it: with its comparisons some types in them would not be known.

#![allow(dead_code)]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::common::*;

/// The environment is everybody's: instances are made one at a time.
static ENVIRONMENT: Mutex<()> = Mutex::new(());

/// A folder of one test; it goes with this value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("oxislirp-control-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("c.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How the application watches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// As the environment of the tests says.
    AsItIs,
    Directly,
}

/// An instance with a control socket; `None` when `slirp_new` refuses it.
pub fn try_start(folder: &Folder, more: &str, watch: Watch, setup: Setup) -> Option<Box<Instance>> {
    let _alone = ENVIRONMENT.lock().unwrap_or_else(|poison| poison.into_inner());
    let path = folder.0.join("config.toml");
    std::fs::write(&path, format!("[control]\nsocket = {:?}\n{more}", folder.socket())).unwrap();
    let poll = std::env::var_os("OXISLIRP_POLL");
    // SAFETY: instances are made here only, by one thread at a time, and nothing else in this program looks at the environment.
    unsafe {
        std::env::set_var("OXISLIRP_CONFIG", &path);
        if watch == Watch::Directly {
            std::env::set_var("OXISLIRP_POLL", "direct");
        }
    }
    let instance = setup.try_start();
    // SAFETY: as above.
    unsafe {
        std::env::remove_var("OXISLIRP_CONFIG");
        if let Some(poll) = poll {
            std::env::set_var("OXISLIRP_POLL", poll);
        } else {
            std::env::remove_var("OXISLIRP_POLL");
        }
    }
    instance
}

pub fn start(folder: &Folder) -> Box<Instance> {
    start_with(folder, "")
}

pub fn start_with(folder: &Folder, more: &str) -> Box<Instance> {
    let i = try_start(folder, more, Watch::AsItIs, Setup::default()).expect("the file makes sense");
    i.settle();
    i.drain();
    i
}

/// A client, whose answers are read line by line.
pub struct Client {
    pub stream: UnixStream,
    read: Vec<u8>,
    number: u64,
}

impl Client {
    pub fn connect(path: &Path) -> Client {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_nonblocking(true).unwrap();
        Client { stream, read: Vec::new(), number: 0 }
    }

    /// One that was greeted.
    pub fn new(i: &Instance, folder: &Folder) -> Client {
        let mut client = Client::connect(&folder.socket());
        let greeting = client.line(i);
        assert_eq!(greeting["oxislirp"], 1, "{greeting}");
        client
    }

    /// What has come, if it is a whole line; an error is the end of the stream.
    pub fn look(&mut self) -> Result<Option<Value>, ()> {
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).unwrap()));
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(()),
                Ok(count) => self.read.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(_) => return Err(()),
            }
        }
    }

    pub fn line(&mut self, i: &Instance) -> Value {
        i.until("a line of the control socket", || self.look().expect("the stream goes on"))
    }

    pub fn ended(&mut self, i: &Instance) {
        i.until("the end of the control connection", || match self.look() {
            Err(()) => Some(()),
            Ok(None) => None,
            Ok(Some(line)) => panic!("{line}"),
        });
    }

    /// More than a socket takes at once. Whether the other end has taken it all.
    pub fn send_long(&mut self, i: &Instance, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        i.until("a long line to be taken", || match self.stream.write(rest) {
            Ok(count) => {
                rest = &rest[count..];
                rest.is_empty().then_some(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => Some(false),
        })
    }

    pub fn send(&mut self, request: &Value) {
        self.stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    }

    /// Asks for something, and gives the whole answer.
    pub fn ask(&mut self, i: &Instance, word: &str, mut members: Value) -> Value {
        self.number += 1;
        members["id"] = self.number.into();
        members["do"] = word.into();
        self.send(&members);
        let answer = self.line(i);
        assert_eq!(answer["id"], self.number, "{answer}");
        answer
    }

    pub fn ok(&mut self, i: &Instance, word: &str, members: Value) -> Value {
        let mut answer = self.ask(i, word, members);
        assert!(answer.get("ok").is_some(), "{word}: {answer}");
        answer["ok"].take()
    }

    /// The kind of the error and its message.
    pub fn refused(&mut self, i: &Instance, word: &str, members: Value) -> (String, String) {
        let answer = self.ask(i, word, members);
        let text = |name: &str| answer["error"][name].as_str().unwrap_or_else(|| panic!("{word}: {answer}")).to_owned();
        (text("kind"), text("message"))
    }
}

/// Free ports of the loopback that follow each other, and that no other test of this program is given. (One that is a process of its
/// own has a network of its own.) The host itself gives out none of them.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: Mutex<u16> = Mutex::new(10_000);
    let mut next = NEXT.lock().unwrap_or_else(|poison| poison.into_inner());
    while *next + count < 32_000 {
        let first = *next;
        *next += count;
        let bound: Option<Vec<TcpListener>> =
            (first..first + count).map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if bound.is_some() {
            return first;
        }
    }
    panic!("no {count} free ports");
}

/// What more than one round makes for the first time is made.
pub fn warm_up(c: &mut Client, i: &Instance) {
    let first = free_ports(300);
    let range = format!("127.0.0.1:{first}-{}", first + 299);
    c.ok(i, "forward.add", forward(&range, ":80"));
    c.ok(i, "forward.remove", json!({ "forwards": [{ "protocol": "tcp", "listen": range }] }));
}

pub fn forward(listen: &str, guest: &str) -> Value {
    json!({ "forwards": [{ "protocol": "tcp", "listen": listen, "guest": guest }] })
}

/// The guest is reached through a forward at this port of the host.
pub fn leads_to(i: &Instance, port: u16, guest_port: u16) {
    let peer = client(port);
    let syn = i.wait("a SYN for the guest", |frame| frame.tcp().filter(|segment| segment.has(SYN)));
    assert_eq!(syn.dst.port(), guest_port);
    drop(peer);
    i.settle();
    i.drain();
}
