//! What comes out of a stack, one thing after the other, for a program that owns it. (The C library takes frames and effects
//! out in bulk, as it hands them over outside its lock; it takes the same turns.)

use std::collections::VecDeque;
use std::time::Duration;

use super::Stack;
use crate::flow::Effect;
use crate::host::sleeps::switches_of_this_thread;
use crate::link::handover::handing::Handing;
use crate::link::handover::trust::Switches;
use crate::time::Instant;

/// The sleep that a program means to have, which is as long as it is let, in milliseconds.
const AS_LONG_AS_MAY_BE: u32 = u32::MAX;

/// Something that a [`Stack`] has made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output<'a> {
    /// An Ethernet frame for the guest, without frame check sequence. A program that cannot pass it on drops it, as a network
    /// may.
    Frame(&'a [u8]),
    /// Something to be told or done.
    Effect(Effect),
    /// There is nothing more. The program may sleep for so long, which is at most a second: until a frame of the guest comes, or
    /// the stack's descriptor is readable. Then it calls [`Stack::handle_events`].
    Timeout(Duration),
}

/// What was taken out of the engine and is not with the program yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    handing: Handing,
    effects: VecDeque<Effect>,
    /// How many of the frames in hand the program has.
    given: usize,
    /// They were taken out and [`Stack::handed_over`] is to be told.
    in_hand: bool,
    /// What was counted for the thread before it got them, where it is watched.
    before: Option<Switches>,
    /// How long the program may sleep, when it has not been told.
    sleep: Option<u32>,
}

