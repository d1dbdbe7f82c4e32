//! Gzip of whole bodies with one compressor that is used again and again: a fresh one for every
//! small answer costs five times as much.

use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress, create_comp_flags_from_zip_params,
};
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use crate::stdx::crc::Crc;

#[derive(Default)]
pub struct Gzip {
    /// Takes 0.3 MB, so it is made when the first answer wants it.
    deflate: Option<Box<CompressorOxide>>,
}

/// Fast and good enough: at this level the ratio on lists is 3.6 and the speed that of a copy
/// over the network.
const LEVEL: i32 = 1;
/// No time, no name, system unknown (RFC 1952).
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff];

fn compressor() -> Box<CompressorOxide> {
    // Negative window bits: raw deflate, without zlib's frame.
    let flags = create_comp_flags_from_zip_params(LEVEL, -15, 0);
    Box::new(CompressorOxide::new(flags))
}

impl Gzip {
    pub fn new() -> Self {
        Self::default()
    }

    /// The whole of `bytes` as one gzip member.
    pub fn compress(&mut self, bytes: &[u8]) -> Vec<u8> {
        let deflate = self.deflate.get_or_insert_with(compressor);
        deflate.reset();
        let mut out = vec![0; HEAD.len() + bytes.len() / 2 + 64];
        out[..HEAD.len()].copy_from_slice(&HEAD);
        let mut filled = HEAD.len();
        let mut input = bytes;
        loop {
            let (status, read, wrote) =
                compress(deflate, input, &mut out[filled..], TDEFLFlush::Finish);
            input = input.get(read..).unwrap_or_default();
            filled += wrote;
            match status {
                TDEFLStatus::Okay => out.resize(out.len() * 2, 0),
                TDEFLStatus::Done => break,
                // Only for wrong parameters, which are fixed above.
                TDEFLStatus::BadParam | TDEFLStatus::PutBufFailed => {
                    unreachable!("deflate refuses its parameters")
                }
            }
        }
        out.truncate(filled);
        out.extend_from_slice(&crc32(bytes).to_le_bytes());
        let length = (bytes.len() as u64 & 0xffff_ffff) as u32;
        out.extend_from_slice(&length.to_le_bytes());
        out
    }
}

/// One gzip member that is written piece by piece.
pub struct GzipWriter {
    deflate: Box<CompressorOxide>,
    crc: u32,
    length: u64,
}

impl GzipWriter {
    pub fn new(out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&HEAD);
        Self { deflate: compressor(), crc: 0, length: 0 }
    }

    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.crc = crc32_on(self.crc, bytes);
        self.length += bytes.len() as u64;
        self.push(bytes, TDEFLFlush::None, out);
    }

    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.push(&[], TDEFLFlush::Finish, out);
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&((self.length & 0xffff_ffff) as u32).to_le_bytes());
    }

    fn push(&mut self, mut input: &[u8], flush: TDEFLFlush, out: &mut Vec<u8>) {
        let mut piece = [0; 16 << 10];
        loop {
            let (status, read, wrote) = compress(&mut self.deflate, input, &mut piece, flush);
            input = input.get(read..).unwrap_or_default();
            out.extend_from_slice(&piece[..wrote]);
            match status {
                TDEFLStatus::Okay if !input.is_empty() || wrote == piece.len() => {}
                TDEFLStatus::Okay if flush == TDEFLFlush::Finish => {}
                TDEFLStatus::Okay | TDEFLStatus::Done => return,
                // Only for wrong parameters, which are fixed above.
                TDEFLStatus::BadParam | TDEFLStatus::PutBufFailed => {
                    unreachable!("deflate refuses its parameters")
                }
            }
        }
    }
}

/// Deflated data without a frame that is read piece by piece.
pub struct Inflate(Box<InflateState>);

impl Inflate {
    pub fn new() -> Self {
        Self(InflateState::new_boxed(DataFormat::Raw))
    }

    /// Takes from the front of `bytes` and hands on what that inflates to; true at the end of the
    /// data, and what is left of `bytes` then is no part of it.
    ///
    /// # Errors
    /// A text for people, or that of `to`.
    pub fn feed(
        &mut self,
        bytes: &mut &[u8],
        to: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<bool, String> {
        let mut out = [0; 16 << 10];
        loop {
            let done = inflate(&mut self.0, bytes, &mut out, MZFlush::None);
            *bytes = bytes.get(done.bytes_consumed..).unwrap_or_default();
            to(out.get(..done.bytes_written).unwrap_or_default())?;
            match done.status {
                Ok(MZStatus::StreamEnd) => return Ok(true),
                Ok(_) | Err(MZError::Buf) => {}
                Err(_) => return Err("flate: corrupt input".to_owned()),
            }
            if bytes.is_empty() && done.bytes_written < out.len() {
                return Ok(false);
            }
        }
    }
}

/// One gzip member that is read piece by piece.
pub struct Gunzip {
    inflate: Inflate,
    step: Step,
    /// What came of the head or of the tail.
    part: Vec<u8>,
    crc: u32,
    length: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Head,
    /// Texts behind the head that are still to be skipped.
    Texts(u32),
    Body,
    Tail,
    Done,
}

impl Gunzip {
    pub fn new() -> Self {
        let inflate = Inflate::new();
        Self { inflate, step: Step::Head, part: Vec::new(), crc: 0, length: 0 }
    }

