//! The way into files: a buffer with a bound, which is written out in large pieces. Who adds to it asks for room first, and what
//! finds none is the caller's to count. Nothing here waits: files that take nothing for now are asked again later, and a disk
//! that is slow is left alone for several times as long as it took.
//!
//! Where there are several files they are a ring. The caller says where the next one begins, which may be before the last
//! one has all of its bytes.

use std::io::{self, IoSlice};
use std::time::Duration;

use super::torn::{Blocks, Torn};
use crate::host::record_file::Record;
use crate::time;

/// How much is written at once. Four times as much would be cheaper on some file systems; but the network waits for each write, and
/// what a process may not write any more is lost by as much.
const BATCH: usize = 64 * 1024;
/// By so much at least the buffer grows.
const GROWTH: usize = 64 * 1024;
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
    /// What waits, from `start` to `end`. What is behind has been made once and is written over, so that a block of a known length
    /// is put together in its place.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    capacity: usize,
    /// Up to here blocks may be added of which there is nothing else to be looked at ([`Sink::add_quickly`]); no further than the
    /// buffer goes.
    quick_until: usize,
    /// The block of which the file has a part.
    torn: Torn,
    blocks: Blocks,
    /// What counts of that which waited when the file's end was met.
    lost: u64,
    /// What waits from here on is for the next file.
    switch: Option<usize>,
    /// Where the first byte of the buffer is in the file that is added to: before its beginning, if it is another one's.
    origin: i64,
    /// When what waits is to be written.
    due: Option<time::Instant>,
    /// A monotonic clock, and when by it the disk has rested.
    clock: fn() -> Duration,
    rested: Duration,
    cost: WriteCost,
}

impl<R: Record> Sink<R> {
    /// For files that are empty, at least one; so much may wait. What is added is whole blocks, so that none is left in part where a
    /// file's end is met.
    pub(super) fn new(files: Vec<R>, capacity: usize, blocks: Blocks) -> Sink<R> {
        Sink {
            files,
            current: 0,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            capacity,
            quick_until: 0,
            torn: Torn::default(),
            blocks,
            lost: 0,
            switch: None,
            origin: 0,
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
        self.end - self.start
    }

    /// Whether so many bytes may be added.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.waiting().saturating_add(length) <= self.capacity
    }

    /// How long the file is that is added to.
    pub(super) fn length(&self) -> u64 {
        self.origin.saturating_add_unsigned(self.end as u64).max(0).unsigned_abs()
    }

    pub(super) fn cost(&self) -> WriteCost {
        self.cost
    }

    /// What had been added and is not in the file, as that could not be written any more.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// When [`Sink::flush`] is to be called, if not before.
    pub(super) fn due(&self) -> Option<time::Instant> {
        self.due
    }

    /// Adds what `write` appends.
    pub(super) fn add(&mut self, now: time::Instant, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.add_block(now, bytes.len(), |place| place.copy_from_slice(&bytes));
    }

    /// Adds a block of a known length, which `write` puts into its place. What is there before is anything.
    pub(super) fn add_block(&mut self, now: time::Instant, length: usize, write: impl FnOnce(&mut [u8])) {
        let end = self.end + length;
        self.grow(end);
        if let Some(place) = self.buffer.get_mut(self.end..end) {
            write(place);
            self.end = end;
        }
        if self.due.is_none() {
            self.due = Some(now + PATIENCE);
        }
    }

    /// The same, as far as [`Sink::allow`] has said that nothing is to be looked at; where the block begins. `None` where it is not added.
    #[inline]
    pub(super) fn add_quickly(&mut self, length: usize, write: impl FnOnce(&mut [u8])) -> Option<usize> {
        let (start, end) = (self.end, self.end + length);
        if end > self.quick_until {
            return None;
        }
        write(self.buffer.get_mut(start..end)?);
        self.end = end;
        Some(start)
    }

