//! What a client has sent and is not read yet, and what it was answered and has not taken yet.

/// The longest line, in bytes, without its end: a policy of as many rules as there may be is one.
pub(super) const LONGEST: usize = 1024 * 1024;
/// As much room for lines as a client keeps that has sent a longer one.
const KEPT: usize = 64 * 1024;
/// A client that has so much to take is served on when it has taken that.
const ENOUGH: usize = 64 * 1024;

/// Bytes in, lines out.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Up to here they were given out.
    begun: usize,
    /// Up to here there is no end of a line.
    looked: usize,
}

/// There is no end to the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.begun > 0 {
            self.bytes.drain(..self.begun);
            self.looked -= self.begun;
            self.begun = 0;
            if self.bytes.len() <= KEPT {
                self.bytes.shrink_to(KEPT);
            }
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether there is room for more before a line has to end.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() - self.begun <= LONGEST
    }

    /// The next line, without its end; `None` while that has not come.
    ///
    /// # Errors
    /// It is too long.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let rest = self.bytes.get(self.looked..).unwrap_or_default();
        let Some(end) = rest.iter().position(|&byte| byte == b'\n').map(|at| self.looked + at) else {
            self.looked = self.bytes.len();
            return if self.has_room() { Ok(None) } else { Err(TooLong) };
        };
        let line = self.begun..end;
        (self.begun, self.looked) = (end + 1, end + 1);
        if line.len() > LONGEST {
            return Err(TooLong);
        }
        let line = self.bytes.get(line).unwrap_or_default();
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

/// Answers on their way.
#[derive(Debug, Default)]
pub(super) struct Answers {
    bytes: Vec<u8>,
    taken: usize,
}

impl Answers {
    /// Adds a line.
    pub(super) fn push(&mut self, line: &str) {
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
    }

    /// What is to be taken.
    pub(super) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// So many bytes of it were.
    pub(super) fn took(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.bytes.len());
        if self.taken == self.bytes.len() {
            // An answer can be long; a client that asks for little needs no more.
            self.bytes.clear();
            self.bytes.shrink_to(4096);
            self.taken = 0;
        }
    }

    /// Whether so much waits that nothing should be added.
    pub(super) fn is_full(&self) -> bool {
        self.waiting().len() >= ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_came_in() {
        let mut lines = Lines::default();
        for byte in b"one\r\n\ntwo" {
            lines.put(&[*byte]);
        }
        assert_eq!(lines.next(), Ok(Some(&b"one"[..])));
        assert_eq!(lines.next(), Ok(Some(&b""[..])));
        assert_eq!(lines.next(), Ok(None));
        lines.put(b"\nthree\n");
        assert_eq!(lines.next(), Ok(Some(&b"two"[..])));
        assert_eq!(lines.next(), Ok(Some(&b"three"[..])));
        assert_eq!(lines.next(), Ok(None));
        assert_eq!(lines.bytes.len() - lines.begun, 0);
    }

    #[test]
    fn a_line_has_an_end() {
        let mut lines = Lines::default();
        lines.put(&[b'x'; LONGEST]);
        assert_eq!(lines.next(), Ok(None));
        assert!(lines.has_room());
        lines.put(b"\n");
        assert_eq!(lines.next().map(|line| line.map(<[u8]>::len)), Ok(Some(LONGEST)));
        lines.put(&[b'x'; LONGEST + 1]);
        lines.put(b"\n");
        assert_eq!(lines.next(), Err(TooLong));
        lines.put(&[b'x'; LONGEST + 1]);
        assert!(!lines.has_room());
        assert_eq!(lines.next(), Err(TooLong));
    }

    #[test]
    fn answers_are_taken_in_pieces() {
        let mut answers = Answers::default();
        answers.push("abc");
        answers.took(2);
        answers.push("d");
        assert_eq!(answers.waiting(), b"c\nd\n");
        assert!(!answers.is_full());
        answers.push(&"x".repeat(ENOUGH));
        assert!(answers.is_full());
        answers.took(usize::MAX / 2);
        assert!(answers.waiting().is_empty() && answers.bytes.capacity() < ENOUGH);
    }
}
