//! The workloads: each sets up one situation, measures it for a bounded time and returns numbers.
#![forbid(unsafe_code)]

mod bad_link;
mod bulk;
mod crowd;
mod datagram;
mod idle;
mod machine;
mod transaction;

use std::path::PathBuf;
use std::time::Duration;

use crate::guest::{Counters, Shape};
use crate::peer::Peer;
use crate::rig::Rig;
use crate::stats::{Better, Metric};

/// What one run is told.
#[derive(Clone, Debug)]
pub struct Context {
    pub library: PathBuf,
    /// Measured time; setting up and warming up come on top.
    pub seconds: f64,
    pub verify: bool,
    /// Octets from one PSH to the next; `None` = 64 KiB, or four segments at an MTU of 65520.
    pub burst: Option<usize>,
    pub push_each: bool,
    /// The guest behaves as Linux does.
    pub linux: bool,
    /// Segments per acknowledgement of the guest; 0 = one per loop round.
    pub ack_every: u32,
    /// Time before the measurement; `None` = a fifth of it, from 0.1 s to 0.5 s.
    pub warm_up: Option<Duration>,
}

type Outcome = Result<Vec<Metric>, String>;

pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    pub run: fn(&Context) -> Outcome,
}

/// All workloads in the order in which they run.
pub const ALL: &[Workload] = &[
    Workload {
        name: "machine_loopback",
        about: "the machine: TCP over loopback between two threads, without a library",
        run: machine::loopback,
    },
    Workload {
        name: "machine_memcpy",
        about: "the machine: copying memory, beyond the caches and within",
        run: machine::copies,
    },
    Workload { name: "machine_wake", about: "the machine: waking a thread that sleeps", run: machine::wake_ups },
    Workload { name: "tcp_g2h_1", about: "TCP guest to host, MTU 1500, 1 stream", run: |c| bulk::upload(c, 1500, 1) },
    Workload { name: "tcp_g2h_8", about: "TCP guest to host, MTU 1500, 8 streams", run: |c| bulk::upload(c, 1500, 8) },
    Workload {
        name: "tcp_g2h_64",
        about: "TCP guest to host, MTU 1500, 64 streams",
        run: |c| bulk::upload(c, 1500, 64),
    },
    Workload { name: "tcp_g2h_65520", about: "TCP guest to host, MTU 65520", run: |c| bulk::upload(c, 65_520, 1) },
    Workload {
        name: "tcp_g2h_one_frame",
        about: "TCP guest to host, one frame per loop round as in slirp4netns",
        run: bulk::upload_one_frame,
    },
    Workload { name: "tcp_h2g_1", about: "TCP host to guest, MTU 1500, 1 stream", run: |c| bulk::download(c, 1500, 1) },
    Workload {
        name: "tcp_h2g_64",
        about: "TCP host to guest, MTU 1500, 64 streams",
        run: |c| bulk::download(c, 1500, 64),
    },
    Workload { name: "tcp_h2g_65520", about: "TCP host to guest, MTU 65520", run: |c| bulk::download(c, 65_520, 1) },
    Workload {
        name: "tcp_g2h_loss_0_1",
        about: "TCP guest to host, MTU 1500, 0.1 % of the frames lost",
        run: |c| bad_link::upload(c, 0, 0.001),
    },
    Workload {
        name: "tcp_g2h_loss_1",
        about: "TCP guest to host, MTU 1500, 1 % of the frames lost",
        run: |c| bad_link::upload(c, 0, 0.01),
    },
    Workload {
        name: "tcp_g2h_delay_25",
        about: "TCP guest to host, MTU 1500, 25 ms each way",
        run: |c| bad_link::upload(c, 25, 0.0),
    },
    Workload {
        name: "tcp_g2h_delay_50",
        about: "TCP guest to host, MTU 1500, 50 ms each way",
        run: |c| bad_link::upload(c, 50, 0.0),
    },
    Workload {
        name: "tcp_g2h_delay_25_loss_0_1",
        about: "TCP guest to host, MTU 1500, 25 ms each way and 0.1 % lost",
        run: |c| bad_link::upload(c, 25, 0.001),
    },
    Workload {
        name: "tcp_h2g_loss_0_1",
        about: "TCP host to guest, MTU 1500, 0.1 % of the frames lost",
        run: |c| bad_link::download(c, 0, 0.001),
    },
    Workload {
        name: "tcp_h2g_loss_1",
        about: "TCP host to guest, MTU 1500, 1 % of the frames lost",
        run: |c| bad_link::download(c, 0, 0.01),
    },
    Workload {
        name: "tcp_h2g_delay_25",
        about: "TCP host to guest, MTU 1500, 25 ms each way",
        run: |c| bad_link::download(c, 25, 0.0),
    },
    Workload {
        name: "tcp_h2g_delay_50",
        about: "TCP host to guest, MTU 1500, 50 ms each way",
        run: |c| bad_link::download(c, 50, 0.0),
    },
    Workload {
        name: "tcp_h2g_delay_25_loss_0_1",
        about: "TCP host to guest, MTU 1500, 25 ms each way and 0.1 % lost",
        run: |c| bad_link::download(c, 25, 0.001),
    },
    Workload {
        name: "crowd_500",
        about: "an upload alone, beside 500 downloads, and in the second after; what one call takes",
        run: |c| crowd::downloads(c, 500),
    },
    Workload {
        name: "crr_g2h",
        about: "connect, request, response, close: guest to host, one at a time",
        run: |c| transaction::crr_guest(c, 1, false),
    },
    Workload {
        name: "crr_g2h_one_cpu",
        about: "the same, peer on the same CPU",
        run: |c| transaction::crr_guest(c, 1, true),
    },
    Workload {
        name: "crr_g2h_16",
        about: "connect, request, response, close: guest to host, 16 at once",
        run: |c| transaction::crr_guest(c, 16, false),
    },
    Workload {
        name: "crr_hostfwd",
        about: "connect, request, response, close: through host forwards, 16 at once",
        run: |c| transaction::crr_forward(c, 16),
    },
    Workload {
        name: "crr_hostfwd_steady",
        about: "the same after 11 s, when what closed is forgotten as fast as it is made",
        run: |c| transaction::crr_forward_steady(c, 16),
    },
    Workload {
        name: "tcp_rr",
        about: "TCP round trips of one byte, peer on the same CPU",
        run: |c| transaction::round_trips(c, 0, true),
    },
    Workload {
        name: "tcp_rr_two_cpus",
        about: "TCP round trips of one byte, peer on another CPU",
        run: |c| transaction::round_trips(c, 0, false),
    },
    Workload {
        name: "tcp_rr_32",
        about: "32 exchanges of one byte at once, peer on the same CPU",
        run: |c| transaction::many_round_trips(c, 32, true),
    },
    Workload {
        name: "tcp_rr_32_two_cpus",
        about: "32 exchanges of one byte at once, peer on another CPU",
        run: |c| transaction::many_round_trips(c, 32, false),
    },
    Workload {
        name: "tcp_rr_16_one_frame",
        about: "16 exchanges of one byte at once in the loop of slirp4netns, peer on another CPU",
        run: |c| transaction::many_round_trips_one_frame(c, 16),
    },
    Workload { name: "ping", about: "an ARP request and an ICMP echo to the gateway", run: transaction::ping },
    Workload { name: "dhcp", about: "DISCOVER, OFFER, REQUEST and ACK", run: transaction::dhcp },
    Workload {
        name: "udp_rr",
        about: "UDP round trips of 8 octets, peer on the same CPU",
        run: |c| transaction::datagram_round_trips(c, true),
    },
    Workload {
        name: "udp_rr_two_cpus",
        about: "UDP round trips of 8 octets, peer on another CPU",
        run: |c| transaction::datagram_round_trips(c, false),
    },
    Workload { name: "udp_g2h_1472", about: "UDP guest to host, 1472 octets", run: |c| datagram::upload(c, 1472) },
    Workload { name: "udp_g2h_64", about: "UDP guest to host, 64 octets", run: |c| datagram::upload(c, 64) },
    Workload { name: "udp_h2g_1472", about: "UDP host to guest, 1472 octets", run: |c| datagram::download(c, 1472, 1) },
    Workload {
        name: "udp_h2g_1472_runs",
        about: "the same from a peer that hands its kernel 44 datagrams in one piece",
        run: |c| datagram::download(c, 1472, 44),
    },
    Workload { name: "idle_round_0", about: "a loop round without connections", run: |c| idle::rounds(c, 0) },
    Workload { name: "idle_round_1", about: "a loop round with 1 idle connection", run: |c| idle::rounds(c, 1) },
    Workload { name: "idle_round_10", about: "a loop round with 10 idle connections", run: |c| idle::rounds(c, 10) },
    Workload { name: "idle_round_100", about: "a loop round with 100 idle connections", run: |c| idle::rounds(c, 100) },
    Workload {
        name: "idle_round_1000",
        about: "a loop round with 1,000 idle connections",
        run: |c| idle::rounds(c, 1000),
    },
    Workload {
        name: "idle_round_10000",
        about: "a loop round with 10,000 idle connections",
        run: |c| idle::rounds(c, 10_000),
    },
    Workload {
        name: "idle_round_20000",
        about: "a loop round with 20,000 idle connections, or what the limit of descriptors permits",
        run: |c| idle::rounds(c, 20_000),
    },
    Workload { name: "idle_memory", about: "resident memory per idle TCP connection", run: idle::memory },
    Workload {
        name: "stalled_h2g",
        about: "resident memory per TCP connection on which the host sends and the guest does not read",
        run: |c| idle::stalled(c, false),
    },
    Workload {
        name: "stalled_g2h",
        about: "resident memory per TCP connection on which the guest sends and the host does not read",
        run: |c| idle::stalled(c, true),
    },
    Workload {
        name: "rr_with_1000_idle",
        about: "TCP round trips beside 1,000 idle connections, peer on the same CPU",
        run: |c| transaction::round_trips(c, 1000, true),
    },
    Workload {
        name: "rr_with_10000_idle",
        about: "TCP round trips beside 10,000 idle connections, peer on the same CPU",
        run: |c| transaction::round_trips(c, 10_000, true),
    },
    Workload {
        name: "tcp_h2g_with_1000_idle",
        about: "TCP host to guest beside 1,000 idle connections",
        run: |c| bulk::download_beside(c, 1000),
    },
    Workload {
        name: "tcp_h2g_with_10000_idle",
        about: "TCP host to guest beside 10,000 idle connections",
        run: |c| bulk::download_beside(c, 10_000),
    },
];

