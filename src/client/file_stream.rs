//! Reading a file, or a series of rotated logs, piece by piece, to its end or for as long as it
//! grows.
//!
//! A cursor that holds no file and no buffer between two steps: it asks for sizes and bytes by
//! path, and says what to send. The agent calls [`FileStream::poll`] again at once after
//! [`Step::More`], and after [`POLL_NS`] on [`Step::Idle`].

use serde::Serialize;

use crate::stdx::Now;
use crate::stdx::json::{Bytes, is_zero};
use crate::stdx::sort;

/// Most bytes of a file in one frame and in one step. Source: the API, 64 KiB.
pub const FRAME_BYTES: usize = 64 * 1024;
/// Pause before an idle stream is looked at again, in nanoseconds. Source: the API polls each 100
/// ms.
pub const POLL_NS: u64 = 100_000_000;
/// A follower hears `{}` after this long without data, in nanoseconds. Source: recorded.
pub const HEARTBEAT_NS: u64 = 1_000_000_000;

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// There is no such file (any more).
    Missing,
    /// Anything else; the text is for the user.
    Failed(String),
}

/// The files of one allocation, as the cursor needs them. Paths are relative to its directory.
pub trait Files {
    /// Numbers `n` of the files `<prefix><n>`, in any order.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn numbers(&mut self, prefix: &str) -> Result<Vec<u64>, FileError>;

    /// Size of a file, in bytes.
    ///
    /// # Errors
    /// It is missing, not allowed, or no regular file.
    fn size(&mut self, path: &str) -> Result<u64, FileError>;

    /// Reads from a position until the buffer is full or the file ends; returns the count.
    ///
    /// # Errors
    /// As for [`Files::size`].
    fn read(&mut self, path: &str, offset: u64, buffer: &mut [u8]) -> Result<usize, FileError>;
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more at once.
    More,
    /// Nothing more now.
    Idle,
    /// It is over.
    End,
    /// It is over because of this; told only before the first byte was sent.
    Failed(FileError),
}

/// How the bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON objects with base64 data, without separators.
    Frames,
    /// The bytes themselves.
    Raw,
}

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Bytes from the start or, if `from_end`, back from the end.
    pub offset: u64,
    /// Counted from the end.
    pub from_end: bool,
}

/// Place in one file or a series.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    One { path: String },
    Logs { prefix: String, number: u64, last: u64 },
}

/// A cursor over a file or a series of logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStream {
    source: Source,
    offset: u64,
    follow: bool,
    form: Form,
    /// Bytes that may still be sent.
    left: u64,
    last_sent_ns: Option<u64>,
}

/// One frame. Empty fields are left out, so a heartbeat is `{}`.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Frame<'f> {
    #[serde(skip_serializing_if = "no_bytes")]
    data: Bytes,
    #[serde(skip_serializing_if = "str::is_empty")]
    file: &'f str,
    #[serde(skip_serializing_if = "str::is_empty")]
    file_event: &'f str,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
}

fn no_bytes(bytes: &Bytes) -> bool {
    bytes.0.is_empty()
}