impl Stack {
    /// What the stack has made since it was last asked, one thing at a time, down to [`Output::Timeout`].
    ///
    /// It also does what is left to do in this round, in turns, and then prepares the sleep. A program asks until it is told to
    /// sleep; one that calls it once more without [`Stack::handle_events`] begins a new round with it.
    pub fn poll_output(&mut self, now: Instant) -> Output<'_> {
        loop {
            if let Some(effect) = self.output.effects.pop_front() {
                return Output::Effect(effect);
            }
            if self.output.given < self.output.handing.count() {
                let index = self.output.given;
                self.output.given += 1;
                return Output::Frame(self.output.handing.frame(index).unwrap_or_default());
            }
            self.set_down();
            if self.take_up() {
                continue;
            }
            if let Some(sleep) = self.output.sleep.take() {
                return Output::Timeout(Duration::from_millis(sleep.into()));
            }
            self.set_now(now);
            if self.is_in_round() {
                self.take_turns();
            } else {
                self.output.sleep = self.prepare_sleep(AS_LONG_AS_MAY_BE, now);
            }
        }
    }

    /// There is something new: a sleep that was prepared, and that the program does not know of, may be too long.
    pub(super) fn forget_sleep(&mut self) {
        self.output.sleep = None;
    }

    /// What was in hand is with the program.
    fn set_down(&mut self) {
        if !std::mem::take(&mut self.output.in_hand) {
            return;
        }
        let before = self.output.before.take();
        let switches = before.and_then(|before| Some(switches_of_this_thread()?.since(before)));
        let mut handing = std::mem::take(&mut self.output.handing);
        self.handed_over(&mut handing, switches);
        self.output.handing = handing;
        self.output.given = 0;
    }

    /// Takes out what there is. False when there is nothing.
    fn take_up(&mut self) -> bool {
        let mut handing = std::mem::take(&mut self.output.handing);
        let frames = self.hand_over(&mut handing);
        if frames && handing.is_watched() {
            self.output.before = switches_of_this_thread();
        }
        self.output.handing = handing;
        self.output.effects.extend(self.cx.effects.drain(..));
        self.output.in_hand = frames || !self.output.effects.is_empty();
        self.output.in_hand
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Caller, Config, Effect, Glance};
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Duration;

    const GUEST: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const SECOND: Duration = Duration::from_secs(1);

    fn stack() -> Stack {
        Stack::new(Config::default()).unwrap()
    }

    /// The guest asks for its router's hardware address.
    fn arp_request() -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend_from_slice(&GUEST);
        frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend_from_slice(&GUEST);
        frame.extend_from_slice(&[10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
        frame
    }

    /// Everything up to the sleep: frames, effects, and how long that may be.
    fn all(stack: &mut Stack, now: Instant) -> (Vec<Vec<u8>>, Vec<Effect>, Duration) {
        let (mut frames, mut effects) = (Vec::new(), Vec::new());
        for _ in 0..100_000 {
            match stack.poll_output(now) {
                Output::Frame(frame) => frames.push(frame.to_vec()),
                Output::Effect(effect) => effects.push(effect),
                Output::Timeout(sleep) => return (frames, effects, sleep),
            }
        }
        panic!("there is no end of it");
    }

    #[test]
    fn a_stack_with_nothing_to_do_sleeps() {
        let mut stack = stack();
        for seconds in 0..10 {
            let now = Instant::from_secs(seconds);
            let (frames, effects, sleep) = all(&mut stack, now);
            assert!(frames.is_empty() && effects.is_empty());
            assert_eq!(sleep, SECOND);
            stack.handle_events(Glance::Quiet, now);
        }
    }

    #[test]
    fn the_answer_to_a_frame_comes_out_whether_or_not_a_round_was_begun() {
        for begun in [true, false] {
            let mut stack = stack();
            let now = Instant::from_secs(1);
            all(&mut stack, now);
            stack.input(&arp_request(), Caller::Loop, now);
            if begun {
                stack.handle_events(Glance::Quiet, now);
            }
            let (frames, _, _) = all(&mut stack, now);
            assert_eq!(frames.len(), 1);
            assert_eq!(frames[0][..6], GUEST);
            assert!(all(&mut stack, now).0.is_empty(), "it comes once");
        }
    }

    #[test]
    fn each_frame_of_a_batch_comes_out_once_and_in_order() {
        let mut stack = stack();
        let now = Instant::from_secs(1);
        for guest in 1..=100 {
            let mut request = arp_request();
            request[11] = guest;
            request[27] = guest;
            stack.input(&request, Caller::Loop, now);
        }
        let (frames, _, _) = all(&mut stack, now);
        let seen: Vec<u8> = frames.iter().map(|frame| frame[5]).collect();
        assert_eq!(seen, (1..=100).collect::<Vec<u8>>());
    }

    #[test]
    fn a_frame_that_comes_before_the_program_has_heard_of_its_sleep_makes_that_new() {
        let mut stack = stack();
        let now = Instant::from_secs(1);
        all(&mut stack, now);
        stack.input(&arp_request(), Caller::Loop, now);
        assert!(matches!(stack.poll_output(now), Output::Frame(_)));
        stack.input(&arp_request(), Caller::Loop, now);
        let (frames, _, _) = all(&mut stack, now);
        assert_eq!(frames.len(), 1);
    }

    #[test]
    fn routers_are_advertised_without_being_asked() {
        let mut stack = Stack::new(Config::builder().ipv6(true).build().unwrap()).unwrap();
        let mut advertised = Vec::new();
        for second in 0..3_600 {
            let now = Instant::from_secs(second);
            stack.handle_events(Glance::Quiet, now);
            let (frames, effects, _) = all(&mut stack, now);
            assert!(effects.is_empty(), "{effects:?}");
            // The type of an ICMPv6 message behind Ethernet and IPv6.
            advertised.extend(frames.iter().filter(|frame| frame[54] == 134).map(|_| second));
        }
        let mut before = 0;
        for at in &advertised {
            assert!((200..=601).contains(&(at - before)), "{advertised:?}");
            before = *at;
        }
        assert!(advertised.len() >= 5);
    }

    #[test]
    fn a_network_without_ipv6_has_no_router_to_advertise() {
        let mut stack = stack();
        for second in 0..1_300 {
            assert!(all(&mut stack, Instant::from_secs(second)).0.is_empty());
            stack.handle_events(Glance::Quiet, Instant::from_secs(second));
        }
    }

    /// A guest's connection to a listener on this machine, opened by hand; gives the sequence number of the guest's next byte
    /// and the number that acknowledges the stack's SYN.
    fn connect(stack: &mut Stack, port: u16, now: Instant) -> (u32, u32) {
        stack.input(&arp_request(), Caller::Loop, now);
        stack.input(&segment(port, 1000, 0, 0x02, &[]), Caller::Loop, now);
        // The connection to loopback is there at once, or in one of the next rounds.
        for _ in 0..10_000 {
            stack.handle_events(Glance::Unknown, now);
            for frame in all(stack, now).0 {
                if frame.get(47).is_some_and(|flags| flags & 0x12 == 0x12) {
                    let theirs = u32::from_be_bytes(frame[38..42].try_into().unwrap());
                    stack.input(&segment(port, 1001, theirs.wrapping_add(1), 0x10, &[]), Caller::Loop, now);
                    return (1001, theirs.wrapping_add(1));
                }
            }
        }
        panic!("no connection");
    }

    fn segment(port: u16, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        use crate::wire::checksum::Checksum;
        let (source, destination) = ([10, 0, 2, 15].into(), [10, 0, 2, 2].into());
        let mut tcp = Vec::new();
        tcp.extend_from_slice(&4000u16.to_be_bytes());
        tcp.extend_from_slice(&port.to_be_bytes());
        tcp.extend_from_slice(&seq.to_be_bytes());
        tcp.extend_from_slice(&ack.to_be_bytes());
        tcp.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend_from_slice(payload);
        let mut sum = Checksum::pseudo_ipv4(source, destination, 6, tcp.len() as u16);
        sum.add(&tcp);
        let sum = sum.finish();
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut ip = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0];
        ip[2..4].copy_from_slice(&(20 + tcp.len() as u16).to_be_bytes());
        ip.extend_from_slice(&source.octets());
        ip.extend_from_slice(&destination.octets());
        let mut sum = Checksum::default();
        sum.add(&ip);
        let sum = sum.finish();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut frame = vec![0x52, 0x55, 10, 0, 2, 2];
        frame.extend_from_slice(&GUEST);
        frame.extend_from_slice(&[8, 0]);
        frame.extend(ip);
        frame.extend(tcp);
        frame
    }

    #[test]
    fn bytes_from_elsewhere_do_not_wait_for_a_loop_that_sleeps() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let now = Instant::from_secs(1);
        for caller in [Caller::Loop, Caller::Elsewhere] {
            let mut stack = stack();
            let (seq, ack) = connect(&mut stack, listener.local_addr().unwrap().port(), now);
            let (mut peer, _) = listener.accept().unwrap();
            stack.handle_events(Glance::Unknown, now);
            all(&mut stack, now);
            // A full segment without PSH: it may wait for others.
            stack.input(&segment(listener.local_addr().unwrap().port(), seq, ack, 0x10, &[7; 1460]), caller, now);
            let told = stack.effects().iter().any(|effect| matches!(effect, Effect::Notify));
            assert_eq!(told, caller == Caller::Elsewhere);
            // The round that follows sees a frame, after which another may come: it is not to sleep. The next one sees none.
            let (_, _, sleep) = all(&mut stack, now);
            if caller == Caller::Loop {
                assert_eq!(sleep, Duration::ZERO);
            }
            stack.handle_events(Glance::Quiet, now);
            all(&mut stack, now);
            peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut bytes = [0; 1460];
            peer.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, [7; 1460]);
        }
    }

    /// Nobody takes anything out.
    #[test]
    fn frames_are_refused_while_too_much_waits_and_taken_again_afterwards() {
        let mut stack = stack();
        let now = Instant::from_secs(1);
        for _ in 0..100_000 {
            stack.input(&arp_request(), Caller::Loop, now);
        }
        assert!(stack.outbox().bytes() <= 8 << 20);
        let waiting = all(&mut stack, now).0.len() as u64;
        assert_eq!((waiting, waiting + stack.refused_frames()), (32_768, 100_000));
        stack.input(&arp_request(), Caller::Loop, now);
        assert_eq!(all(&mut stack, now).0.len(), 1);
    }

    #[test]
    fn frames_from_elsewhere_leave_room_for_those_of_the_loop() {
        let mut stack = stack();
        let now = Instant::from_secs(1);
        for _ in 0..10_000 {
            stack.input(&arp_request(), Caller::Elsewhere, now);
        }
        assert_eq!(stack.refused_frames(), 10_000 - 4_096);
        stack.input(&arp_request(), Caller::Loop, now);
        assert_eq!(all(&mut stack, now).0.len(), 4_097);
        stack.effects().extend((0..2_048).map(|_| Effect::Notify));
        let refused = stack.refused_frames();
        stack.input(&arp_request(), Caller::Elsewhere, now);
        assert_eq!(stack.refused_frames(), refused + 1);
        stack.input(&arp_request(), Caller::Loop, now);
        assert_eq!(stack.refused_frames(), refused + 1);
        assert_eq!(all(&mut stack, now).0.len(), 1);
    }

    /// What a frame that is refused says is as if it had been lost on the way: nothing of it is acknowledged.
    #[test]
    fn a_segment_that_is_refused_is_not_acknowledged_and_comes_through_the_next_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mut stack, now) = (stack(), Instant::from_secs(1));
        let (seq, ack) = connect(&mut stack, port, now);
        let (mut peer, _) = listener.accept().unwrap();
        all(&mut stack, now);
        while stack.refused_frames() == 0 {
            stack.input(&arp_request(), Caller::Loop, now);
        }
        let text = segment(port, seq, ack, 0x18, &[7; 100]);
        stack.input(&text, Caller::Loop, now);
        assert_eq!(stack.refused_frames(), 2);
        stack.handle_events(Glance::Unknown, now);
        let acknowledged = |frames: Vec<Vec<u8>>| {
            frames.iter().any(|frame| frame[12..14] == [8, 0] && frame[42..46] == (seq + 100).to_be_bytes())
        };
        assert!(!acknowledged(all(&mut stack, now).0));
        peer.set_nonblocking(true).unwrap();
        assert_eq!(peer.read(&mut [0; 200]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        stack.input(&text, Caller::Loop, now);
        let mut acks = acknowledged(all(&mut stack, now).0);
        stack.handle_events(Glance::Unknown, now);
        acks |= acknowledged(all(&mut stack, now).0);
        // At the latest when an acknowledgment may not be put off any more.
        let later = now + Duration::from_millis(500);
        stack.handle_events(Glance::Unknown, later);
        acks |= acknowledged(all(&mut stack, later).0);
        assert!(acks);
        peer.set_nonblocking(false).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut bytes = [0; 100];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [7; 100]);
    }

    /// A round that hands in many acknowledgments at once, with all that they let go out, is far from the bound.
    #[test]
    fn what_a_round_makes_of_its_frames_is_never_refused() {
        let mut stack = stack();
        let now = Instant::from_secs(1);
        for round in 0..100 {
            for _ in 0..256 {
                stack.input(&arp_request(), Caller::Loop, now);
            }
            assert_eq!(stack.refused_frames(), 0, "round {round}");
            stack.handle_events(Glance::Quiet, now);
            all(&mut stack, now);
        }
    }
}
