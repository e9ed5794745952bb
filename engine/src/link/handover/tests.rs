use std::net::Ipv4Addr;

use super::marker::Question;
use super::trust::Switches;
use super::*;

const FRAME: usize = 1514;

fn question(number: u32) -> Question {
    let host = if number.is_multiple_of(2) { 2 } else { 3 };
    Question { asker: Ipv4Addr::new(10, 0, 2, host).into(), guest: Ipv4Addr::new(10, 0, 2, 15).into() }
}

/// An application with a guest that answers all markers at once.
struct Application {
    handover: Handover,
    made: u64,
    now: Instant,
}

impl Application {
    fn new() -> Application {
        let mut handover = Handover::default();
        handover.engage(FRAME);
        Application { handover, made: 0, now: Instant::from_micros(0) }
    }

    /// A round without a frame of the guest in which as much is made as fits; `sleeps` tells whether the application sleeps
    /// when it takes so much. How much it was.
    fn round(&mut self, sleeps: impl Fn(u64) -> bool) -> u64 {
        self.round_up_to(1 << 20, sleeps)
    }

    /// The same for a guest whose windows hold so much.
    fn round_up_to(&mut self, most: u64, sleeps: impl Fn(u64) -> bool) -> u64 {
        self.now += Duration::from_micros(50);
        self.handover.before_sleep(self.made, 0, self.now);
        self.handover.begin_round(self.made, self.now);
        let before = self.made;
        while self.handover.fits(self.made, FRAME as u64) && self.made - before < most {
            self.made += FRAME as u64;
        }
        self.handover.refuse(true);
        let frames = (self.made - before) as usize / FRAME;
        let grant = self.handover.grant(self.made, std::iter::repeat_n(FRAME as u64, frames));
        assert_eq!(grant.frames, frames);
        if grant.watched {
            let slept = u64::from(sleeps(self.made - before));
            self.handover.on_watched(frames * FRAME, Switches { slept, preempted: 0 }, self.now);
        }
        if self.handover.wants_marker(self.made, self.now) {
            let mut asked = None;
            self.handover.mark(self.now, |number| *asked.insert(question(number)));
            if let Some(question) = asked {
                self.handover.on_answer(&question, self.now);
            }
        }
        self.made - before
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

/// The windows of a link with losses fill the trials that are to find a pipe, and none of those that are to find sockets. More than a
/// pipe holds may then be given without a proof, and no more than sockets do; until it sleeps.
#[test]
fn what_is_no_pipe_is_given_what_sockets_hold() {
    const PIPE: u64 = 32 * 1024;
    let mut application = Application::new();
    // Given and not proven read in rounds that are no trials, which what was given before always is in this application.
    let most = |application: &mut Application| {
        let given = (0..1000).map(|_| application.round_up_to(100 * 1024, |_| false));
        given.filter(|given| *given < 70 * 1024).max().unwrap_or(0)
    };
    assert!(application.round_up_to(100 * 1024, |_| false) <= PIPE);
    most(&mut application);
    let sockets = most(&mut application);
    assert!(sockets > PIPE && sockets <= 64 * 1024 && application.handover.counts(), "{sockets}");
    while application.handover.limit() > PIPE {
        application.round_up_to(100 * 1024, |given| given > 40 * 1024);
    }
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
