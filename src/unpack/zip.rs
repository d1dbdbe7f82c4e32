//! Zip, by the list at its end: stored and deflated files, without encryption and without the
//! extension for more than 4 GB.

use super::{Bounded, PIECE_BYTES, Source};
use crate::http::gzip::{Inflate, crc32_on};

/// The record at the end, and the longest comment behind it.
const END_BYTES: usize = 22;
const COMMENT_BYTES_MAX: u64 = 65_535;
/// Heads of an entry in the list, and of the entry itself.
const LISTED_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;

fn invalid() -> String {
    "zip: not a valid zip file".to_owned()
}

fn short(bytes: &[u8], at: usize) -> u64 {
    let two = bytes.get(at..at + 2).and_then(|b| b.try_into().ok());
    u16::from_le_bytes(two.unwrap_or_default()).into()
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    u32::from_le_bytes(four.unwrap_or_default()).into()
}

/// So many bytes of the archive.
fn read(source: &mut dyn Source, at: u64, count: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; count];
    if source.read_at(at, &mut bytes)? < count {
        return Err(invalid());
    }
    Ok(bytes)
}

pub(super) fn unpack(source: &mut dyn Source, to: &mut Bounded<'_>) -> Result<(), String> {
    let size = source.size();
    let tail = size.min(END_BYTES as u64 + COMMENT_BYTES_MAX);
    let bytes = read(source, size - tail, usize::try_from(tail).unwrap_or(0))?;
    let found = bytes.windows(END_BYTES).rposition(|w| w.starts_with(b"PK\x05\x06"));
    let end = bytes.get(found.ok_or_else(invalid)?..).unwrap_or_default();
    let (count, mut at) = (short(end, 10), long(end, 16));
    if count == 0xffff || at == 0xffff_ffff {
        return Err("zip: files of more than 4 GB are not unpacked".to_owned());
    }
    for _ in 0..count {
        let head = read(source, at, LISTED_BYTES)?;
        if !head.starts_with(b"PK\x01\x02") {
            return Err(invalid());
        }
        let name = read(source, at + LISTED_BYTES as u64, short(&head, 28) as usize)?;
        let name = String::from_utf8_lossy(&name).into_owned();
        at += LISTED_BYTES as u64 + short(&head, 28) + short(&head, 30) + short(&head, 32);
        // Rights and kind of a file, where a system that has them has made the archive.
        let unix = short(&head, 4) >> 8 == 3;
        let mode = if unix { (long(&head, 38) >> 16) as u32 } else { 0 };
        match mode & 0o170_000 {
            _ if name.ends_with('/') => to.folder(&name)?,
            0o040_000 => to.folder(&name)?,
            0 | 0o100_000 => file(source, &head, &name, mode, to)?,
            0o120_000 => return Err(format!("the archive has a link: {name:?}")),
            _ => return Err(format!("the archive has no plain file: {name:?}")),
        }
    }
    Ok(())
}

/// One file. `head`: its entry in the list.
fn file(
    source: &mut dyn Source,
    head: &[u8],
    name: &str,
    mode: u32,
    to: &mut Bounded<'_>,
) -> Result<(), String> {
    let (flags, method) = (short(head, 8), short(head, 10));
    let (want, packed, plain) = (long(head, 16), long(head, 20), long(head, 24));
    if flags & 1 != 0 {
        return Err(format!("zip: {name:?} is encrypted"));
    }
    let local = read(source, long(head, 42), LOCAL_BYTES)?;
    if !local.starts_with(b"PK\x03\x04") {
        return Err(invalid());
    }
    let begin = long(head, 42) + LOCAL_BYTES as u64 + short(&local, 26) + short(&local, 28);
    to.file(name, if mode & 0o777 == 0 { 0o644 } else { mode })?;
    let (mut crc, mut given, mut read) = (0, 0, 0);
    let mut take = |piece: &[u8], to: &mut Bounded<'_>| {
        crc = crc32_on(crc, piece);
        given += piece.len() as u64;
        if given > plain {
            return Err(format!("zip: {name:?} is longer than it says"));
        }
        to.bytes(piece)
    };
    let (mut inflate, mut done) = (Inflate::new(), false);
    let mut piece = vec![0; PIECE_BYTES];
    while read < packed && !done {
        let most = usize::try_from(packed - read).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let count = source.read_at(begin + read, piece.get_mut(..most).unwrap_or_default())?;
        if count == 0 {
            return Err(invalid());
        }
        read += count as u64;
        to.read += count as u64;
        let mut bytes = piece.get(..count).unwrap_or_default();
        match method {
            0 => take(bytes, to)?,
            8 => {
                done = inflate.feed(&mut bytes, &mut |plain| {
                    to.inflated(plain)?;
                    take(plain, to)
                })?;
            }
            _ => return Err(format!("zip: {name:?} is packed in a way that is not known here")),
        }
    }
    if given != plain || u64::from(crc) != want {
        return Err(format!("zip: {name:?} is damaged"));
    }
    to.end()
}
