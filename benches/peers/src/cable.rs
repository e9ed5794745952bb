//! The guest's end of the network: the guest of `benches/throughput`, its link, and what is asked of it while it runs. The
//! stacks take its packets one by one and hand theirs over; nothing here knows which stack that is.

use std::time::Duration;

use crate::guest::{Guest, Shape, Transmit};
use crate::sys;
use crate::wire::{self, ETHERNET};

/// After this long without anything from the stack the guest retransmits or probes.
const STALL: i64 = 200_000_000;

/// Is asked after whatever reached the guest; true ends the run.
pub type Hook = Box<dyn FnMut(&mut Guest) -> bool + Send>;

/// What a packet lies in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    Ethernet,
    Ip,
}

pub struct Cable {
    pub guest: Guest,
    medium: Medium,
    transmit: Transmit,
    /// Packets that go onto the link before one is looked for at its other end.
    at_once: u32,
    /// The frame that came off the link last.
    current: Vec<u8>,
    hook: Option<Hook>,
    done: bool,
    seen_progress: u64,
    stalled_since: i64,
}

impl Cable {
    pub fn new(shape: Shape, capacity: usize, medium: Medium) -> Cable {
        let mut guest = Guest::new(shape, capacity);
        if medium == Medium::Ethernet {
            guest.announce();
        }
        let transmit = guest.transmit();
        Cable {
            guest,
            medium,
            transmit,
            at_once: shape.burst.max(64),
            current: Vec::new(),
            hook: None,
            done: false,
            seen_progress: 0,
            stalled_since: sys::monotonic_ns(),
        }
    }

    /// Whom to ask from now on, and at once: what it waits for may be there already.
    pub fn watch(&mut self, hook: Hook) {
        (self.hook, self.done) = (Some(hook), false);
        self.ask();
    }

    /// Nobody is asked any more; whether the hook ended the run.
    pub fn unwatch(&mut self) -> bool {
        self.hook = None;
        std::mem::take(&mut self.done)
    }

    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Packets get lost from now on, if the link is one that loses any.
    pub fn begin_losing(&mut self) {
        if let Some(link) = &mut self.guest.link {
            link.lossy = true;
        }
    }

    /// The next packet for the stack, in its medium.
    pub fn next(&mut self) -> Option<&[u8]> {
        if self.guest.link.is_none() {
            let slot = self.guest.next_frame(&mut self.transmit)?;
            return Some(strip(self.medium, self.transmit.frame(&slot)));
        }
        let now = sys::monotonic_ns();
        self.deliver(now);
        for _ in 0..self.at_once {
            let Some(slot) = self.guest.next_frame(&mut self.transmit) else { break };
            if let Some(link) = &mut self.guest.link {
                link.push(true, self.transmit.frame(&slot), now);
            }
        }
        let link = self.guest.link.as_mut()?;
        let frame = link.pop(true, now)?;
        let used = std::mem::replace(&mut self.current, frame);
        link.recycle(true, used);
        Some(strip(self.medium, &self.current))
    }

    /// Whether there is a packet for the stack now, or one that may go onto the link.
    pub fn has_next(&self) -> bool {
        let due = self.guest.link.as_ref().and_then(|link| link.next_due());
        self.guest.has_frame() || due.is_some_and(|due| due <= sys::monotonic_ns())
    }

    /// A packet from the stack.
    pub fn arrive(&mut self, packet: &[u8]) {
        match &mut self.guest.link {
            Some(link) => {
                let now = sys::monotonic_ns();
                link.push(false, packet, now);
                self.deliver(now);
            }
            None => {
                receive(&mut self.guest, self.medium, packet);
                self.ask();
            }
        }
    }

    /// What the link has brought to the guest by now, and whether its patience has ended. Gives the time of
    /// [`sys::monotonic_ns`] at which there is more to do.
    pub fn tick(&mut self) -> i64 {
        let now = sys::monotonic_ns();
        self.deliver(now);
        if self.guest.progress != self.seen_progress {
            (self.seen_progress, self.stalled_since) = (self.guest.progress, now);
        }
        if now - self.stalled_since >= STALL {
            self.guest.on_stall();
            self.stalled_since = now;
        }
        let stall = self.stalled_since + STALL;
        self.next_due().map_or(stall, |due| due.min(stall))
    }

