use std::net::Ipv4Addr;

use super::marker::Question;
use super::trust::Switches;
use super::*;

const FRAME: usize = 1514;

fn question(host: usize) -> Question {
    let host = if host == 0 { 2 } else { 3 };
    Question { asker: Ipv4Addr::new(10, 0, 2, host).into(), guest: Ipv4Addr::new(10, 0, 2, 15).into() }
}

/// An application with a guest that answers all markers at once.
struct Application {
    handover: Handover,
    /// How long its frames are.
    frame: usize,
    /// Whether it is the guest's window that ends what is made, and no other.
    window_of_guest: bool,
    made: u64,
    now: Instant,
}

impl Application {
    fn new() -> Application {
        Application::with(FRAME)
    }

    /// Where frames are as long as this, both ways.
    fn with(frame: usize) -> Application {
        let mut handover = Handover::default();
        handover.engage(frame);
        Application { handover, frame, window_of_guest: false, made: 0, now: Instant::from_micros(0) }
    }

    /// A round without a frame of the guest in which as much is made as fits; `sleeps` tells whether the application sleeps
    /// when it takes so many bytes. How many they were.
    fn round(&mut self, sleeps: impl Fn(u64) -> bool) -> u64 {
        self.round_up_to(1 << 20, sleeps)
    }

    /// The same for a guest whose windows hold so much.
    fn round_up_to(&mut self, most: u64, sleeps: impl Fn(u64) -> bool) -> u64 {
        self.now += Duration::from_micros(50);
        self.handover.before_sleep(self.made, 0, self.now);
        self.handover.begin_round(self.made, self.now);
        let cost = self.handover.pricing().cost(self.frame);
        let mut frames = 0;
        while self.handover.fits(self.made, cost) && ((frames * self.frame) as u64) < most {
            self.made += cost;
            frames += 1;
        }
        if self.window_of_guest && (frames * self.frame) as u64 >= most {
            self.handover.on_full_window();
        }
        self.handover.refuse(true);
        let bytes = (frames * self.frame) as u64;
        let grant = self.handover.grant(self.made, std::iter::repeat_n(cost, frames));
        assert_eq!(grant.frames, frames);
        if grant.watched {
            let slept = u64::from(sleeps(bytes));
            self.handover.on_watched(frames * self.frame, Switches { slept, preempted: 0 }, self.now);
        }
        if self.handover.wants_marker(self.made, self.now) {
            let mut asked = None;
            self.handover.mark(self.now, |host| *asked.insert(question(host)));
            if let Some(question) = asked {
                self.handover.on_answer(&question, self.now);
            }
        }
        bytes
    }
}

#[test]
fn for_an_application_that_never_sleeps_nothing_is_counted_after_a_while() {
    let mut application = Application::new();
    let mut rounds = 0;
    while application.handover.counts() {
        application.round(|_| false);
        rounds += 1;
        assert!(rounds < 10_000, "{:?}", application.handover);
    }
    assert!(application.now < Instant::from_micros(200_000), "{:?}", application.now);
    assert!(application.handover.fits(application.made, 1 << 40) && !application.handover.waits(u64::MAX));
    // Until it sleeps after all.
    while !application.handover.counts() {
        application.round(|given| given > 200_000);
        rounds += 1;
        assert!(rounds < 20_000);
    }
}

#[test]
fn frames_of_any_length_tell_what_the_application_is() {
    for frame in [590, 1294, 1514, 4014, 9014, 16_014, 30_774] {
        let mut application = Application::with(frame);
        let rounds = (0..10_000)
            .take_while(|_| application.handover.counts() && application.round(|_| false) < u64::MAX)
            .count();
        assert!(rounds < 10_000, "{frame}: {:?}", application.handover);
    }
}

/// A window that a link with losses keeps small never fills a trial. To hold all frames for one, again and again, would make
/// stop and go of what could flow.
#[test]
fn frames_are_seldom_held_for_trials_that_the_guests_windows_cannot_fill() {
    let mut application = Application::new();
    let held = (0..10_000).filter(|_| application.round_up_to(50 * 1024, |_| false) == 0).count();
    assert!(held < 1000 && application.handover.counts(), "{held} of 10,000 rounds");
    // They are made again soon after the windows have grown.
    let mut rounds = 0;
    while application.handover.counts() {
        application.round(|_| false);
        rounds += 1;
        assert!(rounds < 40_000, "{:?}", application.handover);
    }
}