impl FileStream {
    /// A cursor over one file. A start behind its end is its end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn file(
        files: &mut dyn Files,
        path: &str,
        origin: Origin,
        follow: bool,
    ) -> Result<Self, FileError> {
        let size = files.size(path)?;
        let offset = if origin.from_end {
            size.saturating_sub(origin.offset)
        } else {
            origin.offset.min(size)
        };
        Ok(Self::at(Source::One { path: path.to_owned() }, offset, follow, Form::Frames))
    }

    /// A cursor over the bytes of one file from `offset`, at most `limit` (0: all), sent as they
    /// are.
    #[must_use]
    pub fn raw(path: &str, offset: u64, limit: u64) -> Self {
        let left = if limit == 0 { u64::MAX } else { limit };
        let source = Source::One { path: path.to_owned() };
        Self { left, ..Self::at(source, offset, false, Form::Raw) }
    }

    /// A cursor over a series of logs. `Ok(None)`: there is not one file of it.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn logs(
        files: &mut dyn Files,
        prefix: &str,
        origin: Origin,
        follow: bool,
        form: Form,
    ) -> Result<Option<Self>, FileError> {
        let mut numbers = files.numbers(prefix)?;
        sort::by(&mut numbers, Ord::cmp);
        let (Some(first), Some(last)) = (numbers.first().copied(), numbers.last().copied()) else {
            return Ok(None);
        };
        let mut rest = origin.offset;
        let (mut number, mut offset) = (first, 0);
        if origin.from_end {
            for at in numbers.iter().rev() {
                let size = size_or_none(files, prefix, *at)?;
                (number, offset) = (*at, size.saturating_sub(rest));
                rest = rest.saturating_sub(size);
                // Going back needs the older file only when this one does not reach.
                if rest == 0 {
                    break;
                }
            }
        } else {
            for at in &numbers {
                let size = size_or_none(files, prefix, *at)?;
                (number, offset) = (*at, rest.min(size));
                if rest < size {
                    break;
                }
                rest -= size;
            }
        }
        let source = Source::Logs { prefix: prefix.to_owned(), number, last };
        Ok(Some(Self::at(source, offset, follow, form)))
    }

    fn at(source: Source, offset: u64, follow: bool, form: Form) -> Self {
        Self { source, offset, follow, form, left: u64::MAX, last_sent_ns: None }
    }

    /// The file that is being read.
    fn path(&self) -> String {
        match &self.source {
            Source::One { path } => path.clone(),
            Source::Logs { prefix, number, .. } => format!("{prefix}{number}"),
        }
    }

    /// Appends what there is to send, at most one frame with data.
    pub fn poll(&mut self, now: Now, files: &mut dyn Files, out: &mut Vec<u8>) -> Step {
        let before = out.len();
        let fresh = self.last_sent_ns.is_none();
        let since = *self.last_sent_ns.get_or_insert(now.mono_ns);
        let step = self.step(files, out);
        if out.len() > before {
            self.last_sent_ns = Some(now.mono_ns);
        } else if step == Step::Idle
            && self.form == Form::Frames
            && now.mono_ns.saturating_sub(since) >= HEARTBEAT_NS
        {
            self.last_sent_ns = Some(now.mono_ns);
            out.extend_from_slice(b"{}");
        }
        match step {
            Step::Failed(_) if !fresh => Step::End,
            other => other,
        }
    }

    /// One piece, or what the end of the file means.
    fn step(&mut self, files: &mut dyn Files, out: &mut Vec<u8>) -> Step {
        if self.left == 0 {
            return Step::End;
        }
        let path = self.path();
        // Asked before the file is read: if there is a newer file by then, the old one does not
        // grow any more.
        let newer = match self.newer(files) {
            Ok(newer) => newer,
            Err(e) => return Step::Failed(e),
        };
        let room = usize::try_from(self.left).unwrap_or(FRAME_BYTES).min(FRAME_BYTES);
        let size = match files.size(&path) {
            Ok(size) => size,
            Err(FileError::Missing) => return self.on_missing(newer, &path, out),
            Err(e) => return Step::Failed(e),
        };
        if size < self.offset && (self.follow || self.form == Form::Frames) {
            self.offset = 0;
            if self.form == Form::Frames {
                self.event("file truncated", &path, out);
            }
            return Step::More;
        }
        // No more room than the file has bytes, so that small files cost little.
        let fits = usize::try_from(size.saturating_sub(self.offset)).unwrap_or(room);
        let mut buffer = vec![0; room.min(fits)];
        let count = if buffer.is_empty() {
            0
        } else {
            match files.read(&path, self.offset, &mut buffer) {
                Ok(count) => count,
                Err(FileError::Missing) => return self.on_missing(newer, &path, out),
                Err(e) => return Step::Failed(e),
            }
        };
        if count > 0 {
            buffer.truncate(count);
            self.offset = self.offset.saturating_add(count as u64);
            self.left = self.left.saturating_sub(count as u64);
            self.data(buffer, &path, out);
            return Step::More;
        }
        match newer {
            Some(number) => self.go_to(number),
            None if self.follow => Step::Idle,
            None => Step::End,
        }
    }

    /// The next file of the series that is to be read after this one.
    fn newer(&self, files: &mut dyn Files) -> Result<Option<u64>, FileError> {
        let Source::Logs { prefix, number, last } = &self.source else { return Ok(None) };
        if !self.follow && number >= last {
            return Ok(None);
        }
        let numbers = files.numbers(prefix)?;
        let bound = if self.follow { u64::MAX } else { *last };
        Ok(numbers.into_iter().filter(|n| n > number && *n <= bound).min())
    }

    /// Begins the next file of the series.
    fn go_to(&mut self, next: u64) -> Step {
        if let Source::Logs { number, .. } = &mut self.source {
            *number = next;
        }
        self.offset = 0;
        Step::More
    }

    /// The file is gone: a single one ends the stream, of a series the next follows.
    fn on_missing(&mut self, newer: Option<u64>, path: &str, out: &mut Vec<u8>) -> Step {
        match (&self.source, newer) {
            (Source::Logs { .. }, Some(number)) => self.go_to(number),
            (Source::Logs { .. }, None) if self.follow => Step::Idle,
            (Source::Logs { .. }, None) => Step::End,
            (Source::One { .. }, _) if self.form == Form::Raw => Step::Failed(FileError::Missing),
            (Source::One { .. }, _) => {
                self.event("file deleted", path, out);
                Step::End
            }
        }
    }

    fn data(&self, bytes: Vec<u8>, path: &str, out: &mut Vec<u8>) {
        match self.form {
            Form::Raw => out.extend_from_slice(&bytes),
            Form::Frames => {
                let frame = Frame {
                    data: Bytes(bytes),
                    file: path,
                    offset: self.offset,
                    ..Frame::default()
                };
                crate::stdx::json::encode_into(&frame, out);
            }
        }
    }

    fn event(&self, event: &str, path: &str, out: &mut Vec<u8>) {
        let frame =
            Frame { file: path, file_event: event, offset: self.offset, ..Frame::default() };
        crate::stdx::json::encode_into(&frame, out);
    }
}

