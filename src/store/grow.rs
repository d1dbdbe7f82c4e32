//! The size of the map and of the file below it.
//!
//! The map is address space only. The file is kept longer than what the newest meta page names, so
//! that a file that is shorter has been cut by someone else; reading past its end would kill the
//! process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Allocate, StoreError};

/// How far the file runs ahead of the last page in use.
pub(super) const HEADROOM: u64 = 4 << 20;

/// It is lengthened by one in so many of the bytes in use, where that is more than the headroom.
const GROWTH_SHARE: u64 = 32;

const WORD: usize = size_of::<usize>();
/// Page number, padding, flags, bounds.
const PAGE_HEADER: usize = WORD + 8;
const META_MAGIC: u32 = 0xBEEF_C0DE;
const META_VERSION: u32 = 1;
/// Of one record of a B-tree: padding, flags, depth and five numbers.
const TREE: usize = 8 + 5 * WORD;
/// Magic, version, address, map size, two trees; then the last page and the transaction.
const LAST_PAGE: usize = 8 + 2 * WORD + 2 * TREE;

/// What a meta page tells.
#[derive(Clone, Copy)]
struct Meta {
    page_size: u64,
    last_page: u64,
    txn: u64,
}

/// Checks the data file before it is mapped: both meta pages are whole and the file is as long as
/// the newest of them says. An empty or absent file is fine where `fresh` is true; one that the
/// power left half made is removed: it is shorter than any that a batch was begun in.
pub(super) fn check(path: &Path, fresh: bool) -> Result<(), StoreError> {
    let file = match File::open(path) {
        Ok(f) => f,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && fresh => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::Damaged(format!("{} is missing", path.display())));
        }
        Err(e) => return Err(e.into()),
    };
    let len = file.metadata()?.len();
    if len == 0 && fresh {
        return Ok(());
    }
    let first = meta(&file, 0).ok_or(0);
    let pages = first.and_then(|first| Ok((meta(&file, first.page_size).ok_or(1)?, first)));
    let (second, first) = match pages {
        Ok(pages) => pages,
        Err(_) if fresh && len < HEADROOM => return Ok(std::fs::remove_file(path)?),
        Err(n) => {
            let what = format!("{}: meta page {n} is bad", path.display());
            return Err(StoreError::Damaged(what));
        }
    };
    let newest = if second.txn > first.txn { second } else { first };
    let need = newest.last_page.saturating_add(1).saturating_mul(newest.page_size);
    if len < need {
        return Err(StoreError::Damaged(format!(
            "{}: file shorter than meta says ({len} < {need} bytes)",
            path.display()
        )));
    }
    Ok(())
}

fn meta(file: &File, at: u64) -> Option<Meta> {
    let mut page = [0u8; PAGE_HEADER + LAST_PAGE + 2 * WORD];
    file.read_exact_at(&mut page, at).ok()?;
    let body = page.get(PAGE_HEADER..)?;
    let small = |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let word = |at: usize| -> Option<u64> {
        u64::try_from(usize::from_ne_bytes(body.get(at..at + WORD)?.try_into().ok()?)).ok()
    };
    if small(0)? != META_MAGIC || small(4)? & 0xff != META_VERSION {
        return None;
    }
    // The page size is kept in the padding of the first tree.
    let page_size = u64::from(small(8 + 2 * WORD)?);
    if !page_size.is_power_of_two() || !(256..=65_536).contains(&page_size) {
        return None;
    }
    Some(Meta { page_size, last_page: word(LAST_PAGE)?, txn: word(LAST_PAGE + WORD)? })
}

/// Room that must be there before a transaction begins, in bytes. Storage that runs out in the
/// middle of one looks like a broken disk: the library then reports an input/output error.
const ROOM_MIN: u64 = 2 << 20;
/// And before one that removes more than it adds.
const LAST_ROOM: u64 = 512 << 10;
/// Pages inside of the file that may be used again, in bytes, for a transaction to begin without
/// room behind them.
pub(super) const FREE_MIN: u64 = 2 * ROOM_MIN;

/// Lengthens the file where the last page comes near its end, with blocks that are really there;
/// the new length. `frees`: the transaction removes more than it adds.
///
/// # Errors
/// [`StoreError::NoSpace`] where the disk has no more to give and too little is left.
pub(super) fn keep_ahead(
    file: &File,
    len: u64,
    used: u64,
    frees: bool,
    allocate: Allocate,
) -> Result<u64, StoreError> {
    if used.saturating_add(HEADROOM) <= len {
        return Ok(len);
    }
    let least = if frees { LAST_ROOM } else { ROOM_MIN };
    // A large file in larger steps: each costs the next flush a change of the file's description.
    for more in [(used / GROWTH_SHARE).max(2 * HEADROOM), 2 * HEADROOM, HEADROOM, least] {
        let longer = used.saturating_add(more);
        if longer <= len || allocate(file, used, longer) {
            return Ok(longer.max(len));
        }
    }
    Err(StoreError::NoSpace)
}

/// Rounds up to what every page size in use divides.
pub(super) fn round(bytes: usize) -> usize {
    bytes.max(1 << 16).next_multiple_of(1 << 16)
}