/// The window of a guest whose reader is the slowest there is grows and shrinks all the time. Now and then it is large enough.
#[test]
fn a_guests_window_that_is_large_now_and_then_fills_the_trials_in_the_end() {
    let mut application = Application { window_of_guest: true, ..Application::new() };
    let held = (0..20_000).filter(|_| application.round_up_to(120 * 1024, |_| false) == 0).count();
    assert!(held < 1000 && application.handover.counts(), "{held} of 20,000 rounds");
    let mut rounds = 0;
    while application.handover.counts() {
        rounds += 1;
        let large = rounds % 8 < 2;
        application.round_up_to(if large { 512 * 1024 } else { 120 * 1024 }, |_| false);
        assert!(rounds < 40_000, "{:?}", application.handover);
    }
}

/// The windows of a link with losses fill the trials that are to find a pipe, and none of those that are to find sockets. More than a
/// pipe holds may then be given without a proof, and no more than sockets do, which hold 92 frames; until it sleeps.
#[test]
fn what_is_no_pipe_is_given_what_sockets_hold() {
    const PIPE: u64 = 32 * 1024;
    const WINDOW: u64 = 170 * 1024;
    let mut application = Application::new();
    // Given and not proven read in rounds that are no trials, which what was given before always is in this application.
    let most = |application: &mut Application| {
        let rounds = (0..1000).filter_map(|_| {
            let given = application.round_up_to(WINDOW, |_| false);
            (!matches!(application.handover.stance, Stance::Trial(_))).then_some(given)
        });
        rounds.max().unwrap_or(0)
    };
    assert!(application.round_up_to(WINDOW, |_| false) <= PIPE);
    most(&mut application);
    let sockets = most(&mut application);
    assert!(sockets > 80 * FRAME as u64 && sockets <= 92 * FRAME as u64 && application.handover.counts(), "{sockets}");
    assert!((0..10_000).any(|_| {
        application.round_up_to(WINDOW, |given| given > 140 * 1024);
        application.handover.limit() <= PIPE
    }));
}

/// What was given at the price of sockets may fill a pipe though it costs little. So next to nothing follows it until it was read.
#[test]
fn after_a_sleep_what_was_cheap_is_read_first() {
    let mut application = Application::new();
    while application.handover.pricing() == Pricing::Any {
        application.round(|_| false);
    }
    let handover = &mut application.handover;
    let made = application.made + 48 * 1024;
    handover.grant(made, std::iter::repeat_n(Pricing::Sockets.cost(FRAME), 64));
    assert!(!handover.fits(made, 30 * 1024) && handover.least(1 << 20) < 1 << 19);
    handover.on_watched(64 * FRAME, Switches { slept: 1, preempted: 0 }, application.now);
    assert_eq!((handover.pricing(), handover.limit() < 16 * 1024), (Pricing::Any, true));
    handover.begin_round(made, application.now);
    handover.read_up_to(made - 12 * 1024);
    assert!(!handover.fits(made, 1514) && handover.least(1 << 20) < 1 << 19);
    handover.read_up_to(made);
    assert!(handover.fits(made, 16 * 1024) && handover.least(1 << 20) == 1 << 20);
}

#[test]
fn a_sleep_in_a_trial_leaves_the_limit_and_one_within_it_does_not() {
    let mut application = Application::new();
    let limit = application.handover.trust.limit();
    let mut most = 0;
    for _ in 0..1000 {
        most = most.max(application.round(|given| given > 64 * 1024));
    }
    assert!(most > 64 * 1024, "{most}");
    assert_eq!(application.handover.trust.limit(), limit);
    for _ in 0..1000 {
        application.round(|given| given > 8 * 1024);
    }
    assert!(application.handover.trust.limit() < limit);
}

#[test]
fn acknowledgments_of_an_upload_go_on_though_nothing_proves_them_read() {
    let mut application = Application::new();
    let handover = &mut application.handover;
    let mut given = 0;
    for segment in 0..100_000 {
        handover.on_frame(FRAME);
        // One for four segments, and every marker is lost.
        if segment % 4 == 0 {
            assert!(handover.fits(given, 256), "segment {segment}: {handover:?}");
            given += 256;
            handover.grant(given, std::iter::once(256));
        }
    }
    for _ in 0..128 {
        given += 256;
        handover.grant(given, std::iter::once(256));
    }
    assert!(!handover.fits(given, 256));
}

#[test]
fn what_nobody_proves_counts_as_read_when_the_application_slept_long_enough() {
    let mut application = Application::new();
    let handover = &mut application.handover;
    handover.grant(32 * 1024, std::iter::once(32 * 1024));
    handover.refuse(true);
    let mut now = Instant::from_micros(0);
    handover.begin_round(32 * 1024, now);
    handover.refuse(true);
    let mut slept = 0;
    while !handover.fits(32 * 1024, 32 * 1024) {
        let sleep = handover.before_sleep(32 * 1024, 1000, now);
        slept += sleep;
        now += Duration::from_millis(u64::from(sleep));
        handover.begin_round(32 * 1024, now);
        handover.refuse(true);
        assert!(slept < 100, "{handover:?}");
    }
    assert!(slept >= 20, "{slept}");
}
