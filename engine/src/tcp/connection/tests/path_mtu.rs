//! A path that swallows long segments without a word (RFC 4821).

use super::*;

/// A script, and a peer behind a link that takes segments of so much payload at most.
struct Narrow {
    script: Script,
    limit: usize,
    sack: bool,
    /// What has arrived beyond what is acknowledged: from and to, in order and apart.
    early: Vec<(u32, u32)>,
    arrived: u32,
    /// Lengths of what was sent.
    sent: Vec<usize>,
}

impl Narrow {
    fn new(limit: usize, sack: bool) -> Narrow {
        let options = Options { mss: Some(1460), sack_permitted: sack, ..Options::default() };
        let mut script = Script::passive_with(&Config { sack, ..CONFIG }, &Segment { options, ..syn() });
        script.connection.accept(script.now);
        script.one();
        script.now += Duration::from_millis(10);
        script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
        Narrow { script, limit, sack, early: Vec::new(), arrived: 0, sent: Vec::new() }
    }

    fn size(&self) -> usize {
        self.script.connection.effective_mss()
    }

    /// Lets what is sent arrive, as far as the link takes it, until the time has passed so often or nothing is left.
    fn run(&mut self, deadlines: usize) {
        for _ in 0..deadlines {
            loop {
                let sent = self.script.sent();
                if sent.is_empty() {
                    break;
                }
                self.script.now += Duration::from_millis(10);
                for segment in sent {
                    self.sent.push(segment.len);
                    if segment.len <= self.limit {
                        self.arrive(segment.seq.0 - ISS - 1, segment.len as u32);
                    }
                }
            }
            if self.script.connection.send_idle() {
                return;
            }
            self.script.expire();
        }
    }

    fn arrive(&mut self, start: u32, len: u32) {
        self.early.push((start, start + len));
        self.early.sort_unstable();
        while let Some(&(from, to)) = self.early.first()
            && from <= self.arrived
        {
            self.arrived = self.arrived.max(to);
            self.early.remove(0);
        }
        let blocks: Vec<(u32, u32)> = self.early.iter().rev().copied().take(4).collect();
        if self.sack { self.script.sack(self.arrived, &blocks) } else { self.script.ack(self.arrived) }
    }
}

#[test]
fn short_segments_go_on_where_long_ones_vanish_and_the_longest_is_searched_for() {
    let mut narrow = Narrow::new(1300, true);
    narrow.script.push(20_000);
    narrow.run(20);
    assert_eq!(narrow.arrived, 20_000, "{:?}", narrow.sent);
    let threshold = narrow.script.connection.ssthresh();
    narrow.script.push(400_000);
    narrow.run(100);
    assert_eq!(narrow.arrived, 420_000);
    assert!((1260..=1300).contains(&narrow.size()), "{}", narrow.size());
    assert_eq!(narrow.script.connection.ssthresh(), threshold, "a lost trial is no congestion");
    let vanished = narrow.sent.iter().filter(|&&len| len > 1300).count();
    assert!(vanished < 50, "{vanished}");
}

#[test]
fn a_peer_without_selective_acknowledgments_is_helped_as_well() {
    let mut narrow = Narrow::new(1300, false);
    narrow.script.push(400_000);
    narrow.run(500);
    assert_eq!(narrow.arrived, 400_000);
    assert!((1220..=1300).contains(&narrow.size()), "{}", narrow.size());
}

#[test]
fn what_every_host_takes_is_the_last_resort() {
    let mut narrow = Narrow::new(600, true);
    narrow.script.push(200_000);
    narrow.run(200);
    assert_eq!(narrow.arrived, 200_000);
    assert!((560..=600).contains(&narrow.size()), "{}", narrow.size());
}

#[test]
fn a_single_timeout_says_nothing_about_lengths() {
    let mut narrow = Narrow::new(0, true);
    narrow.script.push(20_000);
    while narrow.script.connection.timeouts() < 1 {
        narrow.run(1);
    }
    narrow.run(0);
    assert_eq!(narrow.size(), 1460);
    assert!(narrow.sent.iter().all(|&len| len == 1460 || len == 20_000 % 1460), "{:?}", narrow.sent);
}

/// A guest that was stopped for a while, with everything in its queue.
#[test]
fn long_segments_that_arrive_late_clear_the_length_of_suspicion() {
    let mut narrow = Narrow::new(0, true);
    narrow.script.push(20_000);
    while narrow.script.connection.timeouts() < 2 {
        narrow.run(1);
    }
    assert_eq!(narrow.size(), 1220);
    let sent = narrow.script.connection.snd_max().0 - ISS - 1;
    narrow.script.ack(sent);
    assert_eq!(narrow.size(), 1460);
}

/// The same, but its queue was lost: one trial later segments are long again.
#[test]
fn the_first_trial_is_of_the_length_of_before() {
    let mut narrow = Narrow::new(0, true);
    narrow.script.push(60_000);
    while narrow.script.connection.timeouts() < 2 {
        narrow.run(1);
    }
    narrow.limit = 1460;
    narrow.sent.clear();
    narrow.run(100);
    assert_eq!((narrow.arrived, narrow.size()), (60_000, 1460));
    let trials = narrow.sent.iter().skip_while(|&&len| len <= 1220).count();
    assert!(trials > 5 && narrow.sent.iter().all(|&len| len <= 1220 || len == 1460), "{:?}", narrow.sent);
}

#[test]
fn a_search_that_has_ended_begins_anew_after_ten_minutes() {
    let mut narrow = Narrow::new(1300, true);
    narrow.script.push(400_000);
    narrow.run(200);
    narrow.limit = 1460;
    narrow.script.push(50_000);
    narrow.run(200);
    assert!(narrow.size() <= 1300, "it rests");
    narrow.script.now += Duration::from_secs(600);
    narrow.script.push(50_000);
    narrow.run(200);
    assert_eq!(narrow.size(), 1460);
}

#[test]
fn a_router_that_reports_ends_the_search() {
    let mut narrow = Narrow::new(1300, true);
    narrow.script.push(400_000);
    narrow.run(12);
    narrow.script.connection.lower_mss(1000);
    narrow.sent.clear();
    narrow.run(200);
    assert_eq!((narrow.arrived, narrow.size()), (400_000, 1000));
    assert!(narrow.sent.iter().all(|&len| len <= 1000));
}

/// What fits into IPv6's least MTU is believed.
#[test]
fn segments_that_are_short_already_stay_as_they_are() {
    let options = Options { mss: Some(1000), ..Options::default() };
    let mut script = Script::passive_with(&CONFIG, &Segment { options, ..syn() });
    script.connection.accept(script.now);
    script.one();
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    script.push(8000);
    let mut sizes = Vec::new();
    while script.connection.timeouts() < 8 {
        script.sent();
        sizes.push((script.connection.timeouts(), script.connection.effective_mss()));
        script.expire();
    }
    assert!(sizes.iter().all(|&(_, size)| size == 1000), "{sizes:?}");
}
