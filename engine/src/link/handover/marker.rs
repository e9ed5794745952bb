//! Markers: small questions that the guest's system answers by itself, at once and always. Behind frames that nothing else
//! answers (datagrams, bare acknowledgments) one of them goes out now and then; its answer proves that they were read.
//!
//! Over IPv4 it is an ARP request for the address that the last frame went to (RFC 826), over IPv6 a neighbor solicitation
//! (RFC 4861 section 7.2.2), each sent to that guest alone, as RFC 1122 section 2.3.2.1 has it for a cache that is kept fresh.
//! The virtual host that asks is the gateway and the name server in turn, so that a late answer is not taken for the next,
//! and a lost one is not waited for. Where both were lost, as in a full queue of the guest's, one of them is asked again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::EthernetAddress;

use crate::time::{Duration, Instant};
use crate::wire::header::{ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6};

/// Who asks whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub asker: IpAddr,
    pub guest: IpAddr,
}

/// A question on its way.
#[derive(Debug)]
struct Marker {
    /// Its answer proves that everything up to this position was read. One that was asked again proves no more than that: nobody
    /// knows which of the copies was answered.
    position: u64,
    question: Question,
    /// When it was asked first, and last.
    sent: Instant,
    repeated: Instant,
    /// The same as numbers of all that were asked.
    first: u64,
    last: u64,
    /// How many copies may still be answered; and whether one was, so that the others only keep the place.
    copies: u8,
    answered: bool,
}

impl Marker {
    fn is_lost(&self, now: Instant) -> bool {
        now - self.repeated >= LIFETIME
    }

    fn may_repeat(&self, now: Instant) -> bool {
        !self.answered && self.copies < MOST_COPIES && now - self.repeated >= LATE
    }
}

/// A marker that was not answered for so long is lost, and its question may be asked behind something else. (Sooner, a late
/// answer could be taken for that of another one.)
const LIFETIME: Duration = Duration::from_secs(1);
/// One that was not answered for so long may be lost, and another question is asked, or the same once more.
const LATE: Duration = Duration::from_millis(1);
/// How often one is asked at most.
const MOST_COPIES: u8 = 8;
/// A guest none of whose answers, of at least so many, came sooner is far away.
const FAR: Duration = Duration::from_millis(10);
const FAR_ANSWERS: u32 = 2;

/// The questions that are on their way, one of each virtual host.
#[derive(Debug, Default)]
pub(crate) struct Markers {
    out: [Option<Marker>; 2],
    /// How many were asked, and when the last one was.
    asked: u64,
    last: Option<Instant>,
    /// How many were answered, and how fast the fastest one.
    answers: u32,
    fastest: Option<Duration>,
}

impl Markers {
    fn is_free(&self, host: usize, now: Instant) -> bool {
        self.out.get(host).is_some_and(|place| place.as_ref().is_none_or(|marker| marker.is_lost(now)))
    }

    /// The virtual host that asks next, if one may: each in turn, and where both wait for an answer the one that asked last once
    /// more. That is for a guest that is known to answer, when nothing of it waits (`quiet`): what it says then finds room.
    fn next(&self, quiet: bool, now: Instant) -> Option<usize> {
        let hosts = if self.asked.is_multiple_of(2) { [1, 0] } else { [0, 1] };
        if let Some(host) = hosts.into_iter().find(|host| self.is_free(*host, now)) {
            return Some(host);
        }
        let [first, second] = &self.out;
        let last = usize::from(first.as_ref().map(|marker| marker.last) < second.as_ref().map(|marker| marker.last));
        let waits = self.out.get(last).and_then(Option::as_ref).is_some_and(|marker| marker.may_repeat(now));
        (quiet && waits && self.answers > 0).then_some(last)
    }

    /// Whether there is one more question to ask; see [`Markers::next`].
    pub(crate) fn has_place(&self, quiet: bool, now: Instant) -> bool {
        self.next(quiet, now).is_some()
    }

