//! The part of the program that joins the namespace: it makes and sets up the device and gives it to the part outside.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::{env, iter};

use oxislirp::drive::{TapLink, TunLink};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::arguments::Arguments;
use crate::passing::{give, take};
use crate::{ADDRESS, ADDRESS6, GATEWAY, GATEWAY6};

/// Starts that part, and takes the device.
pub(crate) fn device() -> Result<OwnedFd, Box<dyn Error>> {
    let (ours, theirs) = UnixStream::pair()?;
    let words = iter::once("--inside".into()).chain(env::args_os().skip(1));
    let mut inside = Command::new(env::current_exe()?).args(words).stdin(OwnedFd::from(theirs)).spawn()?;
    let device = take(&ours);
    if !inside.wait()?.success() {
        return Err("the namespace cannot be joined, or its device not be made".into());
    }
    device
}

/// What that part does.
pub(crate) fn inside(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let namespace = &arguments.namespace;
    // Both are opened before one is joined: the paths may mean something else, or nothing, from inside.
    let net = namespace.net.as_deref().map(open).transpose()?;
    let user = namespace.user.as_deref().map(|path| Ok::<_, io::Error>((open(path)?, same_user(path)?))).transpose()?;
    if let Some((user, false)) = &user {
        move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?;
    }
    if let Some(net) = &net {
        move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    let device: OwnedFd = if arguments.tun {
        TunLink::open(&arguments.device, [])?.into()
    } else {
        TapLink::open(&arguments.device)?.into()
    };
    set_up(arguments)?;
    give(io::stdin(), device)?;
    Ok(())
}

/// Opens a namespace's file; what is wrong with it names it.
fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Whether a user namespace is the one that we are in, which cannot be joined once more.
fn same_user(path: &Path) -> io::Result<bool> {
    Ok(std::fs::read_link(path).ok() == std::fs::read_link("/proc/self/ns/user").ok())
}

fn set_up(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (device, mtu) = (&arguments.device, arguments.mtu);
    ip("link set lo up")?;
    ip(&format!("link set {device} mtu {mtu} up"))?;
    ip(&format!("addr add {ADDRESS}/24 dev {device}"))?;
    ip(&format!("route add default via {GATEWAY} dev {device}"))?;
    if arguments.ipv6 {
        ip(&format!("-6 addr add {ADDRESS6}/64 dev {device} nodad"))?;
        ip(&format!("-6 route add default via {GATEWAY6} dev {device}"))?;
    }
    Ok(())
}

fn ip(words: &str) -> Result<(), Box<dyn Error>> {
    if Command::new("ip").args(words.split(' ')).stdin(std::process::Stdio::null()).status()?.success() {
        Ok(())
    } else {
        Err(format!("ip {words}").into())
    }
}
