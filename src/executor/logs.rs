//! A task's output as numbered files of limited size: `<task>.<stdout|stderr>.<n>`.
//!
//! The directory belongs to the task, which may put anything under these names. So files are
//! opened below a descriptor of the directory that was taken before the task ran, never through a
//! link, and only plain files with one name are written. When a file cannot be opened or written
//! (disk full), that piece of output is dropped and the next is tried again: the task never waits
//! for its logs.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;

use crate::os::logdir::LogDir;

/// Writes one stream of one task.
#[derive(Debug)]
pub(super) struct Rotated {
    prefix: String,
    max_files: u64,
    max_bytes: u64,
    index: u64,
    /// Bytes in the open file.
    size: u64,
    file: Option<File>,
}

impl Rotated {
    /// Goes on with the newest file of an earlier start of the task, or begins at 0. The first
    /// file is made at once, so that a reader finds an empty log and not a missing one.
    pub(super) fn new(
        dir: &LogDir,
        task: &str,
        stream: &str,
        max_files: u32,
        max_bytes: u64,
    ) -> Self {
        let prefix = format!("{task}.{stream}.");
        let index = indices(dir, &prefix).into_iter().max().unwrap_or(0);
        let mut this = Self {
            prefix,
            max_files: u64::from(max_files.max(1)),
            max_bytes: max_bytes.max(1),
            index,
            size: 0,
            file: None,
        };
        // Failing here is as for any output that cannot be written: tried again with the next.
        drop(this.open(dir));
        this
    }

    /// Writes a piece of output; what cannot be written is lost.
    pub(super) fn write(&mut self, dir: &LogDir, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.size >= self.max_bytes {
                self.rotate(dir);
            }
            match self.write_some(dir, bytes) {
                Ok(count) if count > 0 => bytes = bytes.get(count..).unwrap_or_default(),
                Ok(_) => return,
                Err(_dropped) => {
                    // Start afresh next time: the file may be the one that is gone or bad.
                    self.file = None;
                    return;
                }
            }
        }
    }

    /// Writes as much as the file may still take, whole lines if there is one.
    fn write_some(&mut self, dir: &LogDir, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() {
            self.open(dir)?;
            if self.size >= self.max_bytes {
                self.rotate(dir);
                self.open(dir)?;
            }
        }
        let room = usize::try_from(self.max_bytes.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let mut part = bytes;
        if let Some(fitting) = bytes.get(..room) {
            let line_end = fitting.iter().rposition(|b| *b == b'\n').map(|at| at + 1);
            if fitting.len() < bytes.len() && line_end.is_none() && self.size > 0 && room < 256 {
                // Not one line end in the little room that is left: better a whole line in the
                // next file.
                self.size = self.max_bytes;
                self.rotate(dir);
                return self.write_some(dir, bytes);
            }
            part = fitting.get(..line_end.unwrap_or(room)).unwrap_or(fitting);
        }
        let Some(file) = &mut self.file else { return Ok(0) };
        let count = file.write(part)?;
        self.size = self.size.saturating_add(count as u64);
        if part.len() < bytes.len() && count == part.len() {
            self.size = self.max_bytes;
        }
        Ok(count)
    }

    /// Opens the file of the present number and learns its size.
    fn open(&mut self, dir: &LogDir) -> io::Result<()> {
        let file = dir.append(&format!("{}{}", self.prefix, self.index))?;
        let meta = file.metadata()?;
        if !meta.is_file() || meta.nlink() != 1 {
            // Somebody has put something else under our name: leave it alone and use the next
            // number.
            self.index += 1;
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        self.size = meta.len();
        self.file = Some(file);
        Ok(())
    }

    /// Goes to the next number and removes what is too old. The oldest goes first, so that a full
    /// disk gets room.
    fn rotate(&mut self, dir: &LogDir) {
        self.file = None;
        self.size = 0;
        self.index += 1;
        for old in indices(dir, &self.prefix) {
            if old.saturating_add(self.max_files) <= self.index {
                // One that cannot be removed is tried again at the next turn.
                drop(dir.remove(&format!("{}{old}", self.prefix)));
            }
        }
    }
}

/// Numbers of the files with this prefix.
fn indices(dir: &LogDir, prefix: &str) -> Vec<u64> {
    let Ok(list) = fs::read_dir(dir.path()) else { return Vec::new() };
    let names = list.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.strip_prefix(prefix)?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("vardo-logs-{}-{name}", std::process::id()));
        crate::os::fs::remove_tree(&dir).unwrap();
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn files(dir: &Path) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap())
            .map(|e| {
                (
                    e.file_name().into_string().unwrap(),
                    fs::read_to_string(e.path()).unwrap_or_default(),
                )
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn files_are_limited_in_size_and_number() {
        let path = scratch("rotate");
        let dir = LogDir::open(&path).unwrap();
        let mut log = Rotated::new(&dir, "t", "stdout", 2, 10);
        log.write(&dir, b"line 1\nline 2\n");
        log.write(&dir, b"line 3\n");
        let want = [("t.stdout.1", "line 2\n"), ("t.stdout.2", "line 3\n")]
            .map(|(a, b)| (a.into(), b.into()));
        assert_eq!(files(&path), want);
        // One line above the limit is cut; every file stays within it.
        log.write(&dir, &[b'x'; 35]);
        for (name, text) in files(&path) {
            assert!(text.len() <= 10, "{name} {text}");
        }
        assert_eq!(files(&path).len(), 2);
        // A second start goes on where the first ended.
        let last = files(&path).pop().unwrap();
        let mut again = Rotated::new(&dir, "t", "stdout", 2, 10);
        again.write(&dir, b"y\n");
        let text = fs::read_to_string(path.join(&last.0)).unwrap();
        assert_eq!(text, last.1 + "y\n");
        crate::os::fs::remove_tree(&path).unwrap();
    }

    #[test]
    fn links_in_our_place_are_not_written() {
        let path = scratch("links");
        let victim = path.join("victim");
        fs::write(&victim, "untouched").unwrap();
        std::os::unix::fs::symlink(&victim, path.join("t.stdout.0")).unwrap();
        fs::hard_link(&victim, path.join("t.stderr.0")).unwrap();
        let dir = LogDir::open(&path).unwrap();
        for stream in ["stdout", "stderr"] {
            let mut log = Rotated::new(&dir, "t", stream, 3, 100);
            for _ in 0..3 {
                log.write(&dir, b"output\n");
            }
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert!(fs::read_to_string(path.join("t.stderr.1")).unwrap().contains("output"));
        crate::os::fs::remove_tree(&path).unwrap();
    }
}