    /// Whether the last one was asked so long ago that it may be lost.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        let waits = self.out.iter().flatten().any(|marker| !marker.answered);
        !waits || self.last.is_none_or(|last| now - last >= LATE)
    }

    /// Position up to which answers will prove that everything was read.
    pub(crate) fn covers(&self, now: Instant) -> u64 {
        let out = self.out.iter().flatten().filter(|marker| !marker.is_lost(now));
        out.map(|marker| marker.position).max().unwrap_or(0)
    }

    /// Asks behind what was given up to a position: `question` makes the question of a host, 0 or 1. False when there is none to
    /// ask.
    pub(crate) fn ask(
        &mut self,
        position: u64,
        quiet: bool,
        now: Instant,
        question: impl FnOnce(usize) -> Question,
    ) -> bool {
        let Some(host) = self.next(quiet, now) else { return false };
        let free = self.is_free(host, now);
        let Some(place) = self.out.get_mut(host) else { return false };
        let (number, question) = (self.asked + 1, question(host));
        match place {
            Some(marker) if !free => {
                // That of another guest proves nothing of this one.
                if marker.question != question {
                    self.last = Some(now);
                    return false;
                }
                (marker.repeated, marker.last, marker.copies) = (now, number, marker.copies + 1);
            }
            _ => {
                let (sent, repeated, first, last) = (now, now, number, number);
                *place = Some(Marker { position, question, sent, repeated, first, last, copies: 1, answered: false });
            }
        }
        (self.asked, self.last) = (number, Some(now));
        true
    }

    /// A question was answered: position up to which everything was read.
    pub(crate) fn answered(&mut self, question: &Question, now: Instant) -> Option<u64> {
        let asked = |place: &&mut Option<Marker>| place.as_ref().is_some_and(|marker| marker.question == *question);
        let place = self.out.iter_mut().find(asked)?;
        let marker = place.as_mut()?;
        let known = std::mem::replace(&mut marker.answered, true);
        let (position, first, took) = (marker.position, marker.first, now - marker.sent);
        let alone = marker.first == marker.last;
        marker.copies -= 1;
        if marker.copies == 0 {
            *place = None;
        }
        if known {
            return None;
        }
        // The guest answers in order: what it was asked before is answered, or lost.
        let before = |marker: &mut Marker| marker.question.guest == question.guest && marker.last < first;
        for place in &mut self.out {
            place.take_if(before);
        }
        self.answers = self.answers.saturating_add(1);
        if alone {
            self.fastest = Some(self.fastest.map_or(took, |fastest| fastest.min(took)));
        }
        Some(position)
    }

    /// Whatever was asked is answered, or lost, if this guest answers at all.
    pub(crate) fn all_came(&mut self) {
        if self.answers > 0 {
            self.out = [None, None];
        }
    }

    /// Whether the guest is known to be so far away that the lack of an answer tells nothing.
    pub(crate) fn is_far(&self) -> bool {
        self.answers >= FAR_ANSWERS && self.fastest.is_some_and(|fastest| fastest >= FAR)
    }
}