impl Context {
    fn shape(&self, mtu: usize) -> Shape {
        let segment = mtu - 40;
        let bytes = self.burst.unwrap_or(if segment > 16_384 { 4 * segment } else { 65_536 });
        Shape {
            mtu,
            burst: (bytes / segment).max(1) as u32,
            push_each: self.push_each,
            ack_every: self.ack_every,
            verify: self.verify,
            impairment: None,
        }
    }

    /// An instance of the library with such a guest.
    fn rig(&self, shape: Shape, capacity: usize) -> Result<Rig, String> {
        let rig = Rig::new(&self.library, shape, capacity)?;
        if self.linux {
            rig.guest.borrow_mut().imitate_linux();
        }
        Ok(rig)
    }

    fn measured(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn warm_up(&self) -> Duration {
        self.warm_up.unwrap_or(Duration::from_secs_f64((self.seconds * 0.2).clamp(0.1, 0.5)))
    }
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

/// Refuse a run in which bytes or checksums were wrong, and add what else went wrong as plain numbers.
fn soundness(rig: &Rig, before: Counters, peer: Option<&Peer>, metrics: &mut Vec<Metric>) -> Result<(), String> {
    let now = rig.guest.borrow().counters;
    let peer_corrupt = peer.map_or(0, |p| p.counters.corrupt.load(std::sync::atomic::Ordering::Relaxed));
    if now.corrupt + peer_corrupt > 0 {
        return Err(format!(
            "verification failed: {} frames at the guest, {peer_corrupt} reads at the host",
            now.corrupt
        ));
    }
    for (name, count) in [
        ("retransmitted", now.retransmitted - before.retransmitted),
        ("resets", now.resets - before.resets),
        ("gaps", now.gaps - before.gaps),
        ("duplicates", now.duplicates - before.duplicates),
        ("stuck", now.stuck - before.stuck),
    ] {
        if count > 0 {
            metrics.push(Metric::new(name, "", Better::Neither, count as f64));
        }
    }
    Ok(())
}
