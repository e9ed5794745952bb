//! The log: one JSON line for each flow that has begun, was refused or has ended. What a line says is made elsewhere; here it
//! gets its time and its place in the file, or is counted as dropped.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;

use super::frames::Recorded;
use super::options::LogOptions;
use super::sink::Sink;
use super::torn::Blocks;
use super::wall_clock::WallTime;
use crate::host::record_file::{Record, RecordFile};
use crate::time::Instant;

/// What may wait to be written.
const CAPACITY: usize = 1 << 18;

const LINES: Blocks = Blocks { length: line_length, counts: is_event };

/// How long the first line of these bytes is.
fn line_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1)
}

/// Whether a line is one of those that there were, and does not tell of some that are missing.
fn is_event(line: &[u8]) -> bool {
    const TELLS: &[u8] = b"\"event\":\"dropped\"";
    !line.windows(TELLS.len()).any(|part| part == TELLS)
}

/// A log that is being written.
pub(crate) struct Log<R = RecordFile> {
    sink: Sink<R>,
    path: PathBuf,
    max_bytes: u64,
    seen: u64,
    dropped: u64,
    /// So many of the dropped lines are in the log.
    told: u64,
    ended: Option<String>,
}

impl Log {
    /// Opens the files.
    ///
    /// # Errors
    /// What the system says; the text names the file.
    pub(crate) fn open(options: &LogOptions) -> io::Result<Log> {
        let (files, max_bytes) = options.ring.open()?;
        Ok(Log { max_bytes, ..Log::new(files, options) })
    }
}

impl<R: Record> Log<R> {
    fn new(files: Vec<R>, options: &LogOptions) -> Log<R> {
        let sink = Sink::new(files, CAPACITY, LINES);
        let path = options.path().to_owned();
        Log { sink, path, max_bytes: options.ring.most_bytes(), seen: 0, dropped: 0, told: 0, ended: None }
    }

    /// Adds a line: what has happened, and the members of the object behind it, of JSON already.
    pub(crate) fn line(&mut self, event: &str, members: &str, now: Instant) {
        self.seen += 1;
        let mut line = String::with_capacity(members.len() + 160);
        let at = WallTime::now();
        if self.told != self.dropped {
            let _ =
                writeln!(line, "{{\"time\":\"{at}\",\"event\":\"dropped\",\"lines\":{}}}", self.dropped - self.told);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(line, "{{\"time\":\"{at}\",\"event\":\"{event}\",{members}}}");
        if !self.make_room(line.len(), now) {
            self.dropped += 1;
            return;
        }
        self.told = self.dropped;
        self.sink.add(now, |to| to.extend_from_slice(line.as_bytes()));
        if self.sink.has_batch() {
            self.on_deadline(now);
        }
    }

    /// Whether there is room for a line; sees to the end of a file that is full.
    fn make_room(&mut self, length: usize, now: Instant) -> bool {
        if self.ended.is_some() || !self.sink.has_room(length) {
            return false;
        }
        if self.sink.length() + length as u64 <= self.max_bytes {
            return true;
        }
        if !self.sink.is_ring() {
            self.finish();
            if self.ended.is_none() {
                self.end("the file is as long as it may be");
            }
            return false;
        }
        if !self.sink.may_switch() {
            // The last file is still not written.
            self.on_deadline(now);
        }
        let may_switch = self.ended.is_none() && self.sink.may_switch();
        if may_switch {
            self.sink.next_file();
        }
        may_switch
    }

    /// When [`Log::on_deadline`] is to be called, if not before.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.sink.due().filter(|_| self.ended.is_none())
    }

