//! The log: one JSON line for each flow that has begun, was refused or has ended. What a line says is made elsewhere; here it
//! gets its time and its place in the file, or is counted as dropped.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use super::frames::Recorded;
use super::sink::Sink;
use super::unopened::Unopened;
use super::wall_clock::WallTime;
use crate::host::record_file::{Record, RecordFile};
use crate::time::Instant;

/// What may wait to be written.
const CAPACITY: usize = 1 << 18;

/// A log that is being written.
pub(crate) struct Log<R = RecordFile> {
    sink: Sink<R>,
    path: PathBuf,
    seen: u64,
    dropped: u64,
    /// So many of the dropped lines are in the log.
    told: u64,
    ended: Option<String>,
}

impl Log {
    /// Opens the file.
    ///
    /// # Errors
    /// What the system says; the text names the file.
    pub(crate) fn open(path: &Path) -> io::Result<Log> {
        let file = RecordFile::create(path).map_err(|error| Unopened::error(path.to_owned(), error))?;
        Ok(Log::new(file, path))
    }
}

impl<R: Record> Log<R> {
    fn new(file: R, path: &Path) -> Log<R> {
        let sink = Sink::new(vec![file], CAPACITY);
        Log { sink, path: path.to_owned(), seen: 0, dropped: 0, told: 0, ended: None }
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
        if self.ended.is_some() || !self.sink.has_room(line.len()) {
            self.dropped += 1;
            return;
        }
        self.told = self.dropped;
        self.sink.add(now, |to| to.extend_from_slice(line.as_bytes()));
        if self.sink.has_batch() {
            self.on_deadline(now);
        }
    }

    /// When [`Log::on_deadline`] is to be called, if not before.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.sink.due().filter(|_| self.ended.is_none())
    }

    /// What waits has waited long enough.
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        if let Err(error) = self.sink.flush(now) {
            self.end(&error);
        }
    }

    fn end(&mut self, error: &io::Error) {
        self.ended = Some(format!("the log to {} has ended: {error}", self.path.display()));
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
            self.end(&error);
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
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_no_room_are_counted_where_they_would_have_been() {
        let file = File::default();
        let mut log = Log::new(file.clone(), Path::new("x"));
        log.sink.stop_clock();
        let now = Instant::from_secs(1);
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
