//! The file that the agent's log goes to as well, begun anew by size and age.
//!
//! The file of the configured name is the newest; those before it have the time at which they were
//! set aside in their names: `vardo.log`, `vardo-1763973143019000000.log`. What cannot be written
//! (disk full) is lost, and the next line is tried again: nothing waits for the log.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::os::fs;

/// How the log is written, where to, and when a new file begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTo {
    /// Each line is an object of JSON.
    pub json: bool,
    /// With file and line of the source.
    pub place: bool,
    /// Empty: to standard error alone.
    pub path: PathBuf,
    /// Largest size of a file, in bytes; 0: any.
    pub bytes: u64,
    /// Longest time that a file is written to, in nanoseconds.
    pub age_ns: i64,
    /// How many older files are kept; 0: all, negative: none.
    pub older: i64,
}

#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) to: LogTo,
    file: Option<File>,
    size: u64,
    since_ns: i64,
    /// The last line was written in part.
    torn: bool,
}

impl LogFile {
    pub(super) const fn none() -> Self {
        let path = PathBuf::new();
        let to = LogTo { json: false, place: false, path, bytes: 0, age_ns: 0, older: 0 };
        Self { to, file: None, size: 0, since_ns: 0, torn: false }
    }

    /// Writes to this file from now on, which is opened again.
    ///
    /// # Errors
    /// It cannot be opened; it is tried again with each line.
    pub(super) fn begin(&mut self, to: LogTo, now_ns: i64) -> std::io::Result<()> {
        *self = Self { to, ..Self::none() };
        self.open(now_ns)
    }

    /// Appends a line.
    pub(super) fn write(&mut self, line: &str, now_ns: i64) {
        if self.file.is_none() && self.open(now_ns).is_err() {
            return;
        }
        let LogTo { bytes, age_ns, .. } = self.to;
        let full = bytes > 0 && self.size.saturating_add(line.len() as u64) > bytes;
        let old = now_ns.saturating_sub(self.since_ns) >= age_ns;
        if self.size > 0 && (full || old) {
            self.rotate(now_ns);
        }
        let Some(file) = &mut self.file else { return };
        if std::mem::take(&mut self.torn) {
            self.torn = file.write_all(b"\n").is_err();
        }
        match file.write(line.as_bytes()) {
            Ok(written) => {
                self.size += written as u64;
                self.torn |= written < line.len();
            }
            Err(_lost) => self.file = None,
        }
    }

    fn open(&mut self, now_ns: i64) -> std::io::Result<()> {
        if self.to.path.as_os_str().is_empty() {
            return Ok(());
        }
        let (file, size, born_ns) = fs::append_to(&self.to.path)?;
        (self.size, self.since_ns) = (size, born_ns.filter(|_| size > 0).unwrap_or(now_ns));
        self.file = Some(file);
        Ok(())
    }

    /// Sets the file aside, begins another and removes what is too old.
    fn rotate(&mut self, now_ns: i64) {
        let Some((folder, begin, end)) = parts(&self.to.path) else { return };
        self.file = None;
        // One that cannot be set aside is written on, and tried again with the next line.
        if std::fs::rename(&self.to.path, folder.join(format!("{begin}{now_ns}{end}"))).is_ok() {
            self.torn = false;
        }
        if self.to.older != 0 {
            let time = |name: &String| -> Option<u64> {
                name.strip_prefix(&begin)?.strip_suffix(&end)?.parse().ok()
            };
            let mut older: Vec<String> = fs::names(folder).unwrap_or_default();
            older.retain(|name| time(name).is_some());
            crate::stdx::sort::by_key(&mut older, |name| time(name));
            let keep = usize::try_from(self.to.older).unwrap_or(0);
            for name in older.iter().take(older.len().saturating_sub(keep)) {
                drop(fs::remove(&folder.join(name)));
            }
        }
        drop(self.open(now_ns));
    }
}

/// The folder of a file, and what stands before and behind the time in the names of older ones.
fn parts(path: &Path) -> Option<(&Path, String, String)> {
    let (stem, end) = (path.file_stem()?.to_str()?, path.extension());
    let end = end.and_then(|e| e.to_str()).unwrap_or("log");
    Some((path.parent()?, format!("{stem}-"), format!(".{end}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("vardo-log-{}-{name}", std::process::id()));
        fs::remove_tree(&path).unwrap();
        fs::make_dir(&path, 0o700).unwrap();
        path
    }

    fn texts(folder: &Path) -> Vec<(String, String)> {
        let read = |n: String| (n.clone(), std::fs::read_to_string(folder.join(n)).unwrap());
        fs::names(folder).unwrap().into_iter().map(read).collect()
    }

    fn of(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn files_follow_each_other_by_size_and_age() {
        let dir = folder("turns");
        let to =
            LogTo { path: dir.join("v.log"), bytes: 10, age_ns: 50, older: 2, ..LogTo::default() };
        std::fs::write(dir.join("v-old.log"), "not ours").unwrap();
        let mut log = LogFile::none();
        log.begin(to.clone(), 100).unwrap();
        for (line, at) in [("one\n", 100), ("two\n", 101), ("three\n", 102), ("4\n", 110)] {
            log.write(line, at);
        }
        let kept = ("v-old.log", "not ours");
        let turned = ("v-102.log", "one\ntwo\n");
        assert_eq!(texts(&dir), of(&[turned, kept, ("v.log", "three\n4\n")]));
        log.write("5\n", 152);
        assert_eq!(texts(&dir), of(&[turned, ("v-152.log", "three\n4\n"), kept, ("v.log", "5\n")]));
        log.write("a line that is longer than a file\n", 153);
        log.write("6\n", 154);
        let long = ("v-154.log", "a line that is longer than a file\n");
        assert_eq!(texts(&dir), of(&[("v-153.log", "5\n"), long, kept, ("v.log", "6\n")]));
        // Another start goes on with the file that is there, and none of the older is kept.
        log.begin(LogTo { older: -1, age_ns: i64::MAX, ..to }, 160).unwrap();
        log.write("7\n", 161);
        log.write("and more\n", 162);
        assert_eq!(texts(&dir), of(&[kept, ("v.log", "and more\n")]));
        fs::remove_tree(&dir).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_nothing_else() {
        let dir = folder("lost");
        let path = dir.join("below").join("log");
        let to = LogTo { path: path.clone(), age_ns: i64::MAX, ..LogTo::default() };
        let mut log = LogFile::none();
        log.begin(to, 1).unwrap_err();
        log.write("lost\n", 2);
        fs::make_dir(&dir.join("below"), 0o700).unwrap();
        log.write("kept\n", 3);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept\n");
        let mut full = LogFile::none();
        let to = LogTo { path: "/dev/full".into(), ..LogTo::default() };
        full.begin(LogTo { age_ns: i64::MAX, ..to }, 1).unwrap();
        full.write("lost\n", 2);
        assert!(full.file.is_none());
        assert_eq!(parts(Path::new("/a/b")).unwrap().1, "b-");
        fs::remove_tree(&dir).unwrap();
    }
}
