//! The capture: each frame of either direction becomes a block, or is counted as dropped.

use std::io;
use std::path::PathBuf;

use super::options::CaptureOptions;
use super::pcapng::{self, Direction, Statistics};
use super::sink::{Sink, WriteCost};
use super::wall_clock::WallTime;
use crate::host::record_file::{Record, RecordFile};
use crate::time::Instant;

/// What may wait to be written, with room for what is about the capture itself.
const CAPACITY: usize = 1 << 20;
/// What a file's end and the beginning of the next one take at most.
const OWN: usize = 1024;

/// A capture that is going on.
pub(crate) struct Capture<R = RecordFile> {
    sink: Sink<R>,
    path: PathBuf,
    snap_length: usize,
    max_bytes: Option<u64>,
    seen: Statistics,
    /// So many of the dropped frames are in the file.
    told: u64,
    /// The number of the file that is added to, of all there were.
    file: u64,
    /// Why it has ended.
    ended: Option<String>,
}

/// What a capture, or a log, has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Frames, or lines, that there were to record.
    pub seen: u64,
    /// Those of them for which there was no room.
    pub dropped: u64,
    /// What the writing has cost.
    pub cost: WriteCost,
}

impl Recorded {
    /// What another one has come to as well.
    pub(crate) fn add(&mut self, other: &Recorded) {
        self.seen += other.seen;
        self.dropped += other.dropped;
        self.cost.writes += other.cost.writes;
        self.cost.bytes += other.cost.bytes;
        self.cost.time += other.cost.time;
        self.cost.longest = self.cost.longest.max(other.cost.longest);
    }
}

impl Capture {
    /// Opens the files.
    ///
    /// # Errors
    /// What the system says; the text names the file.
    pub(crate) fn open(options: &CaptureOptions) -> io::Result<Capture> {
        let open = |path: PathBuf| {
            RecordFile::create(&path)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        let files = options.paths().map(open).collect::<io::Result<Vec<RecordFile>>>()?;
        Ok(Capture::new(files, options))
    }
}

impl<R: Record> Capture<R> {
    fn new(files: Vec<R>, options: &CaptureOptions) -> Capture<R> {
        let mut capture = Capture {
            sink: Sink::new(files, CAPACITY),
            path: options.path().to_owned(),
            snap_length: options.snap_length,
            max_bytes: options.max_bytes,
            seen: Statistics { since: WallTime::now(), received: 0, dropped: 0 },
            told: 0,
            file: 1,
            ended: None,
        };
        capture.begin_file(Instant::ZERO);
        capture.flush(Instant::ZERO);
        capture
    }

    /// Takes frames of one direction, in order.
    pub(crate) fn take<'a>(&mut self, direction: Direction, frames: impl Iterator<Item = &'a [u8]>, now: Instant) {
        // Frames that come at once have one time.
        let at = WallTime::now();
        for frame in frames {
            self.seen.received += 1;
            if !self.make_room(pcapng::packet_len(frame.len().min(self.snap_length)), at, now) {
                self.seen.dropped += 1;
                continue;
            }
            let snap_length = self.snap_length;
            self.sink.add(now, |to| pcapng::packet(to, direction, frame, snap_length, at));
            if self.sink.has_batch() {
                self.flush(now);
            }
        }
    }

    /// Whether there is room for a block; sees to the end of a file that is full, and tells of frames that were dropped.
    fn make_room(&mut self, length: usize, at: WallTime, now: Instant) -> bool {
        if self.ended.is_some() || !self.sink.has_room(length + OWN) {
            return false;
        }
        let is_full = |most| self.sink.length() + (length + OWN) as u64 > most;
        if self.max_bytes.is_some_and(is_full) {
            if !self.sink.may_switch() {
                self.flush(now);
            }
            if !self.sink.may_switch() {
                return self.meet_limit();
            }
            self.tell(at, now);
            self.sink.next_file();
            self.file += 1;
            self.begin_file(now);
        } else if self.told != self.seen.dropped {
            self.tell(at, now);
        }
        true
    }

    /// There is no next file, which is the end, or the last one is still not written.
    fn meet_limit(&mut self) -> bool {
        if self.ended.is_none() && !self.sink.is_ring() {
            self.finish();
            if self.ended.is_none() {
                self.end("the file is as long as it may be");
            }
        }
        false
    }

    fn begin_file(&mut self, now: Instant) {
        let comment = format!("file {} of the capture of process {}", self.file, std::process::id());
        let snap_length = self.snap_length;
        self.sink.add(now, |to| pcapng::begin(to, &comment, snap_length));
    }

    /// Puts into the file what was seen and what was dropped.
    fn tell(&mut self, at: WallTime, now: Instant) {
        let seen = self.seen;
        self.told = seen.dropped;
        self.sink.add(now, |to| pcapng::statistics(to, &seen, at));
    }

    fn flush(&mut self, now: Instant) {
        if let Err(error) = self.sink.flush(now) {
            self.end(&error.to_string());
        }
    }

