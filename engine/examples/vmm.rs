//! The shape of a virtual machine monitor: a virtual CPU in one thread, the device of its network card in another one.
//!
//! The card has two rings, as virtio-net has: the guest puts frames into the one and takes them out of the other. A ring holds so many
//! frames and no more. The guest kicks the device when it fills an empty ring or makes room in a full one, the device interrupts
//! the guest when it fills an empty one. The device thread is a [`Driver`] on these rings; it is all that a monitor needs.
//!
//! What comes by another way, as from a card whose every access is an exit of the virtual CPU, is handed in from that CPU's thread
//! ([`StackHandle::input`](oxislirp::drive::StackHandle::input)): the device thread, asleep, is woken for it.
//!
//! The guest here is only a few lines that ask for the hardware address of their router, over and over.
//!
//!     cargo run --release --example vmm

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use oxislirp::drive::{Driver, FrameLink, Stop};
use oxislirp::{Config, Stack};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Frames that a ring holds.
const SLOTS: usize = 256;
/// Questions one by one, and in one burst.
const QUESTIONS: usize = 1_000;
const BURST: usize = 20_000;
/// Longer than this nobody is to wait: the device thread, asleep with nothing to do, wakes after a second by itself.
const PATIENCE: Duration = Duration::from_millis(500);

type Queue = Mutex<VecDeque<Vec<u8>>>;

/// What guest and device share.
struct Card {
    to_host: Queue,
    to_guest: Queue,
    /// The guest has done something for the device to see.
    kick: OwnedFd,
    /// The device has done something for the guest to see.
    interrupt: OwnedFd,
}

fn lock(queue: &Queue) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ring(bell: &OwnedFd) -> io::Result<()> {
    rustix::io::write(bell, &1_u64.to_ne_bytes())?;
    Ok(())
}

fn silence(bell: &OwnedFd) {
    // It may be silent already.
    let _ = rustix::io::read(bell, &mut [0_u8; 8]);
}

/// The guest's side.
impl Card {
    fn new() -> io::Result<Arc<Card>> {
        let bell = || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        Ok(Arc::new(Card { to_host: Queue::default(), to_guest: Queue::default(), kick: bell()?, interrupt: bell()? }))
    }

    /// False when the ring is full.
    fn transmit(&self, frame: &[u8]) -> io::Result<bool> {
        let mut frames = lock(&self.to_host);
        if frames.len() == SLOTS {
            return Ok(false);
        }
        frames.push_back(frame.to_vec());
        if frames.len() == 1 {
            ring(&self.kick)?;
        }
        Ok(true)
    }

    fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        let mut frames = lock(&self.to_guest);
        if frames.len() == SLOTS {
            ring(&self.kick)?;
        }
        if frames.is_empty() {
            silence(&self.interrupt);
        }
        Ok(frames.pop_front())
    }

    /// Sleeps until there is a frame, as a guest's processor that is halted.
    fn wait(&self) -> Result<Vec<u8>, Box<dyn Error>> {
        loop {
            if let Some(frame) = self.receive()? {
                return Ok(frame);
            }
            let patience = Timespec::try_from(PATIENCE)?;
            if poll(&mut [PollFd::new(&self.interrupt, PollFlags::IN)], Some(&patience))? == 0 {
                return Err("no answer".into());
            }
        }
    }
}

/// The device's side.
struct Device(Arc<Card>);

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.kick.as_fd()
    }
}

impl FrameLink for Device {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut frames = lock(&self.0.to_host);
        let Some(frame) = frames.pop_front() else {
            silence(&self.0.kick);
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let length = frame.len().min(buffer.len());
        buffer.iter_mut().zip(&frame).for_each(|(to, from)| *to = *from);
        Ok(length)
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let mut frames = lock(&self.0.to_guest);
        if frames.len() == SLOTS {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        frames.push_back(frame.to_vec());
        if frames.len() == 1 {
            ring(&self.0.interrupt)?;
        }
        Ok(())
    }

    /// The kick tells of room as well.
    fn room_is_writable(&self) -> bool {
        false
    }
}

/// "Who has 10.0.2.2?" (RFC 826)
fn question() -> Vec<u8> {
    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    [&[0xff; 6][..], &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &MAC, &[10, 0, 2, 15], &[0; 6], &[10, 0, 2, 2]].concat()
}

fn is_answer(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 6]) && frame.get(20..22) == Some(&[0, 2])
}

/// Asks by `ask` many times, and says how long that took.
fn ask_often(what: &str, card: &Card, ask: impl Fn() -> io::Result<()>) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..QUESTIONS {
        let asked = Instant::now();
        ask()?;
        while !is_answer(&card.wait()?) {}
        times.push(asked.elapsed());
    }
    times.sort();
    let [median, longest] = [times.get(QUESTIONS / 2), times.last()].map(|time| time.copied().unwrap_or_default());
    println!("ok {what}: an answer after {median:?}, at worst {longest:?}");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let card = Card::new()?;
    let mut driver = Driver::new(Stack::new(Config::default())?, Device(Arc::clone(&card)))?;
    let (stack, stop) = (driver.handle(), Stop::new()?);
    let device = thread::spawn({
        let stop = stop.clone();
        move || driver.run(&stop, drop).map(|()| driver.counts())
    });

    ask_often("by the ring", &card, || card.transmit(&question()).map(drop))?;
    ask_often("by an exit", &card, || stack.input(&question()).map_err(io::Error::other))?;
    let (mut asked, mut answered) = (0, 0);
    while answered < BURST {
        while asked < BURST && card.transmit(&question())? {
            asked += 1;
        }
        answered += usize::from(is_answer(&card.wait()?));
    }
    stop.stop();
    let counts = device.join().map_err(|_| "the device thread panicked")??;
    println!("ok in a burst: {BURST} of {BURST}; {counts:?}");
    println!("Everything works.");
    Ok(())
}
