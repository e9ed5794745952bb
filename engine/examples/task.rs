//! A stack as a task of tokio, beside others: one is its guest, one has the stack's handle.
//!
//!     cargo run --release --features tokio --example task

use std::error::Error;
use std::io;
use std::os::unix::net::UnixDatagram as Socket;
use std::time::Duration;

use oxislirp::drive::{AsyncDriver, DatagramLink};
use oxislirp::{Config, HostForward, Stack};
use tokio::net::UnixDatagram;
use tokio::time::timeout;

const QUESTIONS: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    // It needs input and output, and timers.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { timeout(PATIENCE, everything()).await? })
}

async fn everything() -> Result<(), Box<dyn Error>> {
    let (cable, guests_end) = Socket::pair()?;
    guests_end.set_nonblocking(true)?;
    let mut driver = AsyncDriver::new(Stack::new(Config::default())?, DatagramLink::new(cable)?)?;
    let handle = driver.handle();
    let network = tokio::spawn(async move { driver.run(|effect| println!("{effect:?}")).await });
    let guest = tokio::spawn(ask(UnixDatagram::from_std(guests_end)?));

    // A forward that is added while the network runs: port 80 of the guest, on a port of this machine that is free.
    let forward = HostForward::tcp(([127, 0, 0, 1], 0), ([10, 0, 2, 15], 80));
    let forward = handle.with(|stack, _| stack.add_host_forward(forward))??;
    println!("ok forward: {:?}", forward.bound());
    handle.with(|stack, _| stack.remove_host_forward(forward))??;

    println!("ok: {} answers", guest.await??);
    // It may be ended wherever it sleeps.
    network.abort();
    let Err(ended) = network.await else { return Err("the loop ended by itself".into()) };
    if !ended.is_cancelled() {
        return Err(ended.into());
    }
    println!("Everything works.");
    Ok(())
}

/// The guest asks for the hardware address of its router, over and over.
async fn ask(cable: UnixDatagram) -> io::Result<usize> {
    for _ in 0..QUESTIONS {
        cable.send(&question()).await?;
        cable.recv(&mut [0; 1514]).await?;
    }
    Ok(QUESTIONS)
}

/// "Who has 10.0.2.2?" (RFC 826)
fn question() -> Vec<u8> {
    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    [&[0xff; 6][..], &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &MAC, &[10, 0, 2, 15], &[0; 6], &[10, 0, 2, 2]].concat()
}