    /// Takes what came and hands on what it inflates to, at most about a thousand times as much.
    ///
    /// # Errors
    /// A text for people, or that of `to`.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        to: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        while let Some(first) = bytes.first() {
            match self.step {
                Step::Head => {
                    self.part.push(*first);
                    bytes = bytes.get(1..).unwrap_or_default();
                    if self.part.len() == HEAD.len() {
                        self.step = Step::Texts(texts(&self.part).ok_or("gzip: invalid header")?);
                        self.part.clear();
                    }
                }
                Step::Texts(left) if left > 0 => {
                    self.step = Step::Texts(left - u32::from(*first == 0));
                    bytes = bytes.get(1..).unwrap_or_default();
                }
                Step::Texts(_) => self.step = Step::Body,
                Step::Body => {
                    let (crc, length) = (&mut self.crc, &mut self.length);
                    let done = self.inflate.feed(&mut bytes, &mut |piece| {
                        *crc = crc32_on(*crc, piece);
                        *length += piece.len() as u64;
                        to(piece)
                    })?;
                    if done {
                        self.step = Step::Tail;
                    }
                }
                Step::Tail => {
                    self.part.push(*first);
                    bytes = bytes.get(1..).unwrap_or_default();
                    if self.part.len() == 8 {
                        let length = ((self.length & 0xffff_ffff) as u32).to_le_bytes();
                        if self.part != [self.crc.to_le_bytes(), length].concat() {
                            return Err("gzip: invalid checksum".to_owned());
                        }
                        self.step = Step::Done;
                    }
                }
                Step::Done => return Err("gzip: invalid header".to_owned()),
            }
        }
        Ok(())
    }

    /// # Errors
    /// It ended in the middle.
    pub fn finish(&self) -> Result<(), &'static str> {
        match self.step {
            Step::Done => Ok(()),
            Step::Head => Err("gzip: invalid header"),
            _ => Err("unexpected EOF"),
        }
    }
}

/// How many texts follow this head; `None`: it is none. Extra fields are not written by any tool.
fn texts(head: &[u8]) -> Option<u32> {
    let [0x1f, 0x8b, 8, flags, ..] = head else { return None };
    (flags & !0b1_1000 == 0).then_some(flags.count_ones())
}

fn crc32(bytes: &[u8]) -> u32 {
    crc32_on(0, bytes)
}

/// CRC-32 of RFC 1952 of bytes that follow others of checksum `crc`.
pub fn crc32_on(crc: u32, bytes: &[u8]) -> u32 {
    TABLES.on(crc, bytes)
}

static TABLES: Crc = Crc::new(0xedb8_8320);

#[cfg(test)]
mod tests {
    use super::*;

    fn unzip(bytes: &[u8], size: usize) -> Result<Vec<u8>, String> {
        let (mut gunzip, mut text) = (Gunzip::new(), Vec::new());
        for piece in bytes.chunks(size) {
            gunzip.feed(piece, &mut |p| {
                text.extend_from_slice(p);
                Ok(())
            })?;
        }
        gunzip.finish()?;
        Ok(text)
    }

    #[test]
    fn pieces_make_one_file() {
        let mut text = Vec::new();
        let (mut out, mut n) = (Vec::new(), 1u32);
        let mut gzip = GzipWriter::new(&mut out);
        for size in [0, 1, 70_000, 3, 500_000] {
            let piece: Vec<u8> = (0..size)
                .map(|_| {
                    n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (n >> 28) as u8
                })
                .collect();
            gzip.write(&piece, &mut out);
            text.extend(piece);
        }
        gzip.finish(&mut out);
        for size in [1, 7, 1000, out.len()] {
            assert_eq!(unzip(&out, size).as_deref(), Ok(&text[..]));
        }
        assert_eq!(unzip(&out[..out.len() - 20], 99), Err("unexpected EOF".to_owned()));
        for none in [&b"no gzip at all"[..], b"", &out[..9]] {
            assert_eq!(unzip(none, 9), Err("gzip: invalid header".to_owned()));
        }
        let at = out.len() - 6;
        out[at] ^= 1;
        assert_eq!(unzip(&out, 1 << 20), Err("gzip: invalid checksum".to_owned()));
    }

    #[test]
    fn crc_follows_the_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn members_inflate_to_what_went_in() {
        let mut gzip = Gzip::new();
        let noise: Vec<u8> =
            (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for body in [&b""[..], b"[]", b"hello hello hello hello", &noise, &noise[..77]] {
            let packed = gzip.compress(body);
            assert_eq!(packed[..10], HEAD);
            let end = packed.len() - 8;
            let plain = miniz_oxide::inflate::decompress_to_vec(&packed[10..end]).unwrap();
            assert_eq!(plain, body);
            assert_eq!(packed[end..end + 4], crc32(body).to_le_bytes());
            assert_eq!(packed[end + 4..], u32::try_from(body.len()).unwrap().to_le_bytes());
        }
    }
}
