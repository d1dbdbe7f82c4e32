//! Bodies of known length and in chunks (RFC 9112, section 7.1), one byte at a time where it
//! matters: what is not exactly right is refused.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used
)]

use super::head::Framing;
use super::reply::Reject;
use crate::limits::{HTTP_BODY_BYTES_MAX, HTTP_CHUNK_EXTENSION_BYTES_MAX, HTTP_TRAILER_BYTES_MAX};

/// A body on its way in.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Bytes of the body that came, also those that were taken out since.
    pub(super) total: u64,
    step: Step,
    /// The size line of the current chunk: its value and how many digits it had.
    size: u64,
    digits: u32,
    /// Bytes of chunk extensions so far.
    extensions: usize,
    /// Bytes of trailers so far.
    trailers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Of a body with a length: bytes to come.
    Plain(usize),
    /// The digits of a chunk's size.
    Size,
    Extension,
    SizeLf,
    Data(usize),
    DataCr,
    DataLf,
    /// At the begin of a trailer line.
    Trailer,
    TrailerLine,
    TrailerLf,
    EndLf,
    Done,
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        let step = match framing {
            Framing::Length(0) => Step::Done,
            Framing::Length(n) => Step::Plain(n),
            Framing::Chunked => Step::Size,
        };
        Self { bytes: Vec::new(), total: 0, step, size: 0, digits: 0, extensions: 0, trailers: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// Takes what belongs to the body from the front of `input`; returns how many bytes it used.
    ///
    /// # Errors
    /// The answer for broken chunks or a body above the limit.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<usize, Reject> {
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|r| !r.is_empty()) {
            match self.step {
                Step::Done => break,
                Step::Plain(n) | Step::Data(n) => {
                    let n = self.take(n, rest);
                    used = used.saturating_add(n);
                }
                _ => {
                    let Some(byte) = rest.first() else { break };
                    self.step = self.byte(*byte)?;
                    used = used.saturating_add(1);
                }
            }
        }
        Ok(used)
    }

    /// Copies bytes of the body itself.
    fn take(&mut self, left: usize, rest: &[u8]) -> usize {
        let n = left.min(rest.len());
        self.bytes.extend_from_slice(rest.get(..n).unwrap_or_default());
        self.total = self.total.saturating_add(n as u64);
        let left = left.saturating_sub(n);
        self.step = match (self.step, left) {
            (Step::Plain(_), 0) => Step::Done,
            (Step::Plain(_), n) => Step::Plain(n),
            (_, 0) => Step::DataCr,
            (_, n) => Step::Data(n),
        };
        n
    }

    fn byte(&mut self, b: u8) -> Result<Step, Reject> {
        let broken = Err(Reject::bad("malformed chunked body"));
        Ok(match (self.step, b) {
            (Step::Size, b) if b.is_ascii_hexdigit() => {
                // Sixteen digits are all that a number can have; leading zeros count as digits.
                if self.digits == 16 {
                    return Err(too_large());
                }
                let digit = char::from(b).to_digit(16).unwrap_or(0);
                self.size = self.size << 4 | u64::from(digit);
                self.digits = self.digits.saturating_add(1);
                Step::Size
            }
            (Step::Size, b'\r' | b';' | b' ' | b'\t') if self.digits > 0 => {
                let room = HTTP_BODY_BYTES_MAX.saturating_sub(self.bytes.len());
                if usize::try_from(self.size).map_or(true, |s| s > room) {
                    return Err(too_large());
                }
                if b == b'\r' { Step::SizeLf } else { self.extension()? }
            }
            (Step::Extension, b'\r') => Step::SizeLf,
            (Step::Extension, b'\n') => return broken,
            (Step::Extension, _) => self.extension()?,
            (Step::SizeLf, b'\n') => {
                self.digits = 0;
                match usize::try_from(std::mem::take(&mut self.size)) {
                    Ok(0) => Step::Trailer,
                    Ok(n) => Step::Data(n),
                    Err(_) => return Err(too_large()),
                }
            }
            (Step::DataCr, b'\r') => Step::DataLf,
            (Step::DataLf, b'\n') => Step::Size,
            (Step::Trailer, b'\r') => Step::EndLf,
            (Step::TrailerLine, b'\r') => Step::TrailerLf,
            (Step::Trailer | Step::TrailerLine, b'\n' | 0) => return broken,
            (Step::Trailer | Step::TrailerLine, _) => {
                self.trailers = self.trailers.saturating_add(1);
                if self.trailers > HTTP_TRAILER_BYTES_MAX {
                    return Err(Reject::new(431, "Request Header Fields Too Large"));
                }
                Step::TrailerLine
            }
            (Step::TrailerLf, b'\n') => Step::Trailer,
            (Step::EndLf, b'\n') => Step::Done,
            _ => return broken,
        })
    }

    /// Extensions are skipped, but not without end.
    fn extension(&mut self) -> Result<Step, Reject> {
        self.extensions = self.extensions.saturating_add(1);
        if self.extensions > HTTP_CHUNK_EXTENSION_BYTES_MAX {
            return Err(Reject::bad("chunk extensions too long"));
        }
        Ok(Step::Extension)
    }
}

fn too_large() -> Reject {
    Reject::new(413, "Request Entity Too Large")
}
