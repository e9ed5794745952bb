//! The other end (B), which carries frames between the queues and a guest, and the guest.

use super::Sim;
use super::queue::Frame;

impl Sim {
    /// One step of the other end and the guest. False when it sleeps.
    pub(super) fn step_b(&mut self) -> bool {
        if let Some((frame, length, left)) = self.carrying.take() {
            let rest = self.from_guest.write(frame, length, left);
            if rest > 0 {
                self.carrying = Some((frame, length, rest));
                return rest < left;
            }
            return true;
        }
        self.b_turn = !self.b_turn;
        for _ in 0..2 {
            if self.b_turn {
                if let Some((frame, _)) = self.to_guest.read() {
                    self.guest_takes(frame);
                    return true;
                }
            } else {
                self.guest_says();
                if let Some((frame, length)) = self.guest.pop_front() {
                    self.carrying = Some((frame, length, length));
                    return true;
                }
            }
            self.b_turn = !self.b_turn;
        }
        // An acknowledgment that was put off goes out when nothing else happens.
        if let Some(position) = self.put_off.take() {
            self.guest.push_back((Frame::Acknowledgment(position), 66));
            return true;
        }
        false
    }

    fn guest_takes(&mut self, frame: Frame) {
        match frame {
            Frame::Segment(position) => {
                self.received += 1;
                if self.put_off.take().is_some() {
                    self.guest.push_back((Frame::Acknowledgment(position), 66));
                } else {
                    self.put_off = Some(position);
                }
            }
            Frame::Acknowledgment(_) => self.guest_in_flight = self.guest_in_flight.saturating_sub(1),
            Frame::Marker(question)
                if self.answers && self.guest.len() < self.room && !self.random.one_in(self.loses) =>
            {
                self.guest.push_back((Frame::Answer(question), 60));
            }
            _ => {}
        }
    }

    fn guest_says(&mut self) {
        while self.guest.len() < 500 {
            let begins = self.received >= self.guest_begins;
            if begins && self.guest_segments > 0 && self.guest_in_flight < self.guest_window {
                self.guest_segments -= 1;
                self.guest_in_flight += 1;
                self.guest.push_back((Frame::Segment(1), self.segment));
            } else if self.guest_pings > 0 {
                self.guest_pings -= 1;
                self.guest.push_back((Frame::Ping, self.segment));
            } else {
                break;
            }
        }
    }
}
