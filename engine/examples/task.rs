//! A stack as a task of tokio, beside others: one is its guest, one has the stack's handle.
//!
//!     cargo run --release --features tokio --example task

use std::error::Error;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use oxislirp::drive::{AsyncDriver, DriveError, FrameLink, MemoryLink};
use oxislirp::{Config, HostForward, Stack};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

const QUESTIONS: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    // It needs input and output, and timers.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { timeout(PATIENCE, everything()).await? })
}

async fn everything() -> Result<(), Box<dyn Error>> {
    let (link, guests_end) = MemoryLink::pair()?;
    let mut driver = AsyncDriver::new(Stack::new(Config::default())?, link)?;
    let handle = driver.handle();
    let network = tokio::spawn(async move {
        let ended = driver.run(|effect| println!("{effect:?}")).await;
        (ended, driver.counts())
    });
    let guest = tokio::spawn(ask(guests_end));

    // A forward that is added while the network runs: port 80 of the guest, on a port of this machine that is free.
    let forward = HostForward::tcp(([127, 0, 0, 1], 0), ([10, 0, 2, 15], 80));
    let forward = handle.with(|stack, _| stack.add_host_forward(forward))??;
    println!("ok forward: {:?}", forward.bound());
    handle.with(|stack, _| stack.remove_host_forward(forward))??;

    let answers = guest.await??;
    // The guest has gone, and with it the link.
    let (Err(ended), counts) = network.await?;
    println!("ok: {answers} answers; {ended}; {counts:?}");
    if !matches!(ended, DriveError::GuestGone(_)) {
        return Err(ended.into());
    }
    println!("Everything works.");
    Ok(())
}

/// The guest asks for the hardware address of its router, over and over.
async fn ask(mut link: MemoryLink) -> io::Result<usize> {
    let readable = AsyncFd::new(link.as_fd().try_clone_to_owned()?)?;
    let mut buffer = [0; 1514];
    for _ in 0..QUESTIONS {
        link.send(&question())?;
        while let Err(error) = link.receive(&mut buffer) {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error);
            }
            readable.readable().await?.clear_ready();
        }
    }
    Ok(QUESTIONS)
}

/// "Who has 10.0.2.2?" (RFC 826)
fn question() -> Vec<u8> {
    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    [&[0xff; 6][..], &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &MAC, &[10, 0, 2, 15], &[0; 6], &[10, 0, 2, 2]].concat()
}
