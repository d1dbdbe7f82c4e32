//! Archives, read piece by piece: tar, tar in gzip, single files in gzip, and zip.
//!
//! An archive comes from outside and may be hostile. What it names lies below the place where it
//! is unpacked or it is refused; links and devices are refused, and so is one that holds more
//! than it may. Nothing of it is held in memory but a piece and the name that is being read.

mod tar;
mod zip;

use crate::http::gzip::Gunzip;

/// Bytes that are read together.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest path in an archive, in bytes, and the most parts of it.
const PATH_BYTES_MAX: usize = 4096;
const PATH_PARTS_MAX: usize = 64;
/// Once it has given so many bytes, an archive may give at most so many times what was read of it.
const RATIO_FROM: u64 = 1 << 20;
const RATIO_MAX: u64 = 200;

/// The archive itself.
pub trait Source {
    /// Reads from a position until the buffer is full or the archive ends; returns the count.
    ///
    /// # Errors
    /// A text for people.
    fn read_at(&mut self, at: u64, buffer: &mut [u8]) -> Result<usize, String>;

    /// Size in bytes.
    fn size(&self) -> u64;
}

/// Where it goes. Paths are relative, without `.` and `..`, and not empty; modes have no bits but
/// those of rights.
pub trait Sink {
    /// # Errors
    /// A text for people, here and below.
    fn folder(&mut self, path: &str) -> Result<(), String>;

    /// Begins a file. The one before it has ended.
    fn file(&mut self, path: &str, mode: u32) -> Result<(), String>;

    /// The next bytes of the file.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), String>;

    /// The file is whole.
    fn end(&mut self) -> Result<(), String>;
}

/// What an archive may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sum of all files, in bytes.
    pub bytes: u64,
    /// Files and folders.
    pub entries: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tar,
    TarGz,
    /// One file.
    Gz,
    Zip,
}

impl Kind {
    /// What a file is by its name; `None`: no archive.
    ///
    /// # Errors
    /// It is one of a kind that is not unpacked here.
    pub fn of(name: &str) -> Result<Option<Self>, String> {
        const ENDINGS: [(&str, Option<Kind>); 14] = [
            ("tar.gz", Some(Kind::TarGz)),
            ("tgz", Some(Kind::TarGz)),
            ("tar", Some(Kind::Tar)),
            ("zip", Some(Kind::Zip)),
            ("tar.bz2", None),
            ("tbz2", None),
            ("tar.xz", None),
            ("txz", None),
            ("tar.zst", None),
            ("tzst", None),
            ("gz", Some(Kind::Gz)),
            ("bz2", None),
            ("xz", None),
            ("zst", None),
        ];
        let ends =
            |end: &str| name == end || name.strip_suffix(end).is_some_and(|n| n.ends_with('.'));
        match ENDINGS.iter().find(|(end, _)| ends(end)) {
            None => Ok(None),
            Some((_, Some(kind))) => Ok(Some(*kind)),
            Some((end, None)) => Err(format!("archives of kind {end} are not unpacked")),
        }
    }
}

/// Unpacks an archive. `name`: that of the one file of [`Kind::Gz`].
///
/// # Errors
/// It is damaged, or refused; what went before is unpacked by then.
pub fn unpack(
    kind: Kind,
    name: &str,
    source: &mut dyn Source,
    sink: &mut dyn Sink,
    limits: Limits,
) -> Result<(), String> {
    let mut bounded = Bounded { sink, left: limits, read: 0, given: 0 };
    match kind {
        Kind::Zip => zip::unpack(source, &mut bounded),
        Kind::Tar => {
            let mut tar = tar::Tar::default();
            pieces(source, |piece| {
                bounded.read += piece.len() as u64;
                tar.feed(piece, &mut bounded)
            })?;
            tar.finish()
        }
        Kind::TarGz => {
            let (mut tar, mut gunzip) = (tar::Tar::default(), Gunzip::new());
            pieces(source, |piece| {
                bounded.read += piece.len() as u64;
                gunzip.feed(piece, &mut |plain| {
                    bounded.inflated(plain)?;
                    tar.feed(plain, &mut bounded)
                })
            })?;
            gunzip.finish()?;
            tar.finish()
        }
        Kind::Gz => {
            let mut gunzip = Gunzip::new();
            bounded.file(name, 0o644)?;
            pieces(source, |piece| {
                bounded.read += piece.len() as u64;
                gunzip.feed(piece, &mut |plain| {
                    bounded.inflated(plain)?;
                    bounded.bytes(plain)
                })
            })?;
            gunzip.finish()?;
            bounded.end()
        }
    }
}

fn pieces(
    source: &mut dyn Source,
    mut each: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        let count = source.read_at(at, &mut piece)?;
        if count == 0 {
            return Ok(());
        }
        at += count as u64;
        each(piece.get(..count).unwrap_or_default())?;
    }
}

/// A sink that takes so much and no more.
struct Bounded<'s> {
    sink: &'s mut dyn Sink,
    left: Limits,
    /// What was read of the archive, and what was inflated out of that.
    read: u64,
    given: u64,
}

impl Bounded<'_> {
    fn inflated(&mut self, plain: &[u8]) -> Result<(), String> {
        self.given += plain.len() as u64;
        if self.given > RATIO_FROM && self.given / RATIO_MAX > self.read {
            return Err(format!("the archive inflates to more than {RATIO_MAX} times its size"));
        }
        Ok(())
    }

    fn entry(&mut self) -> Result<(), String> {
        let left = self.left.entries.checked_sub(1);
        self.left.entries = left.ok_or("the archive holds too many files")?;
        Ok(())
    }

    fn folder(&mut self, path: &str) -> Result<(), String> {
        match inner(path)?.as_str() {
            "" => Ok(()),
            path => {
                self.entry()?;
                self.sink.folder(path)
            }
        }
    }

    fn file(&mut self, path: &str, mode: u32) -> Result<(), String> {
        let path = inner(path)?;
        if path.is_empty() {
            return Err("the archive has a file without a name".to_owned());
        }
        self.entry()?;
        self.sink.file(&path, mode & 0o777)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        let left = self.left.bytes.checked_sub(bytes.len() as u64);
        self.left.bytes = left.ok_or("the archive holds more bytes than it may")?;
        self.sink.bytes(bytes)
    }

    fn end(&mut self) -> Result<(), String> {
        self.sink.end()
    }
}

/// A path of an archive, without steps that lead nowhere.
fn inner(path: &str) -> Result<String, String> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    let outward = path.starts_with('/') || parts.contains(&"..") || path.contains(['\0', '\\']);
    if outward {
        return Err(format!("the archive has a path that leads out of it: {path:?}"));
    }
    if path.len() > PATH_BYTES_MAX || parts.len() > PATH_PARTS_MAX {
        return Err("the archive has a path that is too long".to_owned());
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests;
