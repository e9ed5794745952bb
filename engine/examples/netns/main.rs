//! Gives a network namespace an Internet: what slirpnetstack and slirp4netns do, in a few hundred lines of safe Rust.
//!
//!     unshare --user --map-root-user --net sh -c 'echo $$; exec sh'      # in one terminal
//!     cargo run --release --example netns -- --pid PID --ipv6 -L 127.0.0.1:8080=10.0.2.15:80      # in another one
//!
//! `arguments` is the command line, `namespace` joins the namespace and makes the device there, `passing` brings that here,
//! `ranges` says what may be reached, `relay` leads to TCP servers. The stack and its sockets stay where the program was started.

mod arguments;
mod namespace;
mod passing;
mod ranges;
mod relay;

use std::env;
use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;

use arguments::{Arguments, Target, USAGE};
use oxislirp::drive::{Driver, FrameLink, GuestListener, Stop, TapLink, TunLink};
use oxislirp::{Config, Effect, GuestForward, HostForward, Stack, UnixAddress};
use ranges::{Guarded, Rules};

/// The addresses of the default configuration, and the one that the namespace is given.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0x15);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2);

fn main() -> Result<(), Box<dyn Error>> {
    let Some(arguments) = Arguments::parse(env::args_os().skip(1))? else {
        println!("{USAGE}");
        return Ok(());
    };
    if arguments.inside {
        return namespace::inside(&arguments);
    }
    let stack = stack(&arguments)?;
    let device = namespace::device()?;
    if arguments.tun {
        drive(stack, TunLink::new(device, [ADDRESS.into(), ADDRESS6.into()])?, &arguments)
    } else {
        drive(stack, TapLink::new(device)?, &arguments)
    }
}

fn stack(arguments: &Arguments) -> Result<Stack, Box<dyn Error>> {
    let config = Config::builder()
        .ipv6(arguments.ipv6)
        .mtu(arguments.mtu)
        .mru(arguments.mtu)
        .host_loopback(arguments.host_loopback)
        .outbound(arguments.outbound4.map(|address| SocketAddrV4::new(address, 0)))
        .outbound6(arguments.outbound6.map(|address| SocketAddrV6::new(address, 0, 0, 0)));
    let mut stack = Stack::new(config.build()?)?;
    for local in &arguments.local {
        let forward = if local.udp { HostForward::udp } else { HostForward::tcp };
        stack.add_host_forward(forward(local.host, local.guest))?;
    }
    for remote in &arguments.remote {
        let port = remote.at.port();
        let forward = match &remote.target {
            // It needs the driver.
            Target::Tcp(_) => continue,
            Target::Unix(path) => GuestForward::unix(UnixAddress::new(path.as_bytes())?, port),
            Target::Command(command) => GuestForward::command(command.as_bytes(), port),
        };
        stack.add_guest_forward(forward.at(*remote.at.ip()))?;
    }
    Ok(stack)
}

fn drive(stack: Stack, link: impl FrameLink + 'static, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let rules = Rules {
        always: vec!["10.0.2.0/24".parse()?, "fec0::/64".parse()?],
        allow: arguments.allow.clone(),
        deny: arguments.deny.clone(),
    };
    let mut driver = Driver::new(stack, Guarded::new(link, rules))?;
    let mut relays = Vec::new();
    for remote in &arguments.remote {
        if let Target::Tcp(server) = remote.target {
            let forward = GuestForward::application(remote.at.port()).at(*remote.at.ip());
            let (listener, calls) = GuestListener::new(driver.handle(), forward)?;
            relay::relay(listener, server);
            relays.push(calls);
        }
    }
    println!("ready");
    driver.run(&Stop::new()?, |effect| match effect {
        Effect::Warning(text) | Effect::GuestError(text) => eprintln!("{text}"),
        // The relay whose connection it is takes it.
        Effect::Guest(event) => _ = relays.iter().try_fold(event, |event, calls| calls.tell(event)),
        _ => {}
    })?;
    Ok(())
}
