//! The application's loop where a bad link lies between it and the guest.
#![forbid(unsafe_code)]

use crate::rig::Rig;
use crate::sys;

impl Rig {
    /// One turn of the loop; frames of both directions go through the link.
    pub fn impaired_round(&mut self, longest: u32) {
        let mut timeout = self.tick(longest);
        self.set.clear();
        self.instance.fill(&mut timeout, &mut self.set);
        self.hand_to_link();
        if timeout > 0 {
            timeout = timeout.min(self.until_stall());
        }
        let due = self.guest.borrow().link.as_ref().and_then(|link| link.next_due());
        if let Some(due) = due {
            // poll(2) counts milliseconds: rounded up, as a round too early would find nothing to do.
            let left = u64::try_from(due - sys::monotonic_ns()).unwrap_or(0).div_ceil(1_000_000);
            timeout = timeout.min(left as u32);
        }
        if self.guest.borrow().has_frame() {
            timeout = 0;
        }
        let result = self.set.wait(timeout);
        self.deliver_to_guest();
        for _ in 0..self.frames_per_round {
            let Some(frame) = self.pop(true) else { break };
            self.instance.input(&frame);
            self.recycle(true, frame);
        }
        self.instance.poll(result < 0, &self.set);
        self.deliver_to_guest();
    }

    /// Frames get lost from now on, if the link is one that loses any.
    pub fn begin_losing(&mut self) {
        if let Some(link) = &mut self.guest.borrow_mut().link {
            link.lossy = true;
        }
    }

    /// What the guest wants to send goes onto the link, at most one round's frames.
    fn hand_to_link(&mut self) {
        let mut guest = self.guest.borrow_mut();
        for _ in 0..self.frames_per_round {
            let Some(slot) = guest.next_frame(&mut self.transmit) else { break };
            if let Some(link) = &mut guest.link {
                link.push(true, self.transmit.frame(&slot), sys::monotonic_ns());
            }
        }
    }

    fn deliver_to_guest(&mut self) {
        while let Some(frame) = self.pop(false) {
            self.guest.borrow_mut().receive(&frame);
            self.recycle(false, frame);
        }
    }

    // The guest is borrowed for these moments only, as the library's callbacks borrow it as well.
    fn pop(&self, up: bool) -> Option<Vec<u8>> {
        self.guest.borrow_mut().link.as_mut()?.pop(up, sys::monotonic_ns())
    }

    fn recycle(&self, up: bool, frame: Vec<u8>) {
        if let Some(link) = &mut self.guest.borrow_mut().link {
            link.recycle(up, frame);
        }
    }
}