    /// When the next packet comes off the link.
    pub fn next_due(&self) -> Option<i64> {
        self.guest.link.as_ref().and_then(|link| link.next_due())
    }

    fn deliver(&mut self, now: i64) {
        let mut any = false;
        while let Some(packet) = self.guest.link.as_mut().and_then(|link| link.pop(false, now)) {
            receive(&mut self.guest, self.medium, &packet);
            any = true;
            if let Some(link) = &mut self.guest.link {
                link.recycle(false, packet);
            }
        }
        if any {
            self.ask();
        }
    }

    /// After whatever reached the guest.
    fn ask(&mut self) {
        if !self.done
            && let Some(hook) = &mut self.hook
        {
            self.done = hook(&mut self.guest);
        }
    }
}

fn receive(guest: &mut Guest, medium: Medium, packet: &[u8]) {
    match medium {
        Medium::Ethernet => guest.receive(packet),
        Medium::Ip => guest.receive_packet(packet),
    }
}

/// Only IPv4 goes to a stack that has no Ethernet, which is all that this guest sends there.
fn strip(medium: Medium, frame: &[u8]) -> &[u8] {
    match medium {
        Medium::Ethernet => frame,
        Medium::Ip => frame.get(ETHERNET..).unwrap_or_default(),
    }
}

/// The guest by itself: nanoseconds for each full segment that it sends, and for each that it receives (with the
/// acknowledgments that go with them).
pub fn guest_alone(shape: Shape) -> (f64, f64) {
    use crate::guest::{Role, Slot};
    use crate::wire::{ACK, Header, SYN, Template};
    const SEGMENTS: u64 = 1 << 20;
    let cell = shape.mtu as u64 - 40;
    let window = 8192;
    let measure = |role: Role| {
        let mut guest = Guest::new(shape, 1);
        let mut transmit = guest.transmit();
        guest.connect(80, role);
        let Some(Slot::Small) = guest.next_frame(&mut transmit) else { return f64::NAN };
        let syn = transmit.frame(&Slot::Small).to_vec();
        let (local, iss) = (wire::get16(&syn, ETHERNET + 20), wire::get32(&syn, ETHERNET + 24));
        let header = |seq, ack, flags| Header { src: 80, dst: local, seq, ack, flags, window };
        let mut small = Vec::new();
        wire::tcp_frame(&mut small, &header(1000, iss.wrapping_add(1), SYN | ACK), &[3, 3, 7, 0], &[]);
        guest.receive(&small);
        let mut template = Template::tcp(cell as usize);
        let started = sys::thread_cpu_ns();
        let mut done = 0;
        while done < SEGMENTS {
            let mut sent = 0;
            while sent < 64
                && let Some(slot) = guest.next_frame(&mut transmit)
            {
                sent += u64::from(matches!(slot, Slot::Bulk));
            }
            if role == Role::Sender && sent == 0 {
                return f64::NAN;
            }
            if role == Role::Sender {
                done += sent;
                let ack = iss.wrapping_add(1).wrapping_add((done * cell) as u32);
                wire::tcp_frame(&mut small, &header(1001, ack, ACK), &[], &[]);
                guest.receive(&small);
            } else {
                for _ in 0..64 {
                    let seq = 1001u32.wrapping_add((done * cell) as u32);
                    guest.receive(template.fill_tcp(&header(seq, iss.wrapping_add(1), ACK), done));
                    done += 1;
                }
            }
        }
        (sys::thread_cpu_ns() - started) as f64 / done as f64
    };
    (measure(Role::Sender), measure(Role::Receiver))
}

/// Until a time of [`sys::monotonic_ns`].
pub fn until(at: i64) -> Duration {
    Duration::from_nanos(u64::try_from(at - sys::monotonic_ns()).unwrap_or(0))
}
