//! Goodput of the TCP towards the guest over a link that loses segments, in virtual time: one connection of ours sends to
//! another. Prints the table of docs/conformance.md.
//!
//! `cargo run --release --example tcp_goodput`

use std::collections::VecDeque;

use oxislirp::internals::tcp::{Config, Connection, Pool, Segment, SeqNumber, Transmit};
use oxislirp::internals::time::{Duration, Instant};

/// Bits per second of the link in the direction of the data, and its queue in bytes.
const RATE: u64 = 1_000_000_000;
const QUEUE: u64 = 4 << 20;
/// Virtual time of one run.
const SECONDS: i64 = 20;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

struct Flying {
    at: Instant,
    segment: Transmit,
    payload: Vec<u8>,
}

fn deliver(connection: &mut Connection, flying: &Flying, now: Instant, pool: &mut Pool) {
    let Transmit { seq, ack, flags, window, urgent, options, .. } = flying.segment;
    let segment = Segment { seq, ack, flags, window, urgent, options, payload: &flying.payload };
    connection.on_segment(&segment, now, pool);
}

/// Bytes per second that arrive. `loss` is in segments of ten thousand.
fn goodput(config: &Config, loss: u64, delay: Duration) -> f64 {
    let mut random = Random(88172645463325252);
    let mut now = Instant::from_secs(1);
    let end = now + Duration::from_secs(SECONDS as u64);
    let (mut pool, mut peer_pool) = (Pool::new(), Pool::new());
    let mut sender = Connection::active(config, SeqNumber(1), now);
    let mut receiver: Option<Connection> = None;
    let (mut there, mut back): (VecDeque<Flying>, VecDeque<Flying>) = Default::default();
    let mut free_at = now;
    let mut arrived = 0u64;
    let data = vec![0; 1 << 20];
    while now < end {
        if sender.is_established() {
            let room = sender.send_room().min(data.len());
            let limit = sender.send_limit();
            sender.send_mut().push(data.get(..room).unwrap_or_default(), limit, &mut pool);
        }
        while let Some(segment) = sender.poll_transmit(now) {
            let (first, second) = sender.send().slices(segment.offset, segment.len);
            let payload = [first, second].concat();
            free_at = free_at.max(now);
            let waiting = (free_at - now).total_micros() * RATE / 8_000_000;
            if random.next() % 10_000 < loss || waiting > QUEUE {
                continue;
            }
            free_at += Duration::from_micros((payload.len() as u64 + 66) * 8_000_000 / RATE + 1);
            there.push_back(Flying { at: free_at + delay, segment, payload });
        }
        if let Some(receiver) = &mut receiver {
            arrived += receiver.recv().len() as u64;
            receiver.consume_received(receiver.recv().len(), &mut peer_pool);
            receiver.flush_ack();
            while let Some(segment) = receiver.poll_transmit(now) {
                if random.next() % 10_000 >= loss {
                    back.push_back(Flying { at: now + delay, segment, payload: Vec::new() });
                }
            }
        }
        let deadline = receiver.as_ref().and_then(Connection::deadline);
        let next = [there.front().map(|f| f.at), back.front().map(|f| f.at), sender.deadline(), deadline];
        let Some(next) = next.into_iter().flatten().min() else { break };
        now = now.max(next);
        while there.front().is_some_and(|flying| flying.at <= now) {
            let Some(flying) = there.pop_front() else { break };
            match &mut receiver {
                Some(receiver) => deliver(receiver, &flying, now, &mut peer_pool),
                None => {
                    let Transmit { seq, ack, flags, window, urgent, options, .. } = flying.segment;
                    let syn = Segment { seq, ack, flags, window, urgent, options, payload: &[] };
                    let mut new = Connection::passive(config, &syn, SeqNumber(9), now, &mut peer_pool);
                    new.accept(now);
                    receiver = Some(new);
                }
            }
        }
        while back.front().is_some_and(|flying| flying.at <= now) {
            let Some(flying) = back.pop_front() else { break };
            deliver(&mut sender, &flying, now, &mut pool);
        }
        if sender.deadline().is_some_and(|at| at <= now) {
            sender.on_deadline(now);
        }
        if let Some(receiver) = &mut receiver
            && receiver.deadline().is_some_and(|at| at <= now)
        {
            receiver.on_deadline(now);
        }
    }
    arrived as f64 / SECONDS as f64
}

fn main() {
    // As the stack has it at an MTU of 1500.
    let (limit, grown) = (512 * 1460, 65_535 << 9);
    println!("Mbit/s of goodput, one connection, MSS 1460, link of 1 Gbit/s, windows from {} KiB on", limit / 1024);
    println!("| delay each way | options | 0 % | 0.1 % | 1 % | 3 % | 10 % |");
    println!("|---|---|---|---|---|---|---|");
    for delay in [100, 1000, 10_000, 50_000] {
        for (name, modern) in [("SACK, timestamps", true), ("neither", false)] {
            let config = Config {
                mss: 1460,
                recv_limit: limit,
                send_limit: limit,
                recv_max: grown,
                send_max: grown,
                sack: modern,
                timestamps: modern,
                ..Config::default()
            };
            print!("| {} ms | {name} |", delay as f64 / 1000.0);
            for loss in [0, 10, 100, 300, 1000] {
                print!(" {:.1} |", goodput(&config, loss, Duration::from_micros(delay)) * 8.0 / 1e6);
            }
            println!();
        }
    }
}
