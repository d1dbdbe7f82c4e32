//! Removing a tree in pieces, so that a large one does not hold up whoever removes it.
//!
//! The walk goes by descriptors: links are removed, never followed, also when somebody swaps names
//! meanwhile. Whatever is mounted in the tree stays.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, ReadDir};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::linux;

/// Most directories that are open within each other. What lies deeper is moved up first, so that
/// no tree is too deep.
const DEPTH_MAX: usize = 32;

/// A tree of which a part may be gone already.
#[derive(Debug)]
pub struct Removal {
    path: PathBuf,
    /// From the root downwards.
    levels: Vec<Level>,
    device: u64,
    moved: u64,
    error: Option<io::Error>,
}

#[derive(Debug)]
struct Level {
    /// In the one above.
    name: CString,
    dir: File,
    entries: ReadDir,
    /// Something went, so that a look at what is left is worth it.
    progress: bool,
}

impl Level {
    fn open(name: CString, dir: File) -> io::Result<Self> {
        let entries = fs::read_dir(format!("/proc/self/fd/{}/.", dir.as_raw_fd()))?;
        Ok(Self { name, dir, entries, progress: false })
    }
}

impl Removal {
    /// Nothing is removed yet, but where it is no directory.
    ///
    /// # Errors
    /// Those of the file system. That it is gone already is no error.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let (levels, error) = (Vec::new(), None);
        let mut removal = Self { path: path.to_owned(), levels, device: 0, moved: 0, error };
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => {
                let mut options = OpenOptions::new();
                options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
                let dir = options.open(path)?;
                removal.device = dir.metadata()?.dev();
                removal.levels.push(Level::open(CString::default(), dir)?);
            }
            Ok(_) => fs::remove_file(path)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        Ok(removal)
    }

    /// Removes at most so many names; true where the tree is gone.
    ///
    /// # Errors
    /// The first thing that kept a part of the tree, once all else is gone.
    pub fn step(&mut self, names: usize) -> io::Result<bool> {
        for _ in 0..names {
            if self.levels.is_empty() {
                break;
            }
            if let Err(e) = self.next() {
                self.error.get_or_insert(e);
            }
        }
        match self.error.take() {
            Some(e) if self.levels.is_empty() => Err(e),
            error => {
                self.error = error;
                Ok(self.levels.is_empty())
            }
        }
    }

    fn next(&mut self) -> io::Result<()> {
        let depth = self.levels.len();
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let Some(entry) = level.entries.next() else { return self.leave() };
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => {
                // What cannot be listed further is left at once.
                level.progress = false;
                drop(self.leave());
                return Err(e);
            }
        };
        let name = CString::new(entry.file_name().into_vec())?;
        if !entry.file_type()?.is_dir() {
            linux::unlink_at(level.dir.as_fd(), &name, false)?;
            level.progress = true;
            return Ok(());
        }
        if depth >= DEPTH_MAX {
            self.moved += 1;
            let to = CString::new(format!(".removed-{}-{}", std::process::id(), self.moved))?;
            let [top, .., low] = self.levels.as_mut_slice() else { return Ok(()) };
            linux::rename_at(low.dir.as_fd(), &name, top.dir.as_fd(), &to)?;
            (top.progress, low.progress) = (true, true);
            return Ok(());
        }
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let dir = File::from(linux::open_at(level.dir.as_fd(), &name, flags, 0)?);
        if dir.metadata()?.dev() != self.device {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        self.levels.push(Level::open(name, dir)?);
        Ok(())
    }

    /// All names of the lowest level were seen.
    fn leave(&mut self) -> io::Result<()> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        let gone = match self.levels.last_mut() {
            None => fs::remove_dir(&self.path),
            Some(above) => {
                let gone = linux::unlink_at(above.dir.as_fd(), &level.name, true);
                above.progress |= gone.is_ok();
                gone
            }
        };
        match gone {
            // Names that came meanwhile, or were moved here.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty && level.progress => {
                self.levels.push(Level::open(level.name, level.dir)?);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            gone => gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("vardo-remove-{}-{name}", std::process::id()));
        super::super::fs::remove_tree(&dir).unwrap();
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_tree_goes_in_pieces_and_nothing_else() {
        let dir = scratch("pieces");
        fs::write(dir.join("kept"), "x").unwrap();
        let tree = dir.join("tree");
        for i in 0..50 {
            fs::create_dir_all(tree.join(format!("d{}/e", i % 5))).unwrap();
            fs::write(tree.join(format!("d{}/e/f{i}", i % 5)), "x").unwrap();
        }
        symlink(&dir, tree.join("out")).unwrap();
        symlink(dir.join("kept"), tree.join("d0/kept")).unwrap();
        let mut removal = Removal::begin(&tree).unwrap();
        let mut steps = 0;
        while !removal.step(10).unwrap() {
            steps += 1;
            if steps == 2 {
                fs::write(tree.join("late"), "x").unwrap();
            }
            assert!(steps < 100);
        }
        assert!(steps > 5, "{steps}");
        assert!(!tree.exists() && dir.join("kept").exists());
        assert!(Removal::begin(&tree).unwrap().step(1).unwrap(), "it is gone already");
        let mut file = Removal::begin(&dir.join("kept")).unwrap();
        assert!(file.step(1).unwrap() && !dir.join("kept").exists());
        fs::remove_dir(&dir).unwrap();
    }

    /// A task may nest directories deeper than descriptors and paths reach.
    #[test]
    fn no_tree_is_too_deep() {
        let dir = scratch("deep");
        let mut at = File::open(&dir).unwrap();
        let name = CString::new("d".repeat(200)).unwrap();
        for _ in 0..300 {
            let path = format!("/proc/self/fd/{}/{}", at.as_raw_fd(), name.to_str().unwrap());
            fs::create_dir(&path).unwrap();
            at = File::open(&path).unwrap();
        }
        let mut removal = Removal::begin(&dir).unwrap();
        let mut steps = 0;
        while !removal.step(100).unwrap() {
            steps += 1;
            assert!(steps < 1_000);
        }
        assert!(!dir.exists());
    }
}