    /// Blocks may be added quickly until a batch is full, or the file has so many bytes. Whatever is written ends that.
    pub(super) fn allow(&mut self, most: u64) {
        if self.due.is_none() {
            return;
        }
        let batch = self.start + BATCH - 1;
        self.grow(batch);
        let file = usize::try_from(i64::try_from(most).unwrap_or(i64::MAX).saturating_sub(self.origin)).unwrap_or(0);
        self.quick_until = batch.min(file).min(self.buffer.len());
    }

    /// The next block is no quick one.
    pub(super) fn disallow(&mut self) {
        self.quick_until = 0;
    }

    fn grow(&mut self, length: usize) {
        if self.buffer.len() >= length {
            return;
        }
        if self.buffer.is_empty() {
            // This is zero without anybody's having to write that. More is rarely used.
            self.buffer = vec![0; length.max(BATCH) + GROWTH];
        } else {
            self.buffer.resize(length.next_multiple_of(GROWTH), 0);
        }
    }

    /// Where the next byte that is added will be, until something is written.
    pub(super) fn mark(&self) -> usize {
        self.end
    }

    /// Changes what was added since a [`Sink::mark`], and nothing before.
    pub(super) fn amend(&mut self, mark: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.buffer.get(mark..self.end).unwrap_or_default().to_vec();
        change(&mut bytes);
        let end = mark + bytes.len();
        self.grow(end);
        if let Some(place) = self.buffer.get_mut(mark..end) {
            place.copy_from_slice(&bytes);
            self.end = end;
        }
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
            self.switch = Some(self.end);
            self.origin = 0_i64.saturating_sub_unsigned(self.end as u64);
            self.disallow();
        }
    }

    /// Whether enough waits to be written.
    #[inline]
    pub(super) fn has_batch(&self) -> bool {
        self.waiting() >= BATCH
    }

    /// Writes what waits, as far as the file and the disk's rest allow.
    ///
    /// # Errors
    /// What the system says; there is no use in going on, and the last block in the file is a whole one.
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

    /// Writes what waits and behind it a block that is put together of these pieces, of which no copy is made: the block is as
    /// if it had been added. False where nothing of it was taken, and it is still to be added.
    ///
    /// # Errors
    /// As for [`Sink::flush`].
    pub(super) fn write_through(&mut self, now: time::Instant, pieces: [&[u8]; 4]) -> io::Result<bool> {
        if self.switch.is_some() || (self.clock)() < self.rested {
            return Ok(false);
        }
        self.disallow();
        let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
        let [first, second, third, fourth] = pieces.map(IoSlice::new);
        let all = [IoSlice::new(waiting), first, second, third, fourth];
        let Some(file) = self.files.get_mut(self.current) else { return Ok(false) };
        let begun = (self.clock)();
        let written = file.write_vectored(&all);
        let took = self.account(begun);
        if took > SLOW {
            self.rested = begun + took + took * RESTS;
        }
        let count = match written {
            Ok(0) => return Err(self.broken(io::ErrorKind::WriteZero.into())),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => 0,
            Err(error) => return Err(self.broken(error)),
        };
        self.cost.bytes += count as u64;
        let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(mut taken) = count.checked_sub(waiting.len()) else {
            self.torn = self.torn.after(waiting, count, self.blocks.length);
            self.start += count;
            self.forget_written();
            return Ok(false);
        };
        self.torn = Torn::of(taken, pieces.iter().map(|piece| piece.len()).sum());
        self.start = self.end;
        self.forget_written();
        self.origin = self.origin.saturating_add_unsigned(taken as u64);
        for piece in pieces {
            let rest = piece.get(taken..).unwrap_or_default();
            taken = taken.saturating_sub(piece.len());
            self.add_block(now, rest.len(), |place| place.copy_from_slice(rest));
        }
        self.due = (self.waiting() > 0).then_some(now + PATIENCE);
        Ok(true)
    }

    /// A write has begun then and is over now; how long it took.
    fn account(&mut self, begun: Duration) -> Duration {
        let took = (self.clock)().saturating_sub(begun);
        self.cost.writes += 1;
        self.cost.time += took;
        self.cost.longest = self.cost.longest.max(took);
        took
    }

    /// `last`: nothing comes afterwards, so that no rest is taken.
    fn write_out(&mut self, last: bool) -> io::Result<()> {
        self.disallow();
        loop {
            if self.switch.is_some_and(|at| at <= self.start) {
                self.switch = None;
                self.current = (self.current + 1) % self.files.len().max(1);
                if let Some(file) = self.files.get_mut(self.current) {
                    file.begin_anew()?;
                }
            }
            let end = self.switch.unwrap_or(self.end);
            let Some(bytes) = self.buffer.get(self.start..end).filter(|bytes| !bytes.is_empty()) else { break };
            let Some(file) = self.files.get_mut(self.current) else { break };
            let begun = (self.clock)();
            let written = file.write(bytes);
            let took = self.account(begun);
            match written {
                Ok(0) => return Err(self.broken(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    let bytes = self.buffer.get(self.start..end).unwrap_or_default();
                    self.torn = self.torn.after(bytes, count, self.blocks.length);
                    self.start += count;
                    self.cost.bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(self.broken(error)),
            }
            if took > SLOW && !last {
                self.rested = begun + took + took * RESTS;
                break;
            }
        }
        self.forget_written();
        Ok(())
    }

    /// Nothing more can be written: what the file has of a block whose rest never comes is taken back.
    fn broken(&mut self, error: io::Error) -> io::Error {
        let torn = std::mem::take(&mut self.torn);
        if let (1.., Some(file)) = (torn.there, self.files.get_mut(self.current)) {
            file.take_back(torn.there);
            self.lost += 1;
        }
        let mut rest = self.buffer.get(self.start + torn.rest..self.end).unwrap_or_default();
        while let Some((block, behind)) = rest.split_at_checked((self.blocks.length)(rest).max(1)) {
            self.lost += u64::from((self.blocks.counts)(block));
            rest = behind;
        }
        self.start = self.end;
        error
    }

    /// Gives the place of what was written back.
    fn forget_written(&mut self) {
        if self.start < self.end {
            if self.start < self.capacity / 2 {
                return;
            }
            self.buffer.copy_within(self.start..self.end, 0);
        }
        self.switch = self.switch.map(|at| at - self.start);
        self.origin = self.origin.saturating_add_unsigned(self.start as u64);
        self.end -= self.start;
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
        /// Takes bytes of several places in one go.
        in_one: bool,
        /// What has no room never has.
        full: bool,
    }

    impl Record for File {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            CLOCK.set(CLOCK.get() + self.slow.get());
            let count = bytes.len().min(self.room.get());
            if count == 0 {
                let full = if self.full { io::ErrorKind::StorageFull } else { io::ErrorKind::WouldBlock };
                return Err(full.into());
            }
            self.room.set(self.room.get() - count);
            self.bytes.borrow_mut().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
            let all = pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<u8>>();
            self.write(if self.in_one { &all } else { first })
        }

        fn begin_anew(&mut self) -> io::Result<()> {
            self.bytes.borrow_mut().clear();
            Ok(())
        }

        fn take_back(&mut self, bytes: usize) {
            let left = self.bytes.borrow().len() - bytes;
            self.bytes.borrow_mut().truncate(left);
        }
    }

    /// Each byte is a block but those of digits and of letters, which go on as long as there are such.
    fn block_length(bytes: &[u8]) -> usize {
        let same = |byte: &&u8| bytes[0].is_ascii_alphanumeric() && byte.is_ascii_digit() == bytes[0].is_ascii_digit();
        bytes.iter().skip(1).take_while(same).count() + 1
    }

    const BLOCKS: Blocks = Blocks { length: block_length, counts: |block| block[0] != b'-' };

    fn file() -> File {
        let file = File::default();
        file.room.set(usize::MAX);
        file
    }

    fn sink(files: &[File]) -> Sink<File> {
        let mut sink = Sink::new(files.to_vec(), 1000, BLOCKS);
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
    fn a_block_that_is_written_through_is_behind_what_waits_however_much_is_taken() {
        // Five bytes wait, and the block has nine.
        for taken in 0..=14 {
            for in_one in [false, true] {
                let file = File { in_one, ..file() };
                let mut sink = sink(std::slice::from_ref(&file));
                sink.add(NOW, |to| to.extend_from_slice(b"01234"));
                file.room.set(taken);
                let pieces: [&[u8]; 4] = [b"ab", b"", b"cdefg", b"hi"];
                let is_there = sink.write_through(NOW, pieces).unwrap();
                assert_eq!(is_there, taken >= 5, "{taken}");
                if !is_there {
                    sink.add(NOW, |to| to.extend_from_slice(&pieces.concat()));
                }
                assert_eq!((sink.length(), sink.due().is_some()), (14, file.bytes.borrow().len() < 14));
                file.room.set(usize::MAX);
                sink.add(NOW, |to| to.push(b'!'));
                sink.flush(NOW).unwrap();
                assert_eq!((&file.bytes.borrow()[..], sink.cost().bytes), (&b"01234abcdefghi!"[..], 15));
            }
        }
        // While the disk rests, or another file is to be begun, there is only the way through the buffer.
        let files = [file(), file()];
        let mut sink = sink(&files);
        sink.next_file();
        assert!(!sink.write_through(NOW, [b"a", b"", b"", b""]).unwrap());
        sink.flush(NOW).unwrap();
        files[1].slow.set(SLOW * 2);
        assert!(sink.write_through(NOW, [b"a", b"", b"", b""]).unwrap());
        assert!(!sink.write_through(NOW, [b"b", b"", b"", b""]).unwrap());
        assert_eq!(&files[1].bytes.borrow()[..], b"a");
    }

    #[test]
    fn a_file_that_takes_no_more_has_whole_blocks() {
        // A disk that fills takes what it can, and then says so.
        for room in 0..=14 {
            for through in [false, true] {
                let file = File { in_one: true, full: true, ..file() };
                let mut sink = sink(std::slice::from_ref(&file));
                file.room.set(room);
                let blocks: [&[u8]; 3] = [b"01234", b"abcd", b"56789"];
                let mut ended = false;
                for block in blocks {
                    let is_there = through && !ended && {
                        let written = sink.write_through(NOW, [b"", block, b"", b""]);
                        ended |= written.is_err();
                        written.unwrap_or(false)
                    };
                    if !is_there {
                        sink.add(NOW, |to| to.extend_from_slice(block));
                    }
                }
                ended |= !ended && sink.flush(NOW).is_err();
                assert_eq!(ended, room < 14, "{room}");
                let whole = [0, 5, 9, 14].into_iter().rfind(|end| *end <= room).unwrap();
                assert_eq!(&file.bytes.borrow()[..], &b"01234abcd56789"[..whole], "{room} {through}");
                let count = [5, 9, 14].into_iter().filter(|end| *end <= room).count() as u64;
                // One that could not be written through was never added: it is its owner's to count.
                assert!(through || sink.lost() == 3 - count, "{room}");
            }
        }
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
            fn take_back(&mut self, _: usize) {}
        }
        let mut sink = Sink::new(vec![Full], 100, BLOCKS);
        sink.flush(NOW).unwrap();
        sink.add(NOW, |to| to.push(1));
        assert_eq!(sink.flush(NOW).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(sink.lost(), 1);
        sink.add(NOW, |to| to.extend_from_slice(b"ab-12-"));
        assert!(sink.flush(NOW).is_err());
        assert_eq!(sink.lost(), 3, "what only stands beside does not count");
    }
}
