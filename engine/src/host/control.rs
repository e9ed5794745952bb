//! Control messages of datagrams (cmsg(3), RFC 3542 section 20): written and read with checked offsets.
//!
//! The macros of the C libraries trust the lengths that they find; these functions do not.

use std::ptr;

/// Bytes in front of the data of a message.
const HEADER: usize = aligned(size_of::<libc::cmsghdr>());
/// Room for the messages this library sends or asks for, two at a time.
const ROOM: usize = 128;

/// Where the next message, or its data, may begin.
const fn aligned(length: usize) -> usize {
    length.next_multiple_of(size_of::<libc::c_long>())
}

/// A buffer for control messages.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Control {
    bytes: [u8; ROOM],
    used: usize,
}

impl Control {
    /// No message, and room for some.
    pub(super) const EMPTY: Control = Control { bytes: [0; ROOM], used: 0 };

    /// Adds a message. Without effect when there is no room, which the messages of this library always have.
    pub(super) fn push(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        let start = self.used;
        let end = start + HEADER + data.len();
        let next = aligned(end);
        if next > ROOM {
            return;
        }
        if let Some(place) = self.bytes.get_mut(start + HEADER..end) {
            place.copy_from_slice(data);
        }
        // SAFETY: a cmsghdr is plain data for which all zero bytes are a valid value.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = (HEADER + data.len()) as _;
        header.cmsg_level = level;
        header.cmsg_type = kind;
        // SAFETY: `start + HEADER` was found to lie within the buffer.
        unsafe { ptr::write_unaligned(self.bytes.as_mut_ptr().add(start).cast(), header) };
        self.used = next;
    }

    /// Has `message` carry what was pushed.
    pub(super) fn send_with(&mut self, message: &mut libc::msghdr) {
        if self.used > 0 {
            message.msg_control = self.bytes.as_mut_ptr().cast();
            message.msg_controllen = self.used as _;
        }
    }

    /// Has the kernel put here what it says of a received `message`.
    pub(super) fn receive_with(&mut self, message: &mut libc::msghdr) {
        message.msg_control = self.bytes.as_mut_ptr().cast();
        message.msg_controllen = ROOM as _;
    }

    /// What the kernel said of the received `message`.
    #[allow(clippy::unnecessary_cast, reason = "the type of the length differs between C libraries")]
    pub(super) fn received(&self, message: &libc::msghdr) -> Messages<'_> {
        let used = (message.msg_controllen as usize).min(ROOM);
        Messages(self.bytes.get(..used).unwrap_or_default())
    }
}

/// Control messages that were received: level, type and data of each.
pub(super) struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (libc::c_int, libc::c_int, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..size_of::<libc::cmsghdr>())?;
        // SAFETY: the slice has the size of a cmsghdr, which is plain data of which every value is valid.
        let header: libc::cmsghdr = unsafe { ptr::read_unaligned(header.as_ptr().cast()) };
        #[allow(clippy::unnecessary_cast, reason = "the type of the length differs between C libraries")]
        let length = header.cmsg_len as usize;
        let data = self.0.get(HEADER..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((header.cmsg_level, header.cmsg_type, data))
    }
}

/// The `int` at `offset` of a message's data.
pub(super) fn int(data: &[u8], offset: usize) -> Option<libc::c_int> {
    Some(libc::c_int::from_ne_bytes(data.get(offset..)?.first_chunk().copied()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(used: usize) -> libc::msghdr {
        // SAFETY: msghdr is plain data for which all zero bytes are a valid value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_controllen = used as _;
        message
    }

    #[test]
    fn messages_are_laid_out_as_the_macros_do_and_read_back() {
        let mut control = Control::EMPTY;
        control.push(1, 2, &[3, 4]);
        control.push(5, 6, &[7; 20]);
        let mut sent = message(0);
        control.send_with(&mut sent);
        // SAFETY: these only compute, and read within the buffer that `sent` points to.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const sent);
            assert_eq!(((*first).cmsg_level, (*first).cmsg_type, (*first).cmsg_len as u32), (1, 2, libc::CMSG_LEN(2)));
            let second = libc::CMSG_NXTHDR(&raw const sent, first);
            assert_eq!(((*second).cmsg_level, *libc::CMSG_DATA(second)), (5, 7));
            assert_eq!(sent.msg_controllen as u32, libc::CMSG_SPACE(2) + libc::CMSG_SPACE(20));
        }
        let read: Vec<_> = control.received(&sent).collect();
        assert_eq!(read, [(1, 2, &[3, 4][..]), (5, 6, &[7; 20][..])]);
    }

    #[test]
    fn lengths_that_lie_end_the_messages() {
        for length in [0, 3, HEADER - 1, ROOM, usize::MAX] {
            let mut control = Control::EMPTY;
            control.push(1, 2, &[0; 8]);
            // SAFETY: the buffer is larger than a cmsghdr.
            unsafe {
                let header = control.bytes.as_mut_ptr().cast::<libc::cmsghdr>();
                (*header).cmsg_len = length as _;
            }
            let all = control.received(&message(HEADER + 8)).count();
            assert_eq!(all, 0, "length {length}");
        }
    }
}
