//! A program with a network of its own and the Internet behind it, without any privilege:
//!
//!     cargo run --release --example tap -- busybox wget -O - http://example.org/

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::{net::UnixStream, process::CommandExt};
use std::process::{Command, exit};
use std::{env, error::Error, ffi::OsString, io, mem::MaybeUninit, thread};

use oxislirp::drive::{Driver, Stop, TapLink};
use oxislirp::{Config, Stack};
use rustix::net::{self, RecvAncillaryBuffer, RecvAncillaryMessage, SendAncillaryBuffer, SendAncillaryMessage};

const SETUP: &str = "ip link set lo up; ip link set tap0 up; ip addr add 10.0.2.15/24 dev tap0
    ip route add default via 10.0.2.2; file=$(mktemp); echo nameserver 10.0.2.3 >$file
    mount --bind $file /etc/resolv.conf; rm $file; ip addr add fec0::15/64 dev tap0 nodad; ip route add ::/0 via fec0::2";

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args_os().skip(1).peekable();
    if words.next_if(|word| word == "--inside").is_some() {
        return inside(words);
    }
    let (ours, theirs) = UnixStream::pair()?;
    let flags = ["--user", "--map-root-user", "--net", "--mount"].map(OsString::from);
    let words = flags.into_iter().chain([env::current_exe()?.into(), "--inside".into()]).chain(words);
    let mut inside = Command::new("unshare").args(words).stdin(OwnedFd::from(theirs)).spawn()?;
    give(&ours, io::stdin())?;
    let tap = TapLink::new(take(&ours)?)?;
    let mut driver = Driver::new(Stack::new(Config::builder().ipv6(true).build()?)?, tap)?;
    let (stop, ended) = Stop::new().map(|stop| (stop.clone(), stop))?;
    let waiting = thread::spawn(move || (inside.wait(), ended.stop()).0);
    driver.run(&stop, drop)?;
    exit(waiting.join().map_err(|_| "nobody waited for the program")??.code().unwrap_or(1))
}

/// In the new namespaces: makes the tap device, gives it to the stack outside, and becomes the program.
fn inside(mut words: impl Iterator<Item = OsString>) -> Result<(), Box<dyn Error>> {
    let (outside, tap, terminal) = (io::stdin(), TapLink::open("tap0")?, take(&io::stdin())?);
    Command::new("sh").args(["-ec", SETUP]).stdin(terminal.try_clone()?).status()?;
    give(&outside, tap)?;
    let program = words.next().unwrap_or("sh".into());
    Err(format!("{}: {}", program.display(), Command::new(&program).args(words).stdin(terminal).exec()).into())
}

fn give(to: &impl AsFd, descriptor: impl AsFd) -> io::Result<usize> {
    let (mut room, descriptors) = ([MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))], [descriptor.as_fd()]);
    let mut message = SendAncillaryBuffer::new(&mut room);
    message.push(SendAncillaryMessage::ScmRights(&descriptors));
    Ok(net::sendmsg(to, &[io::IoSlice::new(b"!")], &mut message, net::SendFlags::empty())?)
}

fn take(from: &impl AsFd) -> Result<OwnedFd, Box<dyn Error>> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = RecvAncillaryBuffer::new(&mut room);
    net::recvmsg(from, &mut [io::IoSliceMut::new(&mut [0])], &mut message, net::RecvFlags::CMSG_CLOEXEC)?;
    match message.drain().next() {
        Some(RecvAncillaryMessage::ScmRights(mut descriptors)) => descriptors.next().ok_or("nothing was given".into()),
        _ => Err("no namespace was made".into()),
    }
}
