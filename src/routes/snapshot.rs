//! `/v1/operator/snapshot`: the whole state as an archive, and back.
//!
//! The archive is a gzip'd tar of `meta.json`, `state.bin` and `SHA256SUMS`. It holds the root
//! keys, so whoever has it can read every variable. It is made within one turn, at about the speed
//! of the compression.

use ring::digest::{Context, SHA256, digest};
use serde_json::json;

use super::auth::need;
use super::{Answer, Body, Ctx, Outcome, invalid_method};
use crate::acl::operator;
use crate::api::ApiError;
use crate::http::gzip::{GzipWriter, unzip};
use crate::limits::SNAPSHOT_STATE_BYTES_MAX;
use crate::stdx::json::Bytes;
use crate::store::Import;

type Result<T = Outcome> = std::result::Result<T, ApiError>;

const BLOCK: usize = 512;
const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";

/// `/v1/operator/snapshot`
pub(super) fn snapshot(ctx: &mut Ctx<'_>) -> Result {
    if ctx.is_get() {
        need(ctx.may(|a| a.operation(operator::SNAPSHOT_SAVE)))?;
        return save(ctx);
    }
    if !ctx.is_write() {
        return Err(invalid_method());
    }
    need(ctx.is_management())?;
    let state = unpack(&ctx.req.body)
        .map_err(|why| ApiError::failed(format!("failed to restore from snapshot: {why}")))?;
    Ok(Outcome::Restore(state))
}

fn save(ctx: &Ctx<'_>) -> Result {
    let mut size = 0;
    ctx.reader.export(&mut |piece| size += piece.len())?;
    if size > SNAPSHOT_STATE_BYTES_MAX {
        return Err(ApiError::failed(format!(
            "the state has {size} bytes, a snapshot may have {SNAPSHOT_STATE_BYTES_MAX}"
        )));
    }
    let (a, index) = (ctx.agent, ctx.reader.index());
    let meta = json!({
        "Configuration": {
            "Servers": [{ "Address": a.rpc_addr, "ID": a.server_id, "Suffrage": 0 }],
        },
        "ConfigurationIndex": 0,
        "ID": format!("{}-{index}-{}", a.raft.term, ctx.now.wall_ns / 1_000_000),
        "Index": index,
        "Peers": null,
        "Size": size,
        "Term": a.raft.term,
        "Version": 1,
    });
    let meta = meta.to_string();
    let mut out = Vec::new();
    let mut gzip = GzipWriter::new(&mut out);
    let mut file = |gzip: &mut GzipWriter, name: &str, text: &[u8]| {
        gzip.write(&header(name, text.len()), &mut out);
        gzip.write(text, &mut out);
        gzip.write(padding(text.len()), &mut out);
    };
    file(&mut gzip, META, meta.as_bytes());
    let mut sum = Context::new(&SHA256);
    gzip.write(&header(STATE, size), &mut out);
    ctx.reader.export(&mut |piece| {
        sum.update(piece);
        gzip.write(piece, &mut out);
    })?;
    gzip.write(padding(size), &mut out);
    let sums = format!(
        "{}  {STATE}\n{}  {META}\n",
        hex(sum.finish().as_ref()),
        hex(digest(&SHA256, meta.as_bytes()).as_ref())
    );
    gzip.write(&header(SUMS, sums.len()), &mut out);
    gzip.write(sums.as_bytes(), &mut out);
    gzip.write(padding(sums.len()), &mut out);
    gzip.write(&[0; 2 * BLOCK], &mut out);
    gzip.finish(&mut out);
    let digest = Bytes::encode(digest(&SHA256, &out).as_ref());
    let mut answer = Answer { status: 200, body: Body::Bytes(out), ..Answer::default() };
    answer.content_type = Some("application/x-gzip");
    answer.headers.push(("Digest", format!("sha-256={digest}")));
    Ok(answer.into())
}

/// The state in an archive, its sums checked.
fn unpack(archive: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let tar = unzip(archive, SNAPSHOT_STATE_BYTES_MAX + (1 << 20))
        .map_err(|e| format!("failed to decompress snapshot: {e}"))?;
    let files = files(&tar).ok_or("failed to read snapshot: unexpected EOF")?;
    let find = |name: &str| {
        let found = files.iter().find(|(n, _)| *n == name);
        found.map(|(_, text)| *text).ok_or_else(|| format!("the snapshot has no {name}"))
    };
    let (state, sums) = (find(STATE)?, String::from_utf8_lossy(find(SUMS)?).into_owned());
    for name in [STATE, META] {
        let line = format!("{}  {name}", hex(digest(&SHA256, find(name)?).as_ref()));
        if !sums.lines().any(|l| l == line) {
            return Err(format!("checksum of {name} does not match"));
        }
    }
    if !Import::new(state).is_some_and(Import::is_whole) {
        return Err("the state in it was not written by vardo".to_owned());
    }
    Ok(state.to_vec())
}

/// The header of a plain file (ustar).
fn header(name: &str, size: usize) -> [u8; BLOCK] {
    let mut out = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        if let Some(to) = out.get_mut(at..at + text.len()) {
            to.copy_from_slice(text.as_bytes());
        }
    };
    put(0, name);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = out.iter().map(|b| u32::from(*b)).sum();
    out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out
}

/// Zeros up to the next block.
fn padding(size: usize) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    ZEROS.get(..size.next_multiple_of(BLOCK) - size).unwrap_or_default()
}

/// Names and contents; `None` where the archive is cut.
fn files(tar: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let mut out = Vec::new();
    let mut rest = tar;
    loop {
        let (head, tail) = rest.split_at_checked(BLOCK)?;
        let name = head.get(..100)?.split(|b| *b == 0).next()?;
        if name.is_empty() {
            return Some(out);
        }
        let size = std::str::from_utf8(head.get(124..135)?).ok()?;
        let size = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).ok()?;
        let padded = size.checked_next_multiple_of(BLOCK)?;
        let (content, tail) = tail.split_at_checked(padded)?;
        out.push((std::str::from_utf8(name).ok()?, content.get(..size)?));
        rest = tail;
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or_default();
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_bent_archive_is_none() {
        let text = b"0123456789";
        let mut tar = [&header("a", text.len())[..], text, padding(text.len())].concat();
        tar.extend([0; 2 * BLOCK]);
        assert_eq!(files(&tar), Some(vec![("a", &text[..])]));
        for cut in 0..=2 * BLOCK {
            assert_eq!(files(&tar[..cut]), None, "{cut}");
        }
        tar[124..135].copy_from_slice(b"77777777777");
        assert_eq!(files(&tar), None, "a size beyond the end");
        tar[124] = b'x';
        assert_eq!(files(&tar), None);
        assert_eq!(hex(&[0, 0xaf]), "00af");
    }

    #[test]
    fn an_import_takes_whole_pairs_only() {
        let whole = |b: &[u8]| Import::new(b).map(Import::is_whole);
        let pair = b"vardo state 1\n\x00\0\0\0\x01\0\0\0\x02kvv";
        assert_eq!(whole(pair), Some(true));
        assert_eq!(whole(b"vardo state 1\n"), Some(true));
        assert_eq!(whole(b"another state\n"), None);
        for cut in 15..pair.len() {
            assert_eq!(whole(&pair[..cut]), Some(false), "{cut}");
        }
    }
}
