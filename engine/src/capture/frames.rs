//! The capture: each frame of either direction becomes a block, or is counted as dropped.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use super::choice::Choice;
use super::ends::Ends;
use super::notes::{Notes, Remark};
use super::options::CaptureOptions;
use super::pcapng::{self, Direction, Frame, Statistics};
use super::sink::{Sink, WriteCost};
use super::wall_clock::WallTime;
use crate::host::record_file::{Record, RecordFile};
use crate::time::Instant;

/// What may wait to be written, with room for what is about the capture itself.
const CAPACITY: usize = 1 << 20;
/// A frame of which so much is captured is written from where it is.
const LARGE: usize = 16 * 1024;
/// What a file's end and the beginning of the next one take at most, with what stands beside one frame.
const OWN: usize = 4096;
/// How many names are remembered; the oldest goes, and is told again.
const MOST_NAMES: usize = 64;

/// A capture that is going on.
pub(crate) struct Capture<R = RecordFile> {
    sink: Sink<R>,
    path: PathBuf,
    snap_length: usize,
    max_bytes: u64,
    choice: Choice,
    /// Where the block of a frame begins that is being looked at.
    open: Option<usize>,
    /// The names that are in the file, as far as they are remembered.
    names: VecDeque<(IpAddr, String)>,
    seen: Statistics,
    /// So many of the dropped frames are in the file.
    told: u64,
    /// The number of the file that is added to, of all there were.
    file: u64,
    /// The last reading of the time of day.
    read: Reading,
    /// Why it has ended.
    ended: Option<String>,
}

/// A reading of the time of day.
#[derive(Clone, Copy)]
struct Reading {
    at: WallTime,
    /// On the application's clock.
    now: Instant,
    /// So often it may be used again: that clock may stand still.
    left: u32,
}

/// How often a reading of the time of day is used at most.
const ONE_READING: u32 = 16;

/// What a capture, or a log, has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Frames, or lines, that there were to record.
    pub seen: u64,
    /// Those of them for which there was no room.
    pub dropped: u64,
    /// Captures, or logs, that ended before somebody wanted that, as on a full disk.
    pub broken: u64,
    /// What the writing has cost.
    pub cost: WriteCost,
}

impl Recorded {
    /// What another one has come to as well.
    pub(crate) fn add(&mut self, other: &Recorded) {
        self.seen += other.seen;
        self.dropped += other.dropped;
        self.broken += other.broken;
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
        let (files, max_bytes) = options.ring.open()?;
        Ok(Capture { max_bytes, ..Capture::new(files, options) })
    }
}

impl<R: Record> Capture<R> {
    fn new(files: Vec<R>, options: &CaptureOptions) -> Capture<R> {
        let since = WallTime::now();
        let mut capture = Capture {
            sink: Sink::new(files, CAPACITY, pcapng::BLOCKS),
            path: options.path().to_owned(),
            snap_length: options.snap_length,
            max_bytes: options.ring.most_bytes(),
            choice: Choice::of(options),
            open: None,
            names: VecDeque::new(),
            seen: Statistics { since, received: 0, dropped: 0 },
            told: 0,
            file: 1,
            read: Reading { at: since, now: Instant::ZERO, left: 0 },
            ended: None,
        };
        capture.begin_file(Instant::ZERO);
        capture.flush(Instant::ZERO);
        capture
    }

