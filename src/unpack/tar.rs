//! Tar: the old form, that of POSIX with its extended headers, and GNU's long names.

use super::Bounded;

const BLOCK: usize = 512;
/// Largest extended header or long name, in bytes.
const META_BYTES_MAX: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Step {
    #[default]
    Head,
    /// The bytes of a file.
    File,
    /// Those of what says more of the next entry: a long name, or an extended header.
    Name,
    Extended,
    /// Those of what says nothing.
    Skip,
    /// Two empty blocks, behind which nothing counts.
    End,
}

/// A tar file on its way in.
#[derive(Debug, Default)]
pub(super) struct Tar {
    step: Step,
    /// What came of a block, or of a name.
    part: Vec<u8>,
    /// Bytes of the entry that are still to come, and those behind it that fill its block.
    left: u64,
    fill: u64,
    /// What was said of the next entry.
    name: Option<String>,
    size: Option<u64>,
    /// The last block was empty.
    empty: bool,
}

impl Tar {
    pub(super) fn feed(&mut self, mut bytes: &[u8], to: &mut Bounded<'_>) -> Result<(), String> {
        while !bytes.is_empty() {
            let most = match self.step {
                Step::End => return Ok(()),
                Step::Head => (BLOCK - self.part.len()) as u64,
                _ if self.left > 0 => self.left,
                _ => self.fill,
            };
            let count = bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX));
            let (piece, rest) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
            bytes = rest;
            if self.step == Step::Head {
                self.part.extend_from_slice(piece);
                if self.part.len() == BLOCK {
                    let block = std::mem::take(&mut self.part);
                    self.head(&block, to)?;
                }
                continue;
            }
            if self.left == 0 {
                self.fill -= count as u64;
            } else {
                self.left -= count as u64;
                match self.step {
                    Step::File => to.bytes(piece)?,
                    Step::Name | Step::Extended => self.part.extend_from_slice(piece),
                    Step::Skip | Step::Head | Step::End => {}
                }
            }
            self.next(to)?;
        }
        Ok(())
    }

    /// # Errors
    /// It ended in the middle.
    pub(super) fn finish(&self) -> Result<(), String> {
        match self.step {
            Step::End => Ok(()),
            Step::Head if self.part.is_empty() => Ok(()),
            _ => Err("tar: unexpected EOF".to_owned()),
        }
    }

    /// Ends the entry where all of it has come.
    fn next(&mut self, to: &mut Bounded<'_>) -> Result<(), String> {
        if self.left > 0 || self.fill > 0 {
            return Ok(());
        }
        let part = std::mem::take(&mut self.part);
        match std::mem::take(&mut self.step) {
            Step::File => to.end()?,
            Step::Name => self.name = Some(text(&part)),
            Step::Extended => self.extended(&part)?,
            Step::Skip | Step::Head | Step::End => {}
        }
        Ok(())
    }

    fn head(&mut self, block: &[u8], to: &mut Bounded<'_>) -> Result<(), String> {
        if block.iter().all(|b| *b == 0) {
            self.step = if self.empty { Step::End } else { Step::Head };
            self.empty = true;
            return Ok(());
        }
        self.empty = false;
        let field = |at: usize, len: usize| block.get(at..at + len).unwrap_or_default();
        let invalid = || "tar: invalid header".to_owned();
        let blank = |(i, b): (usize, &u8)| if (148..156).contains(&i) { 32 } else { u64::from(*b) };
        let sum: u64 = block.iter().enumerate().map(blank).sum();
        if number(field(148, 8)) != Some(sum) {
            return Err(invalid());
        }
        let kind = block.get(156).copied().unwrap_or(0);
        let own = number(field(124, 12)).ok_or_else(invalid)?;
        let size = self.size.take().filter(|_| !b"xgLK".contains(&kind)).unwrap_or(own);
        let mode = number(field(100, 8)).unwrap_or(0o644);
        let mut name = text(field(0, 100));
        if field(257, 6) == b"ustar\0" && block.get(345) != Some(&0) {
            name = format!("{}/{name}", text(field(345, 155)));
        }
        (self.left, self.fill) = (size, (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64);
        self.step = match kind {
            b'L' | b'x' if size > META_BYTES_MAX => return Err(invalid()),
            b'L' => Step::Name,
            b'x' => Step::Extended,
            b'g' | b'K' => Step::Skip,
            _ => {
                let name = self.name.take().unwrap_or(name);
                match kind {
                    b'0' | b'7' | 0 if !name.ends_with('/') => {
                        let mode = u32::try_from(mode & 0o777).unwrap_or(0o644);
                        to.file(&name, mode)?;
                        Step::File
                    }
                    b'5' | 0 => {
                        to.folder(&name)?;
                        Step::Skip
                    }
                    b'1' | b'2' => return Err(format!("the archive has a link: {name:?}")),
                    _ => return Err(format!("the archive has no plain file: {name:?}")),
                }
            }
        };
        self.next(to)
    }

    /// Lines `<length> <key>=<value>`.
    fn extended(&mut self, mut rest: &[u8]) -> Result<(), String> {
        let invalid = || "tar: invalid extended header".to_owned();
        while !rest.is_empty() {
            let space = rest.iter().position(|b| *b == b' ').ok_or_else(invalid)?;
            let length = text(rest.get(..space).unwrap_or_default());
            let length = length.parse::<usize>().ok().filter(|n| *n > space).ok_or_else(invalid)?;
            let line = rest.get(space + 1..length).ok_or_else(invalid)?;
            rest = rest.get(length..).unwrap_or_default();
            let line = String::from_utf8_lossy(line.strip_suffix(b"\n").ok_or_else(invalid)?);
            match line.split_once('=').ok_or_else(invalid)? {
                ("path", path) => self.name = Some(path.to_owned()),
                ("size", size) => self.size = Some(size.parse().map_err(|_| invalid())?),
                // Holes are left out of what follows, and the real name stands here.
                (key, _) if key.starts_with("GNU.sparse.") => {
                    return Err("the archive has a sparse file".to_owned());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Up to the first zero.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

/// Octal digits, or, where the first bit is set, a number as it is.
fn number(field: &[u8]) -> Option<u64> {
    if field.first().is_some_and(|b| b & 0x80 != 0) {
        let (first, rest) = field.split_first()?;
        let begin = u64::from(first & 0x7f);
        return rest.iter().try_fold(begin, |n, b| Some(n.checked_mul(256)? | u64::from(*b)));
    }
    let text = text(field);
    let digits = text.trim();
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}