    fn end(&mut self, why: &str) {
        self.ended = Some(format!("the capture to {} has ended: {why}", self.path.display()));
    }

    /// When [`Capture::on_deadline`] is to be called, if not before.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.sink.due().filter(|_| self.ended.is_none())
    }

    /// What waits has waited long enough.
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        self.flush(now);
    }

    /// Why the capture has ended, if it has.
    pub(crate) fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Nothing more comes: what waits is written, with what was seen.
    pub(crate) fn finish(&mut self) {
        if self.ended.is_none() {
            self.tell(WallTime::now(), Instant::ZERO);
            if let Err(error) = self.sink.finish() {
                self.end(&error.to_string());
            }
        }
    }

    pub(crate) fn recorded(&self) -> Recorded {
        Recorded { seen: self.seen.received, dropped: self.seen.dropped, cost: self.sink.cost() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::pcapng::tests::blocks;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct File {
        bytes: Rc<RefCell<Vec<u8>>>,
        stalls: Rc<Cell<bool>>,
    }

    impl Record for File {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.stalls.get() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.bytes.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn begin_anew(&mut self) -> io::Result<()> {
            self.bytes.borrow_mut().clear();
            Ok(())
        }
    }

    const NOW: Instant = Instant::from_secs(1);

    fn capture(files: &[File], options: &CaptureOptions) -> Capture<File> {
        let mut capture = Capture::new(files.to_vec(), options);
        capture.sink.stop_clock();
        capture
    }
    const PACKET: u32 = 6;
    const STATISTICS: u32 = 5;

    fn kinds(file: &File) -> Vec<u32> {
        blocks(&file.bytes.borrow()).iter().map(|block| block.0).collect()
    }

    /// The first four bytes of each frame in a file.
    fn marks(file: &File) -> Vec<u32> {
        let blocks = blocks(&file.bytes.borrow());
        let frames = blocks.iter().filter(|block| block.0 == PACKET);
        frames.map(|block| u32::from_be_bytes(block.1[20..24].try_into().unwrap())).collect()
    }

    fn frame(mark: u32, length: usize) -> Vec<u8> {
        let mut frame = mark.to_be_bytes().to_vec();
        frame.resize(length, 0);
        frame
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told_before_what_comes_next() {
        let file = File::default();
        let mut capture = capture(std::slice::from_ref(&file), &CaptureOptions::new("x"));
        file.stalls.set(true);
        for mark in 0..2000 {
            capture.take(Direction::Inbound, [&frame(mark, 1000)[..]].into_iter(), NOW);
        }
        let dropped = capture.recorded().dropped;
        assert!((900..1000).contains(&dropped), "{dropped}");
        file.stalls.set(false);
        capture.on_deadline(NOW);
        capture.take(Direction::Outbound, [&frame(7777, 60)[..]].into_iter(), NOW);
        capture.finish();
        let (kinds, marks) = (kinds(&file), marks(&file));
        assert_eq!(kinds[kinds.len() - 3..], [STATISTICS, PACKET, STATISTICS]);
        let mut expected: Vec<u32> = (0..2000 - dropped as u32).collect();
        expected.push(7777);
        assert_eq!(marks, expected);
    }

    #[test]
    fn a_ring_has_whole_files_and_the_last_frames() {
        let files = [File::default(), File::default(), File::default()];
        let options = CaptureOptions::new("x").max_bytes(1 << 20).files(3);
        let mut capture = capture(&files, &options);
        for mark in 0..10_000 {
            capture.take(Direction::Inbound, [&frame(mark, 1000)[..]].into_iter(), NOW);
        }
        capture.finish();
        let mut all = Vec::new();
        for file in &files {
            assert!(file.bytes.borrow().len() <= 1 << 20);
            let kinds = kinds(file);
            assert_eq!((kinds[0], kinds[1], kinds[2]), (0x0a0d_0d0a, 1, PACKET));
            assert_eq!(kinds.last(), Some(&STATISTICS));
            all.extend(marks(file));
        }
        all.sort_unstable();
        assert_eq!(all, (10_000 - all.len() as u32..10_000).collect::<Vec<_>>());
        assert!(all.len() > 2000 && capture.recorded().dropped == 0);
    }

    #[test]
    fn one_file_that_may_grow_no_more_ends_the_capture() {
        let file = File::default();
        let mut capture = capture(std::slice::from_ref(&file), &CaptureOptions::new("x").max_bytes(1 << 20));
        for mark in 0..2_000 {
            capture.take(Direction::Inbound, [&frame(mark, 1000)[..]].into_iter(), NOW);
        }
        assert_eq!(capture.ended(), Some("the capture to x has ended: the file is as long as it may be"));
        assert_eq!((capture.due(), kinds(&file).last()), (None, Some(&STATISTICS)));
        assert!(file.bytes.borrow().len() <= 1 << 20 && marks(&file).len() > 900);
    }
}