    /// Takes frames of one direction, in order. What is to stand beside one, and which rule has decided, is known already.
    pub(crate) fn take<'a>(
        &mut self,
        direction: Direction,
        frames: impl Iterator<Item = Frame<'a>>,
        mut notes: Option<&mut Notes>,
        now: Instant,
    ) {
        let at = self.time(now);
        frames.for_each(|frame| {
            let waits = notes.as_ref().is_some_and(|notes| notes.wait());
            if waits || self.add_quickly(direction, frame, at).is_none() {
                self.take_slowly(direction, frame, at, notes.as_deref_mut(), now);
            }
        });
    }

    /// Takes a frame of which there may be everything to be looked at.
    #[cold]
    fn take_slowly(
        &mut self,
        direction: Direction,
        frame: Frame<'_>,
        at: WallTime,
        notes: Option<&mut Notes>,
        now: Instant,
    ) {
        let waits = notes.as_ref().is_some_and(|notes| notes.wait());
        let ends = if waits || self.choice.is_one() { Ends::of(frame.head, direction) } else { None };
        if !self.choice.takes(ends.as_ref()) || !self.choice.takes_rule_of(ends.as_ref(), notes.as_deref()) {
            return;
        }
        if !waits && frame.len().min(self.snap_length) >= LARGE && self.add_through(direction, frame, at, now) {
            return;
        }
        let Some(start) = self.add(direction, frame, at, now) else { return };
        self.complete(start, ends, notes, now);
    }

    /// Takes a frame of the guest that is about to be looked at. What becomes of it is told by [`Capture::close_frame`].
    #[inline]
    pub(crate) fn open_frame(&mut self, frame: &[u8], now: Instant) {
        let at = self.time(now);
        self.open = self.add_quickly(Direction::Inbound, frame.into(), at);
        if self.open.is_none() {
            self.open_slowly(frame, at, now);
        }
    }

    #[cold]
    fn open_slowly(&mut self, frame: &[u8], at: WallTime, now: Instant) {
        let ends = if self.choice.is_one() { Ends::of(frame, Direction::Inbound) } else { None };
        self.open = match self.choice.takes(ends.as_ref()) {
            true => self.add(Direction::Inbound, frame.into(), at, now),
            false => None,
        };
    }

    /// That frame was looked at: what is known of it by now stands beside it, or it is none of those that are wanted.
    #[inline]
    pub(crate) fn close_frame(&mut self, frame: &[u8], notes: Option<&mut Notes>, now: Instant) {
        let Some(start) = self.open.take() else { return };
        let waits = notes.as_ref().is_some_and(|notes| notes.wait());
        if waits || self.choice.is_one() || self.sink.has_batch() {
            self.close_slowly(start, frame, notes, now);
        }
    }

    #[cold]
    fn close_slowly(&mut self, start: usize, frame: &[u8], notes: Option<&mut Notes>, now: Instant) {
        let waits = notes.as_ref().is_some_and(|notes| notes.wait());
        let ends = if waits || self.choice.is_one() { Ends::of(frame, Direction::Inbound) } else { None };
        if !self.choice.takes_rule_of(ends.as_ref(), notes.as_deref()) {
            self.seen.received -= 1;
            return self.sink.amend(start, Vec::clear);
        }
        self.complete(start, ends, notes, now);
    }

    /// What is known of the frame whose block begins at `start` stands beside it now.
    fn complete(&mut self, start: usize, ends: Option<Ends>, notes: Option<&mut Notes>, now: Instant) {
        if let (Some(ends), Some(notes)) = (ends, notes)
            && let Some(remark) = notes.remark(&ends, now)
        {
            self.put_remark(start, &remark, &ends);
        }
        if self.sink.has_batch() {
            self.flush(now);
        }
    }

    /// Adds a frame where nothing has to be looked at, and tells where its block begins; otherwise `None`, and nothing has happened. This is
    /// what nearly all frames meet.
    #[inline]
    fn add_quickly(&mut self, direction: Direction, frame: Frame<'_>, at: WallTime) -> Option<usize> {
        let captured = frame.len().min(self.snap_length);
        if captured >= LARGE {
            return None;
        }
        let write = |place: &mut [u8]| pcapng::packet(place, direction, frame, captured, at);
        let start = self.sink.add_quickly(pcapng::packet_len(captured), write)?;
        self.seen.received += 1;
        Some(start)
    }

    /// Adds a large frame that nothing is to stand beside, by writing it from where it is: a copy would cost a good part of what the
    /// writing does. False where that is not possible now, and nothing has happened.
    fn add_through(&mut self, direction: Direction, frame: Frame<'_>, at: WallTime, now: Instant) -> bool {
        let captured = frame.len().min(self.snap_length);
        if !self.make_room(pcapng::packet_len(captured), at, now) {
            return false;
        }
        let write = |pieces: [&[u8]; 4]| self.sink.write_through(now, pieces);
        match pcapng::packet_in_pieces(direction, frame, captured, at, write) {
            Ok(is_there) => {
                self.seen.received += u64::from(is_there);
                is_there
            }
            Err(error) => {
                self.end(&error.to_string());
                false
            }
        }
    }

    /// Adds a frame, and tells where its block begins; `None` where it found no room. The next ones may come quickly, where every frame
    /// is wanted.
    fn add(&mut self, direction: Direction, frame: Frame<'_>, at: WallTime, now: Instant) -> Option<usize> {
        self.seen.received += 1;
        let captured = frame.len().min(self.snap_length);
        let length = pcapng::packet_len(captured);
        if !self.make_room(length, at, now) {
            self.seen.dropped += 1;
            // What comes next is told of that before.
            self.sink.disallow();
            return None;
        }
        let start = self.sink.mark();
        self.sink.add_block(now, length, |place| pcapng::packet(place, direction, frame, captured, at));
        if !self.choice.is_one() {
            self.sink.allow(self.max_bytes.saturating_sub(OWN as u64));
        }
        Some(start)
    }

    /// Puts a remark beside the last frame, whose block begins at `start`, and before it the name of its other end.
    #[cold]
    fn put_remark(&mut self, start: usize, remark: &Remark, ends: &Ends) {
        let mut name_block = Vec::new();
        if let Some(name) = &remark.name
            && !self.names.iter().any(|(ip, known)| *ip == ends.remote && known == name)
        {
            if self.names.len() >= MOST_NAMES {
                self.names.pop_front();
            }
            self.names.push_back((ends.remote, name.clone()));
            name_block = pcapng::name_of(ends.remote, name);
        }
        self.sink.amend(start, |frame| {
            pcapng::remark(frame, 0, &remark.text);
            drop(frame.splice(0..0, name_block));
        });
    }

    /// The time of day. Frames that come at once have one time, and so have a few that come while the application's clock is not read.
    #[inline]
    fn time(&mut self, now: Instant) -> WallTime {
        if self.read.left == 0 || self.read.now != now {
            self.read = Reading { at: WallTime::now(), now, left: ONE_READING };
        }
        self.read.left -= 1;
        self.read.at
    }

    /// Whether there is room for a block; sees to the end of a file that is full, and tells of frames that were dropped.
    fn make_room(&mut self, length: usize, at: WallTime, now: Instant) -> bool {
        if self.ended.is_some() || !self.sink.has_room(length + OWN) {
            return false;
        }
        let is_full = |most| self.sink.length() + (length + OWN) as u64 > most;
        if is_full(self.max_bytes) {
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
        self.names.clear();
        let comment =
            format!("file {} of the capture of process {}{}", self.file, std::process::id(), self.choice.words());
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
        self.seen.dropped += self.sink.lost();
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
        let broken = u64::from(self.ended.is_some());
        Recorded { seen: self.seen.received, dropped: self.seen.dropped, broken, cost: self.sink.cost() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::ends;
    use crate::capture::notes::Outcome;
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

        fn take_back(&mut self, _: usize) {}
    }

    const NOW: Instant = Instant::from_secs(1);

    fn capture(files: &[File], options: &CaptureOptions) -> Capture<File> {
        let mut capture = Capture::new(files.to_vec(), options);
        capture.sink.stop_clock();
        capture
    }
    const NAMES: u32 = 4;
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
            capture.take(Direction::Inbound, [Frame::from(&frame(mark, 1000)[..])].into_iter(), None, NOW);
        }
        let dropped = capture.recorded().dropped;
        assert!((900..1100).contains(&dropped), "{dropped}");
        file.stalls.set(false);
        capture.on_deadline(NOW);
        capture.take(Direction::Outbound, [Frame::from(&frame(7777, 60)[..])].into_iter(), None, NOW);
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
            capture.take(Direction::Inbound, [Frame::from(&frame(mark, 1000)[..])].into_iter(), None, NOW);
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
    fn large_frames_are_in_their_order_and_files_no_longer_than_they_may_be() {
        let files = [File::default(), File::default()];
        let mut capture = capture(&files, &CaptureOptions::new("x").max_bytes(1 << 20).files(2));
        for mark in 0..300 {
            // Now and then nothing is taken.
            files.iter().for_each(|file| file.stalls.set(mark % 7 > 4));
            let length = if mark % 3 == 0 { 60 } else { 40_000 + mark as usize };
            capture.take(Direction::Outbound, [Frame::from(&frame(mark, length)[..])].into_iter(), None, NOW);
        }
        files.iter().for_each(|file| file.stalls.set(false));
        capture.finish();
        let mut all = Vec::new();
        for file in &files {
            assert!(file.bytes.borrow().len() <= 1 << 20);
            all.extend(marks(file));
            for (_, body) in blocks(&file.bytes.borrow()).iter().filter(|block| block.0 == PACKET) {
                let (mark, length) = (&body[20..24], u32::from_le_bytes(body[16..20].try_into().unwrap()) as usize);
                assert_eq!(body.len(), 20 + length.next_multiple_of(4) + 12);
                let mark = u32::from_be_bytes(mark.try_into().unwrap());
                assert_eq!(length, if mark % 3 == 0 { 60 } else { 40_000 + mark as usize });
            }
        }
        all.sort_unstable();
        assert_eq!(all, (300 - all.len() as u32..300).collect::<Vec<_>>());
        assert!(all.len() > 40 && capture.recorded().seen == 300 && capture.recorded().dropped == 0);
    }

    #[test]
    fn remarks_stand_beside_frames_wherever_a_file_ends() {
        let files = [File::default(), File::default()];
        let options = CaptureOptions::new("x").max_bytes(1 << 20).files(2);
        let mut capture = capture(&files, &options);
        let mut notes = Notes::default();
        let (guest, remote) = ([10, 0, 2, 15], [192, 0, 2, 1]);
        for number in 1..=3_000_u16 {
            let mut frame = ends::tests::frame(17, (guest, number), (remote, 53));
            frame.resize(1000, 0);
            let of = Ends::of(&frame, Direction::Inbound).unwrap();
            capture.open_frame(&frame, NOW);
            notes.tell(Outcome::Flow(number.into()), of, (None, Some("a.test")), NOW);
            capture.close_frame(&frame, Some(&mut notes), NOW);
        }
        capture.finish();
        let mut told = 0;
        for file in &files {
            assert!(file.bytes.borrow().len() <= 1 << 20);
            let blocks = blocks(&file.bytes.borrow());
            // One name in each file, before the first frame.
            let names = blocks.iter().filter(|block| block.0 == NAMES).count();
            assert_eq!((names, blocks[2].0), (1, NAMES));
            for (_, body) in blocks.iter().filter(|block| block.0 == PACKET) {
                let port = u16::from_be_bytes(body[54..56].try_into().unwrap());
                let remark = format!("flow {port}, name a.test");
                assert!(body.windows(remark.len()).any(|bytes| bytes == remark.as_bytes()), "{port}");
                told += 1;
            }
        }
        assert!(told > 1000 && capture.recorded().dropped == 0);
    }

    #[test]
    fn one_file_that_may_grow_no_more_ends_the_capture() {
        let file = File::default();
        let mut capture = capture(std::slice::from_ref(&file), &CaptureOptions::new("x").max_bytes(1 << 20));
        for mark in 0..2_000 {
            capture.take(Direction::Inbound, [Frame::from(&frame(mark, 1000)[..])].into_iter(), None, NOW);
        }
        assert_eq!(capture.ended(), Some("the capture to x has ended: the file is as long as it may be"));
        assert_eq!((capture.due(), kinds(&file).last()), (None, Some(&STATISTICS)));
        assert!(file.bytes.borrow().len() <= 1 << 20 && marks(&file).len() > 900);
    }
}