    /// What waits has waited long enough.
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        if let Err(error) = self.sink.flush(now) {
            self.end(&error.to_string());
        }
    }

    fn end(&mut self, why: &str) {
        self.dropped += self.sink.lost();
        self.ended = Some(format!("the log to {} has ended: {why}", self.path.display()));
    }

    /// Why the log has ended, if it has.
    pub(crate) fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Nothing more comes: what waits is written.
    pub(crate) fn finish(&mut self) {
        if self.ended.is_none()
            && let Err(error) = self.sink.finish()
        {
            self.end(&error.to_string());
        }
    }

    pub(crate) fn recorded(&self) -> Recorded {
        let broken = u64::from(self.ended.is_some());
        Recorded { seen: self.seen, dropped: self.dropped, broken, cost: self.sink.cost() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct File(Rc<RefCell<Vec<u8>>>, Rc<Cell<bool>>);

    impl Record for File {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1.get() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn begin_anew(&mut self) -> io::Result<()> {
            self.0.borrow_mut().clear();
            Ok(())
        }

        fn take_back(&mut self, _: usize) {}
    }

    const NOW: Instant = Instant::from_secs(1);

    fn log(files: &[File], options: LogOptions) -> Log<File> {
        let mut log = Log::new(files.to_vec(), &options);
        log.sink.stop_clock();
        log
    }

    /// The numbers of the flows whose lines are in a file.
    fn flows(file: &File) -> Vec<u64> {
        let bytes = file.0.borrow();
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        let number = |line: &str| line.split_once("\"flow\":")?.1.split(',').next()?.parse().ok();
        lines.map(|line| number(line).unwrap_or_else(|| panic!("{line}"))).collect()
    }

    fn many_lines(log: &mut Log<File>, count: u64) {
        let text = "x".repeat(1000);
        for flow in 0..count {
            log.line("begun", &format!("\"flow\":{flow},\"text\":\"{text}\""), NOW);
        }
    }

    #[test]
    fn a_log_goes_round_its_files_with_whole_lines_of_which_the_last_ones_are_there() {
        let files = [File::default(), File::default(), File::default()];
        let mut log = log(&files, LogOptions::new("x").max_bytes(1 << 20).files(3));
        many_lines(&mut log, 4500);
        log.finish();
        assert_eq!((log.ended(), log.recorded().dropped), (None, 0));
        let lengths: Vec<usize> = files.iter().map(|file| file.0.borrow().len()).collect();
        assert!(lengths.iter().all(|length| *length <= 1 << 20), "{lengths:?}");
        // Some 980 in a file: the fifth file of the log is the second one's second life.
        let all: Vec<u64> = [2, 0, 1].iter().flat_map(|file| flows(&files[*file])).collect();
        assert_eq!(all, (4500 - all.len() as u64..4500).collect::<Vec<u64>>());
        assert!(all.len() > 2000, "{}", all.len());
    }

    #[test]
    fn a_log_of_one_file_ends_when_that_is_as_long_as_it_may_be() {
        let file = File::default();
        let mut log = log(std::slice::from_ref(&file), LogOptions::new("x").max_bytes(1 << 20));
        many_lines(&mut log, 1500);
        assert_eq!(log.ended(), Some("the log to x has ended: the file is as long as it may be"));
        let flows = flows(&file);
        assert!(file.0.borrow().len() <= 1 << 20 && flows.len() > 900);
        assert_eq!(log.recorded().dropped, 1500 - flows.len() as u64);
        assert_eq!(flows, (0..flows.len() as u64).collect::<Vec<u64>>());
    }

    #[test]
    fn lines_that_find_no_room_are_counted_where_they_would_have_been() {
        let file = File::default();
        let mut log = log(std::slice::from_ref(&file), LogOptions::new("x"));
        let now = NOW;
        log.line("begun", "\"flow\":1", now);
        file.1.set(true);
        let long = format!("\"flow\":\"{}\"", "x".repeat(1000));
        for _ in 0..1000 {
            log.line("begun", &long, now);
        }
        let dropped = log.recorded().dropped;
        assert!((700..800).contains(&dropped), "{dropped}");
        file.1.set(false);
        log.on_deadline(now);
        log.line("ended", "\"flow\":1", now);
        log.finish();
        let bytes = file.0.borrow();
        let lines: Vec<&str> = std::str::from_utf8(&bytes).unwrap().lines().collect();
        assert!(lines[0].starts_with("{\"time\":\"20") && lines[0].ends_with("Z\",\"event\":\"begun\",\"flow\":1}"));
        assert!(lines[lines.len() - 2].ends_with(&format!("\"event\":\"dropped\",\"lines\":{dropped}}}")));
        assert!(lines[lines.len() - 1].ends_with("\"event\":\"ended\",\"flow\":1}"));
        assert_eq!(lines.len() as u64, 1002 - dropped + 1);
    }
}
