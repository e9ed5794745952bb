//! Markers: small questions that the guest's system answers by itself, at once and always. Behind frames that nothing else
//! answers (datagrams, bare acknowledgments) one of them goes out now and then; its answer proves that they were read.
//!
//! Over IPv4 it is an ARP request for the address that the last frame went to (RFC 826), over IPv6 a neighbor solicitation
//! (RFC 4861 section 7.2.2), each sent to that guest alone, as RFC 1122 section 2.3.2.1 has it for a cache that is kept fresh.
//! The virtual host that asks is the gateway and the name server in turn, so that a late answer is not taken for the next,
//! and a lost one is not waited for.

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
    /// Its answer proves that everything up to this position was read.
    position: u64,
    sent: Instant,
    question: Question,
}

/// A marker that was not answered for so long is lost, and its question may be asked again. (Sooner, a late answer could be
/// taken for that of another one.)
const LIFETIME: Duration = Duration::from_secs(1);
/// One that was not answered for so long may be lost, and another question is asked.
const LATE: Duration = Duration::from_millis(1);
/// A guest none of whose answers, of at least so many, came sooner is far away.
const FAR: Duration = Duration::from_millis(10);
const FAR_ANSWERS: u32 = 2;

/// The questions that are on their way, one of each virtual host.
#[derive(Debug, Default)]
pub(crate) struct Markers {
    out: [Option<Marker>; 2],
    /// How many were asked, and when the last one was.
    asked: u32,
    last: Option<Instant>,
    /// How many were answered, and how fast the fastest one.
    answers: u32,
    fastest: Option<Duration>,
}

impl Markers {
    fn is_free(place: &Option<Marker>, now: Instant) -> bool {
        place.as_ref().is_none_or(|marker| now - marker.sent >= LIFETIME)
    }

    /// Whether there is one more question to ask.
    pub(crate) fn has_place(&self, now: Instant) -> bool {
        self.out.iter().any(|place| Markers::is_free(place, now))
    }

    /// Whether the last one was asked so long ago that it may be lost.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        let [first, second] = &self.out;
        (first.is_none() && second.is_none()) || self.last.is_none_or(|last| now - last >= LATE)
    }

    /// Position up to which answers will prove that everything was read.
    pub(crate) fn covers(&self, now: Instant) -> u64 {
        let out = self.out.iter().filter(|place| !Markers::is_free(place, now)).flatten();
        out.map(|marker| marker.position).max().unwrap_or(0)
    }

    /// Asks behind what was given up to a position, when there is a place: `question` makes the question of a number, those
    /// of two successive numbers being different.
    pub(crate) fn ask(&mut self, position: u64, now: Instant, question: impl FnOnce(u32) -> Question) {
        let next = self.asked.wrapping_add(1);
        let number = if Markers::is_free(self.place(next), now) { next } else { next.wrapping_add(1) };
        self.asked = number;
        self.last = Some(now);
        *self.place(number) = Some(Marker { position, sent: now, question: question(number) });
    }

    fn place(&mut self, number: u32) -> &mut Option<Marker> {
        let [even, odd] = &mut self.out;
        if number.is_multiple_of(2) { even } else { odd }
    }

    /// A question was answered: position up to which everything was read.
    pub(crate) fn answered(&mut self, question: &Question, now: Instant) -> Option<u64> {
        let asked = |place: &&mut Option<Marker>| place.as_ref().is_some_and(|marker| marker.question == *question);
        let marker = self.out.iter_mut().find(asked)?.take()?;
        let took = now - marker.sent;
        self.answers = self.answers.saturating_add(1);
        self.fastest = Some(self.fastest.map_or(took, |fastest| fastest.min(took)));
        Some(marker.position)
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

    fn question(number: u32) -> Question {
        let host = if number.is_multiple_of(2) { 2 } else { 3 };
        Question { asker: Ipv4Addr::new(10, 0, 2, host).into(), guest: Ipv4Addr::new(10, 0, 2, 15).into() }
    }

    #[test]
    fn each_question_is_asked_once_until_it_is_answered_or_lost() {
        let mut markers = Markers::default();
        let start = Instant::from_micros(0);
        markers.ask(100, start, question);
        assert!(markers.has_place(start) && !markers.is_late(start) && markers.is_late(start + LATE));
        markers.ask(200, start + LATE, question);
        assert_eq!((markers.has_place(start + LATE), markers.covers(start + LATE)), (false, 200));
        // The first one was lost, so that its answer would prove no more than it asked.
        assert_eq!(markers.answered(&question(2), start + LATE), Some(200));
        assert_eq!(markers.answered(&question(2), start + LATE), None);
        markers.ask(300, start + LATE, question);
        assert_eq!(markers.answered(&question(1), start + LATE), Some(100));
        assert_eq!(markers.answered(&question(2), start + LATE), Some(300));
        markers.ask(400, start, question);
        markers.ask(500, start, question);
        assert!(!markers.has_place(start + LATE) && markers.has_place(start + LIFETIME));
        assert_eq!(markers.covers(start + LIFETIME), 0);
        markers.ask(600, start + LIFETIME, question);
        assert_eq!(markers.covers(start + LIFETIME), 600);
    }

    #[test]
    fn a_guest_is_far_when_no_answer_comes_soon() {
        let mut markers = Markers::default();
        let mut now = Instant::from_micros(0);
        for (took, far) in [(FAR, false), (FAR * 2, true), (LATE, false)] {
            markers.ask(1, now, question);
            now += took;
            assert!(markers.answered(&question(markers.asked), now).is_some());
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