/// Size of one log; 0 when it was rotated away meanwhile.
fn size_or_none(files: &mut dyn Files, prefix: &str, number: u64) -> Result<u64, FileError> {
    match files.size(&format!("{prefix}{number}")) {
        Err(FileError::Missing) => Ok(0),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::BTreeMap;

    #[derive(Default)]
    struct Fake(BTreeMap<String, Vec<u8>>);

    impl Fake {
        fn new(files: &[(&str, &str)]) -> Self {
            Self(files.iter().map(|(n, t)| ((*n).to_owned(), t.as_bytes().to_vec())).collect())
        }

        fn append(&mut self, name: &str, text: &str) {
            self.0.entry(name.to_owned()).or_default().extend_from_slice(text.as_bytes());
        }
    }

    impl Files for Fake {
        fn numbers(&mut self, prefix: &str) -> Result<Vec<u64>, FileError> {
            Ok(self.0.keys().filter_map(|n| n.strip_prefix(prefix)?.parse().ok()).collect())
        }

        fn size(&mut self, path: &str) -> Result<u64, FileError> {
            self.0.get(path).map(|b| b.len() as u64).ok_or(FileError::Missing)
        }

        fn read(&mut self, path: &str, from: u64, to: &mut [u8]) -> Result<usize, FileError> {
            let bytes = self.0.get(path).ok_or(FileError::Missing)?;
            let rest = bytes.get(usize::try_from(from).unwrap()..).unwrap_or_default();
            let count = rest.len().min(to.len());
            to[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }
    }

    fn at(ms: u64) -> Now {
        Now { mono_ns: ms * 1_000_000, wall_ns: 0 }
    }

    /// Polls until there is nothing more now; the text and the last step.
    fn drain(stream: &mut FileStream, files: &mut Fake, now: Now) -> (String, Step) {
        let mut out = Vec::new();
        loop {
            let step = stream.poll(now, files, &mut out);
            if step != Step::More {
                return (String::from_utf8(out).unwrap(), step);
            }
        }
    }

    fn origin(offset: u64, from_end: bool) -> Origin {
        Origin { offset, from_end }
    }

    #[test]
    fn logs_begin_where_they_are_asked_to() {
        let mut files = Fake::new(&[("l.2", "abc"), ("l.9", "def"), ("l.10", "ghi"), ("x", "")]);
        let cases = [
            (0, false, "abcdefghi"),
            (2, false, "cdefghi"),
            (3, false, "defghi"),
            (8, false, "i"),
            (9, false, ""),
            (99, false, ""),
            (0, true, ""),
            (1, true, "i"),
            (3, true, "ghi"),
            (4, true, "fghi"),
            (99, true, "abcdefghi"),
        ];
        for (offset, from_end, want) in cases {
            let asked = origin(offset, from_end);
            let made = FileStream::logs(&mut files, "l.", asked, false, Form::Raw);
            let mut stream = made.unwrap().unwrap();
            let got = drain(&mut stream, &mut files, at(0));
            assert_eq!(got, (want.to_owned(), Step::End), "{offset} {from_end}");
        }
        let none = FileStream::logs(&mut files, "nope.", origin(0, false), true, Form::Raw);
        assert_eq!(none, Ok(None));
    }

    #[test]
    fn frames_are_as_recorded() {
        let mut files = Fake::new(&[("alloc/logs/web.stdout.0", "hello\n")]);
        let prefix = "alloc/logs/web.stdout.";
        let made = FileStream::logs(&mut files, prefix, origin(0, false), false, Form::Frames);
        let (text, step) = drain(&mut made.unwrap().unwrap(), &mut files, at(0));
        let want = r#"{"Data":"aGVsbG8K","File":"alloc/logs/web.stdout.0","Offset":6}"#;
        assert_eq!((text.as_str(), step), (want, Step::End));
    }

    #[test]
    fn a_follower_gets_growth_rotation_and_heartbeats() {
        let mut files = Fake::new(&[("l.0", "a")]);
        let made = FileStream::logs(&mut files, "l.", origin(0, false), true, Form::Frames);
        let mut stream = made.unwrap().unwrap();
        let (text, step) = drain(&mut stream, &mut files, at(0));
        assert_eq!(
            (text.as_str(), step),
            (r#"{"Data":"YQ==","File":"l.0","Offset":1}"#, Step::Idle)
        );
        assert_eq!(drain(&mut stream, &mut files, at(999)).0, "");
        assert_eq!(drain(&mut stream, &mut files, at(1000)).0, "{}");
        assert_eq!(drain(&mut stream, &mut files, at(1999)).0, "");
        // The old file has grown once more before the new one appeared; one number was skipped.
        files.append("l.0", "b");
        files.append("l.2", "c");
        let (text, step) = drain(&mut stream, &mut files, at(2000));
        let want =
            r#"{"Data":"Yg==","File":"l.0","Offset":2}{"Data":"Yw==","File":"l.2","Offset":1}"#;
        assert_eq!((text.as_str(), step), (want, Step::Idle));
        files.0.remove("l.2");
        assert_eq!(drain(&mut stream, &mut files, at(2100)), (String::new(), Step::Idle));
        files.append("l.3", "d");
        assert!(drain(&mut stream, &mut files, at(2200)).0.contains("l.3"));
        // Plain followers hear no heartbeat.
        let made = FileStream::logs(&mut files, "l.", origin(0, true), true, Form::Raw);
        let mut plain = made.unwrap().unwrap();
        assert_eq!(drain(&mut plain, &mut files, at(0)).0, "");
        assert_eq!(drain(&mut plain, &mut files, at(5000)), (String::new(), Step::Idle));
    }

    #[test]
    fn a_single_file_tells_truncation_and_deletion() {
        let mut files = Fake::new(&[("f", "abcdef")]);
        let mut stream = FileStream::file(&mut files, "f", origin(2, true), true).unwrap();
        assert!(drain(&mut stream, &mut files, at(0)).0.contains(r#""Offset":6"#));
        files.0.insert("f".to_owned(), b"xy".to_vec());
        let (text, step) = drain(&mut stream, &mut files, at(100));
        let want =
            r#"{"File":"f","FileEvent":"file truncated"}{"Data":"eHk=","File":"f","Offset":2}"#;
        assert_eq!((text.as_str(), step), (want, Step::Idle));
        files.0.clear();
        let (text, step) = drain(&mut stream, &mut files, at(200));
        assert_eq!(text, r#"{"File":"f","FileEvent":"file deleted","Offset":2}"#);
        assert_eq!(step, Step::End);
        let missing = FileStream::file(&mut files, "f", origin(0, false), true);
        assert_eq!(missing, Err(FileError::Missing));
    }

    #[test]
    fn raw_reading_stops_at_its_limit() {
        let mut files = Fake::new(&[("f", "hello\n")]);
        for (offset, limit, want) in [(1, 3, "ell"), (0, 0, "hello\n"), (4, 99, "o\n"), (50, 1, "")]
        {
            let mut stream = FileStream::raw("f", offset, limit);
            assert_eq!(drain(&mut stream, &mut files, at(0)), (want.to_owned(), Step::End));
        }
        let step = drain(&mut FileStream::raw("gone", 0, 0), &mut files, at(0)).1;
        assert_eq!(step, Step::Failed(FileError::Missing));
    }

    #[test]
    fn large_files_come_in_bounded_pieces() {
        let mut files = Fake::default();
        files.0.insert("f".to_owned(), vec![b'x'; FRAME_BYTES * 2 + 5]);
        let mut stream = FileStream::raw("f", 0, 0);
        let mut sizes = Vec::new();
        loop {
            let mut out = Vec::new();
            let step = stream.poll(at(0), &mut files, &mut out);
            sizes.push(out.len());
            if step == Step::End {
                break;
            }
        }
        assert_eq!(sizes, [FRAME_BYTES, FRAME_BYTES, 5, 0]);
    }
}
