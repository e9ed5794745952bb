//! The way into files: a buffer with a bound, which is written out in large pieces. Who adds to it asks for room first, and what
//! finds none is the caller's to count. Nothing here waits: files that take nothing for now are asked again later, and a disk
//! that is slow is left alone for several times as long as it took.
//!
//! Where there are several files they are a ring. The caller says where the next one begins, which may be before the last
//! one has all of its bytes.

use std::io;
use std::time::Duration;

use crate::host::record_file::Record;
use crate::time;

/// How much is written at once.
const BATCH: usize = 64 * 1024;
/// How long bytes wait for more at most.
const PATIENCE: time::Duration = time::Duration::from_millis(250);
/// A write that takes longer is that of a busy disk, or of a thread that had to wait for its processor; which of the two cannot be
/// told, and of the latter this is longer than most.
const SLOW: Duration = Duration::from_millis(20);
/// After one, none follows for so many times as long: no more than a fifth of the time goes there.
const RESTS: u32 = 4;

/// What the writing has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteCost {
    /// How often something was written.
    pub writes: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How long it took.
    pub time: Duration,
    /// How long one of them took at most.
    pub longest: Duration,
}

/// See the module.
pub(super) struct Sink<R> {
    files: Vec<R>,
    /// The file that is written into.
    current: usize,
    /// What waits, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    capacity: usize,
    /// What waits from here on is for the next file.
    switch: Option<usize>,
    /// How many bytes the file has that is added to, with those that wait.
    assigned: u64,
    /// When what waits is to be written.
    due: Option<time::Instant>,
    /// A monotonic clock, and when by it the disk has rested.
    clock: fn() -> Duration,
    rested: Duration,
    cost: WriteCost,
}

impl<R: Record> Sink<R> {
    /// For files that are empty, at least one; so much may wait.
    pub(super) fn new(files: Vec<R>, capacity: usize) -> Sink<R> {
        Sink {
            files,
            current: 0,
            buffer: Vec::new(),
            start: 0,
            capacity,
            switch: None,
            assigned: 0,
            due: None,
            clock: since_start,
            rested: Duration::ZERO,
            cost: WriteCost::default(),
        }
    }

    /// For tests, which a busy machine is not to change.
    #[cfg(test)]
    pub(super) fn stop_clock(&mut self) {
        self.clock = || Duration::ZERO;
        self.rested = Duration::ZERO;
    }

    fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether so many bytes may be added.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.waiting().saturating_add(length) <= self.capacity
    }

    /// How long the file is that is added to.
    pub(super) fn length(&self) -> u64 {
        self.assigned
    }

    pub(super) fn cost(&self) -> WriteCost {
        self.cost
    }

    /// When [`Sink::flush`] is to be called, if not before.
    pub(super) fn due(&self) -> Option<time::Instant> {
        self.due
    }

    /// Adds what `write` appends.
    pub(super) fn add(&mut self, now: time::Instant, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.buffer.len();
        write(&mut self.buffer);
        self.assigned += (self.buffer.len() - before) as u64;
        if self.due.is_none() {
            self.due = Some(now + PATIENCE);
        }
    }

    /// Where the next byte that is added will be, until something is written.
    pub(super) fn mark(&self) -> usize {
        self.buffer.len()
    }

    /// Changes what was added since the last [`Sink::mark`], and nothing before.
    pub(super) fn amend(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let before = self.buffer.len() as u64;
        change(&mut self.buffer);
        self.assigned = (self.assigned + self.buffer.len() as u64).saturating_sub(before);
    }

    /// Whether there is more than one file.
    pub(super) fn is_ring(&self) -> bool {
        self.files.len() > 1
    }

    /// Whether what comes may be for the next file: there is one, and no other waits to be begun.
    pub(super) fn may_switch(&self) -> bool {
        self.is_ring() && self.switch.is_none()
    }

    /// What is added from now on is for the next file, if that may be.
    pub(super) fn next_file(&mut self) {
        if self.may_switch() {
            self.switch = Some(self.buffer.len());
            self.assigned = 0;
        }
    }

    /// Whether enough waits to be written.
    pub(super) fn has_batch(&self) -> bool {
        self.waiting() >= BATCH
    }

    /// Writes what waits, as far as the file and the disk's rest allow.
    ///
    /// # Errors
    /// What the system says; there is no use in going on.
    pub(super) fn flush(&mut self, now: time::Instant) -> io::Result<()> {
        if (self.clock)() >= self.rested {
            self.write_out(false)?;
        }
        self.due = (self.waiting() > 0).then_some(now + PATIENCE);
        Ok(())
    }

    /// Writes what waits, whether or not the disk has rested: nothing comes after it.
    ///
    /// # Errors
    /// As for [`Sink::flush`].
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.due = None;
        self.write_out(true)
    }

    /// `last`: nothing comes afterwards, so that no rest is taken.
    fn write_out(&mut self, last: bool) -> io::Result<()> {
        loop {
            if self.switch.is_some_and(|at| at <= self.start) {
                self.switch = None;
                self.current = (self.current + 1) % self.files.len().max(1);
                if let Some(file) = self.files.get_mut(self.current) {
                    file.begin_anew()?;
                }
            }
            let end = self.switch.unwrap_or(self.buffer.len());
            let Some(bytes) = self.buffer.get(self.start..end).filter(|bytes| !bytes.is_empty()) else { break };
            let Some(file) = self.files.get_mut(self.current) else { break };
            let begun = (self.clock)();
            let written = file.write(bytes);
            let took = (self.clock)().saturating_sub(begun);
            self.cost.writes += 1;
            self.cost.time += took;
            self.cost.longest = self.cost.longest.max(took);
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.start += count;
                    self.cost.bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if took > SLOW && !last {
                self.rested = begun + took + took * RESTS;
                break;
            }
        }
        self.forget_written();
        Ok(())
    }

    /// Gives the place of what was written back.
    fn forget_written(&mut self) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
        } else if self.start >= self.capacity / 2 {
            self.buffer.drain(..self.start);
        } else {
            return;
        }
        self.switch = self.switch.map(|at| at - self.start);
        self.start = 0;
    }
}