/// The guest that a frame of ours goes to. `None` where that is a group, or no IP packet.
pub(crate) fn guest_of(frame: &[u8]) -> Option<(EthernetAddress, IpAddr)> {
    let mac = EthernetAddress(*frame.first_chunk::<6>()?);
    if !mac.is_unicast() {
        return None;
    }
    let kind = u16::from_be_bytes(*frame.get(12..14)?.first_chunk::<2>()?);
    let packet = frame.get(ETHERNET_LEN..)?;
    let guest: IpAddr = match kind {
        ETHERTYPE_IPV4 => Ipv4Addr::from(*packet.get(16..20)?.first_chunk::<4>()?).into(),
        ETHERTYPE_IPV6 => Ipv6Addr::from(*packet.get(24..40)?.first_chunk::<16>()?).into(),
        _ => return None,
    };
    let alone = match guest {
        IpAddr::V4(ip) => !ip.is_broadcast() && !ip.is_multicast() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_unspecified(),
    };
    alone.then_some((mac, guest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(host: usize) -> Question {
        let last = if host == 0 { 2 } else { 3 };
        Question { asker: Ipv4Addr::new(10, 0, 2, last).into(), guest: Ipv4Addr::new(10, 0, 2, 15).into() }
    }

    const GATEWAY: usize = 0;
    const NAME_SERVER: usize = 1;

    #[test]
    fn each_question_is_asked_once_until_it_is_answered_or_lost() {
        let mut markers = Markers::default();
        let start = Instant::from_micros(0);
        assert!(markers.ask(100, true, start, question));
        assert!(markers.has_place(true, start) && !markers.is_late(start) && markers.is_late(start + LATE));
        assert!(markers.ask(200, true, start + LATE, question));
        assert_eq!((markers.has_place(true, start + LATE * 2), markers.covers(start + LATE)), (false, 200));
        assert!(!markers.ask(200, true, start + LATE * 2, question));
        assert!(markers.has_place(true, start + LIFETIME) && markers.covers(start + LIFETIME) == 200);
        assert_eq!(markers.covers(start + LIFETIME + LATE), 0);
        assert!(markers.ask(300, true, start + LIFETIME, question));
        assert_eq!(markers.answered(&question(NAME_SERVER), start + LIFETIME), Some(300));
        assert_eq!(markers.answered(&question(NAME_SERVER), start + LIFETIME), None);
    }

    #[test]
    fn what_was_asked_before_the_one_that_was_answered_is_lost() {
        let mut markers = Markers::default();
        let start = Instant::from_micros(0);
        assert!(markers.ask(100, false, start, question) && markers.ask(200, false, start, question));
        assert_eq!(markers.answered(&question(GATEWAY), start), Some(200));
        assert_eq!(markers.answered(&question(NAME_SERVER), start), None);
        // In order, each is.
        assert!(markers.ask(300, false, start, question) && markers.ask(400, false, start, question));
        assert_eq!(markers.answered(&question(NAME_SERVER), start), Some(300));
        assert_eq!(markers.answered(&question(GATEWAY), start), Some(400));
        // Of two guests nobody knows which one is sooner.
        let other = |host| Question { guest: Ipv4Addr::new(10, 0, 2, 16).into(), ..question(host) };
        assert!(markers.ask(500, false, start, question) && markers.ask(600, false, start, other));
        assert_eq!(markers.answered(&other(GATEWAY), start), Some(600));
        assert_eq!(markers.answered(&question(NAME_SERVER), start), Some(500));
    }

    #[test]
    fn a_question_that_is_asked_again_proves_no_more_and_keeps_its_place() {
        let mut markers = Markers::default();
        let start = Instant::from_micros(0);
        assert!(markers.ask(50, true, start, question));
        assert_eq!(markers.answered(&question(NAME_SERVER), start), Some(50));
        assert!(markers.ask(100, true, start, question) && markers.ask(200, true, start, question));
        let mut now = start;
        for _ in 1..MOST_COPIES {
            assert!(!markers.has_place(true, now));
            now += LATE;
            assert!(!markers.has_place(false, now) && markers.ask(300, true, now, question));
        }
        now += LATE;
        assert!(!markers.has_place(true, now), "asked too often");
        assert_eq!(markers.answered(&question(NAME_SERVER), now), Some(200));
        // The other one was lost; this one still has copies under way, none of which proves anything of what comes now.
        assert!(markers.ask(400, true, now, question) && !markers.has_place(true, now));
        for _ in 2..MOST_COPIES {
            assert_eq!(markers.answered(&question(NAME_SERVER), now), None);
        }
        assert!(!markers.has_place(true, now));
        assert_eq!(markers.answered(&question(NAME_SERVER), now), None);
        assert!(markers.ask(500, true, now, question));
        assert_eq!(markers.answered(&question(GATEWAY), now), Some(400));
        assert_eq!(markers.answered(&question(NAME_SERVER), now), Some(500));
    }

    #[test]
    fn a_guest_is_far_when_no_answer_comes_soon() {
        let mut markers = Markers::default();
        let mut now = Instant::from_micros(0);
        for (took, far) in [(FAR, false), (FAR * 2, true), (LATE, false)] {
            let mut asked = None;
            assert!(markers.ask(1, true, now, |host| *asked.insert(question(host))));
            now += took;
            assert!(markers.answered(&asked.unwrap(), now).is_some());
            assert_eq!(markers.is_far(), far);
        }
    }

    #[test]
    fn the_guest_of_a_frame() {
        let mut frame = vec![0; 60];
        frame[0..6].copy_from_slice(&[0x52, 0x54, 0, 1, 2, 3]);
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
        frame[30..34].copy_from_slice(&[10, 0, 2, 15]);
        let mac = EthernetAddress([0x52, 0x54, 0, 1, 2, 3]);
        assert_eq!(guest_of(&frame), Some((mac, Ipv4Addr::new(10, 0, 2, 15).into())));
        frame[30..34].copy_from_slice(&[255; 4]);
        assert_eq!(guest_of(&frame), None);
        frame[30..34].copy_from_slice(&[10, 0, 2, 15]);
        frame[0] = 1;
        assert_eq!(guest_of(&frame), None);
        frame[0] = 0x52;
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
        frame[38..54].copy_from_slice(&"fec0::15".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(guest_of(&frame), Some((mac, "fec0::15".parse::<Ipv6Addr>().unwrap().into())));
        for cut in 0..54 {
            assert_eq!(guest_of(&frame[..cut]), None);
        }
    }
}
