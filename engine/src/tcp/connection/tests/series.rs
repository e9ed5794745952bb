//! Segments that are sent as a series are those that would have been sent one by one, and leave the same behind.

use super::*;
use proptest::prelude::*;

/// What happens to a connection.
#[derive(Clone, Debug)]
enum Event {
    /// The host has so many bytes more.
    Push(usize),
    /// The peer has so much of what is in flight, in 256ths, and a window in KiB.
    Ack(u32, u16),
    /// The same acknowledgment again, as behind a gap; where it is agreed on with the second half of what is in flight.
    Again(bool),
    Wait(u64),
    Expire,
    Urgent,
    Close,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..60_000usize).prop_map(Event::Push),
        6 => (0..=256u32, 1..64u16).prop_map(|(part, window)| Event::Ack(part, window)),
        2 => any::<bool>().prop_map(Event::Again),
        2 => (0..300u64).prop_map(Event::Wait),
        1 => Just(Event::Expire),
        1 => Just(Event::Urgent),
        1 => Just(Event::Close),
    ]
}

impl Script {
    /// Sends all there is; of what may be sent as a series as many as `take` says.
    fn sent_in_series(&mut self, take: &mut impl FnMut(usize) -> usize) -> Vec<Transmit> {
        let mut all = Vec::new();
        while let Some(mut sent) = self.connection.poll_transmit(self.now) {
            all.push(sent);
            let count = take(self.connection.more_alike(&sent));
            if count > 0 {
                self.connection.send_alike((count * sent.len) as u32, self.now);
            }
            for _ in 0..count {
                sent.seq += sent.len as u32;
                sent.offset += sent.len;
                all.push(sent);
            }
        }
        all
    }

    fn happen(&mut self, event: &Event) {
        let (una, max) = (self.connection.snd_una(), self.connection.snd_max());
        let flight = max.distance(una);
        let answer = segment(Flags::ACK, IRS + 1, una.0);
        match *event {
            Event::Push(bytes) => {
                self.connection.send_mut().push(&vec![7; bytes], 200_000, &mut self.pool);
            }
            Event::Ack(part, window) => {
                let ack = una.0.wrapping_add(flight * part / 256);
                self.receive(Segment { ack: SeqNumber(ack), window: window * 1024, ..answer });
            }
            Event::Again(sack) => {
                let block = (una + flight / 2, max);
                let options = Options { sack: [sack.then_some(block), None, None, None], ..Options::default() };
                self.receive(Segment { options, ..answer });
            }
            Event::Wait(millis) => self.now += Duration::from_millis(millis),
            Event::Expire => {
                if self.connection.deadline().is_some() {
                    self.expire();
                }
            }
            Event::Urgent => self.connection.send_mut().mark_urgent(),
            Event::Close => self.connection.close_send(),
        }
    }

    fn seen(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let it = &self.connection;
        (it.snd_nxt(), it.snd_max(), it.cwnd(), it.ssthresh(), it.deadline(), it.state(), it.unsent(), it.srtt())
    }
}

proptest! {
    #[test]
    fn a_series_is_what_would_be_sent_one_by_one(
        sack: bool,
        bbr: bool,
        parts in prop::collection::vec(0..=8usize, 1..20),
        mut events in prop::collection::vec(event(), 1..80),
    ) {
        let congestion = if bbr { Congestion::Bbr } else { Congestion::Cubic };
        let config = Config { sack, congestion, ..CONFIG };
        // The end of the stream comes last.
        events.sort_by_key(|event| matches!(event, Event::Close));
        let options = Options { mss: Some(1460), sack_permitted: sack, ..Options::default() };
        let mut scripts = [(); 2].map(|()| {
            let mut script = Script::passive_with(&config, &Segment { options, ..syn() });
            script.connection.accept(script.now);
            script.sent();
            script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
            script.connection.limit_segments(16_000);
            script
        });
        let mut parts = parts.iter().cycle();
        let mut series = 0;
        for event in &events {
            let [one, other] = &mut scripts;
            one.happen(event);
            other.happen(event);
            let alone = one.sent();
            let together = other.sent_in_series(&mut |most| {
                let count = most * parts.next().unwrap() / 8;
                series += count;
                count
            });
            prop_assert_eq!(alone, together, "{:?}", event);
            prop_assert!(one.seen() == other.seen(), "{:?}: {:?}, {:?}", event, one.seen(), other.seen());
        }
    }
}

/// It is what happens to bulk: else nothing would be shown above.
#[test]
fn most_of_a_long_burst_is_a_series() {
    let mut script = Script::established();
    script.connection.limit_segments(16_000);
    script.push(90_000);
    let mut series = 0;
    let sent = script.sent_in_series(&mut |most| {
        series += most;
        most
    });
    assert_eq!((sent.len(), series), (10, 8), "of the first ten segments all but two");
}