fn since_start() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    thread_local!(static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) });

    /// What it was told, how much it takes at once, and how long that takes it.
    #[derive(Clone, Default)]
    struct File {
        bytes: Rc<RefCell<Vec<u8>>>,
        room: Rc<Cell<usize>>,
        slow: Rc<Cell<Duration>>,
    }

    impl Record for File {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            CLOCK.set(CLOCK.get() + self.slow.get());
            let count = bytes.len().min(self.room.get());
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room.set(self.room.get() - count);
            self.bytes.borrow_mut().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn begin_anew(&mut self) -> io::Result<()> {
            self.bytes.borrow_mut().clear();
            Ok(())
        }
    }

    fn file() -> File {
        let file = File::default();
        file.room.set(usize::MAX);
        file
    }

    fn sink(files: &[File]) -> Sink<File> {
        let mut sink = Sink::new(files.to_vec(), 1000);
        sink.clock = || CLOCK.get();
        sink
    }

    const NOW: time::Instant = time::Instant::from_secs(1);

    #[test]
    fn what_a_file_does_not_take_waits_up_to_the_bound_and_in_order() {
        let file = file();
        let mut sink = sink(std::slice::from_ref(&file));
        file.room.set(3);
        assert_eq!(sink.due(), None);
        sink.add(NOW, |to| to.extend_from_slice(b"abcdef"));
        assert_eq!(sink.due(), Some(NOW + PATIENCE));
        sink.flush(NOW + PATIENCE).unwrap();
        assert_eq!((&file.bytes.borrow()[..], sink.due()), (&b"abc"[..], Some(NOW + PATIENCE + PATIENCE)));
        assert!(sink.has_room(997) && !sink.has_room(998));
        sink.add(NOW, |to| to.resize(to.len() + 997, b'x'));
        assert!(!sink.has_room(1));
        file.room.set(usize::MAX);
        sink.flush(NOW).unwrap();
        assert_eq!((file.bytes.borrow().len(), &file.bytes.borrow()[..7]), (1003, &b"abcdefx"[..]));
        assert!(sink.has_room(1000) && sink.due().is_none());
    }

    #[test]
    fn a_slow_disk_rests_four_times_as_long_as_it_took() {
        let file = file();
        let mut sink = sink(std::slice::from_ref(&file));
        file.slow.set(Duration::from_millis(25));
        sink.add(NOW, |to| to.push(1));
        sink.flush(NOW).unwrap();
        assert_eq!(file.bytes.borrow().len(), 1);
        sink.add(NOW, |to| to.push(2));
        CLOCK.set(CLOCK.get() + Duration::from_millis(99));
        sink.flush(NOW).unwrap();
        assert_eq!(file.bytes.borrow().len(), 1);
        CLOCK.set(CLOCK.get() + Duration::from_millis(1));
        sink.flush(NOW).unwrap();
        assert_eq!(file.bytes.borrow().len(), 2);
        sink.add(NOW, |to| to.extend_from_slice(&[3, 4]));
        file.room.set(1);
        sink.finish().unwrap();
        file.room.set(1);
        sink.finish().unwrap();
        assert_eq!(file.bytes.borrow().len(), 4, "at the end it has to");
        assert_eq!((sink.cost().writes, sink.cost().longest), (5, Duration::from_millis(25)));
    }

    #[test]
    fn the_files_are_a_ring_whatever_waits() {
        let files = [file(), file()];
        let mut sink = sink(&files);
        files[0].room.set(1);
        sink.add(NOW, |to| to.extend_from_slice(b"aa"));
        sink.next_file();
        assert_eq!(sink.length(), 0);
        sink.add(NOW, |to| to.extend_from_slice(b"bbb"));
        assert!(!sink.may_switch(), "the first has not got all of its own");
        sink.flush(NOW).unwrap();
        assert_eq!((&files[0].bytes.borrow()[..], &files[1].bytes.borrow()[..]), (&b"a"[..], &b""[..]));
        files[0].room.set(usize::MAX);
        sink.flush(NOW).unwrap();
        assert_eq!((&files[0].bytes.borrow()[..], &files[1].bytes.borrow()[..]), (&b"aa"[..], &b"bbb"[..]));
        sink.next_file();
        sink.add(NOW, |to| to.push(b'c'));
        sink.finish().unwrap();
        assert_eq!(&files[0].bytes.borrow()[..], b"c", "it is begun anew");
        assert!(!super::tests::sink(&[file()]).may_switch());
    }

    #[test]
    fn what_ended_a_file_is_told() {
        struct Full;
        impl Record for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn begin_anew(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = Sink::new(vec![Full], 100);
        sink.flush(NOW).unwrap();
        sink.add(NOW, |to| to.push(1));
        assert_eq!(sink.flush(NOW).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
