//! Snapshots as files: a gzip'd tar of `meta.json`, `state.bin` and `SHA256SUMS`, written and read
//! piece by piece.

use ring::digest::{Context, SHA256, digest};
use serde_json::json;

use super::AgentInfo;
use crate::http::gzip::{Gunzip, GzipWriter};
use crate::stdx::Now;
use crate::stdx::json::Bytes;
use crate::stdx::tar::{BLOCK, header, padding, parse};

const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";
/// Largest file in an archive besides the state, in bytes.
const SMALL_BYTES_MAX: u64 = 1 << 20;

/// An archive that is being written.
pub struct Archive {
    gzip: GzipWriter,
    sum: Context,
    size: u64,
    meta: String,
    /// Of the archive itself.
    whole: Context,
}

impl Archive {
    /// `index` and `size`: of the state that follows, in as many pieces as it takes.
    pub fn begin(a: &AgentInfo, index: u64, size: u64, now: Now, out: &mut Vec<u8>) -> Self {
        let meta = json!({
            "Configuration": {
                "Servers": [{ "Address": a.rpc_addr, "ID": a.server_id, "Suffrage": 0 }],
            },
            "ConfigurationIndex": 0,
            "ID": format!("{}-{index}-{}", a.raft.term, now.wall_ns / 1_000_000),
            "Index": index,
            "Peers": null,
            "Size": size,
            "Term": a.raft.term,
            "Version": 1,
        });
        Self::of(meta.to_string(), size, out)
    }

    /// The same for a state that was in another archive. `meta`: the text of its `meta.json`.
    pub fn of(meta: String, size: u64, out: &mut Vec<u8>) -> Self {
        let from = out.len();
        let (sum, whole) = (Context::new(&SHA256), Context::new(&SHA256));
        let gzip = GzipWriter::new(out);
        let mut archive = Self { gzip, sum, size, meta: String::new(), whole };
        archive.file(META, meta.as_bytes(), out);
        archive.meta = meta;
        archive.gzip.write(&header(STATE, size), out);
        archive.whole.update(out.get(from..).unwrap_or_default());
        archive
    }

    /// A piece of the state.
    pub fn state(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let from = out.len();
        self.sum.update(piece);
        self.gzip.write(piece, out);
        self.whole.update(out.get(from..).unwrap_or_default());
    }

    /// The rest. The SHA-256 of the whole archive, in base64.
    pub fn finish(mut self, out: &mut Vec<u8>) -> String {
        let from = out.len();
        self.gzip.write(padding(self.size), out);
        let sums = format!(
            "{}  {STATE}\n{}  {META}\n",
            hex(self.sum.clone().finish().as_ref()),
            hex(digest(&SHA256, self.meta.as_bytes()).as_ref())
        );
        self.file(SUMS, sums.as_bytes(), out);
        self.gzip.write(&[0; 2 * BLOCK], out);
        self.gzip.finish(out);
        self.whole.update(out.get(from..).unwrap_or_default());
        Bytes::encode(self.whole.finish().as_ref())
    }

    fn file(&mut self, name: &str, text: &[u8], out: &mut Vec<u8>) {
        let size = text.len() as u64;
        self.gzip.write(&header(name, size), out);
        self.gzip.write(text, out);
        self.gzip.write(padding(size), out);
    }
}

/// An archive that is being read.
pub struct Unpack {
    gunzip: Gunzip,
    tar: Tar,
}

/// Which file is being read, what of it came, and what is known of those before it.
struct Tar {
    header: Vec<u8>,
    /// Bytes of the file that are to come, and of what fills its last block.
    left: u64,
    fill: usize,
    name: String,
    small: Vec<u8>,
    sum: Context,
    meta: Option<Vec<u8>>,
    sums: Option<Vec<u8>>,
    /// Of the state, once it is whole.
    state: Option<String>,
    ended: bool,
}

/// Takes pieces of the state.
type Taker<'t> = &'t mut dyn FnMut(&[u8]) -> Result<(), String>;

impl Default for Unpack {
    fn default() -> Self {
        let tar = Tar {
            header: Vec::new(),
            left: 0,
            fill: 0,
            name: String::new(),
            small: Vec::new(),
            sum: Context::new(&SHA256),
            meta: None,
            sums: None,
            state: None,
            ended: false,
        };
        Self { gunzip: Gunzip::new(), tar }
    }
}

impl Unpack {
    /// Takes a piece of the archive and hands on what it holds of the state.
    ///
    /// # Errors
    /// A sentence for what is no archive, or that of `to`.
    pub fn feed(&mut self, bytes: &[u8], to: Taker<'_>) -> Result<(), String> {
        let Self { gunzip, tar } = self;
        let mut why = None;
        let done =
            gunzip.feed(bytes, &mut |piece| tar.feed(piece, to).map_err(|e| why.insert(e).clone()));
        done.map_err(|e| why.unwrap_or_else(|| format!("failed to decompress snapshot: {e}")))
    }

    /// What `meta.json` says, where all of the archive came and its sums are right.
    ///
    /// # Errors
    /// A sentence.
    pub fn finish(self) -> Result<Vec<u8>, String> {
        self.gunzip.finish().map_err(|e| format!("failed to decompress snapshot: {e}"))?;
        let tar = self.tar;
        if !tar.ended {
            return Err("failed to read snapshot: unexpected EOF".to_owned());
        }
        let missing = |name: &str| format!("the snapshot has no {name}");
        let meta = tar.meta.ok_or_else(|| missing(META))?;
        let state = tar.state.ok_or_else(|| missing(STATE))?;
        let sums = tar.sums.ok_or_else(|| missing(SUMS))?;
        let sums = String::from_utf8_lossy(&sums);
        for (name, sum) in [(STATE, state), (META, hex(digest(&SHA256, &meta).as_ref()))] {
            if !sums.lines().any(|l| l == format!("{sum}  {name}")) {
                return Err(format!("checksum of {name} does not match"));
            }
        }
        Ok(meta)
    }
}

impl Tar {
    fn feed(&mut self, mut bytes: &[u8], to: Taker<'_>) -> Result<(), String> {
        while !bytes.is_empty() && !self.ended {
            if self.left > 0 {
                let most = usize::try_from(self.left).unwrap_or(usize::MAX);
                let (piece, rest) = bytes.split_at(bytes.len().min(most));
                (bytes, self.left) = (rest, self.left - piece.len() as u64);
                match self.name.as_str() {
                    STATE => {
                        self.sum.update(piece);
                        to(piece)?;
                    }
                    META | SUMS => self.small.extend_from_slice(piece),
                    _ => {}
                }
                self.file_ends();
            } else if self.fill > 0 {
                let n = bytes.len().min(self.fill);
                (bytes, self.fill) = (bytes.get(n..).unwrap_or_default(), self.fill - n);
            } else {
                let (piece, rest) = bytes.split_at(bytes.len().min(BLOCK - self.header.len()));
                bytes = rest;
                self.header.extend_from_slice(piece);
                self.file_begins()?;
            }
        }
        Ok(())
    }

    fn file_begins(&mut self) -> Result<(), String> {
        let Ok(header) = <&[u8; BLOCK]>::try_from(self.header.as_slice()) else { return Ok(()) };
        let (name, size) = parse(header).ok_or("failed to read snapshot: no archive")?;
        if name.is_empty() {
            self.ended = true;
            return Ok(());
        }
        if size > SMALL_BYTES_MAX && [META, SUMS].contains(&name) {
            return Err(format!("{name} is too large"));
        }
        (self.left, self.fill) = (size, padding(size).len());
        self.name = name.to_owned();
        self.header.clear();
        self.sum = Context::new(&SHA256);
        self.file_ends();
        Ok(())
    }

    fn file_ends(&mut self) {
        if self.left > 0 {
            return;
        }
        let small = std::mem::take(&mut self.small);
        match self.name.as_str() {
            STATE => self.state = Some(hex(self.sum.clone().finish().as_ref())),
            META => self.meta = Some(small),
            SUMS => self.sums = Some(small),
            _ => {}
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or_default();
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"0123456789 and so on";

    fn archive() -> Vec<u8> {
        let (mut out, size) = (Vec::new(), TEXT.len() as u64);
        let now = Now::default();
        let mut archive = Archive::begin(&AgentInfo::default(), 7, size, now, &mut out);
        archive.state(&TEXT[..4], &mut out);
        archive.state(&TEXT[4..], &mut out);
        let sum = archive.finish(&mut out);
        assert_eq!(sum, Bytes::encode(digest(&SHA256, &out).as_ref()));
        out
    }

    fn read(archive: &[u8], size: usize) -> Result<Vec<u8>, String> {
        let (mut unpack, mut state) = (Unpack::default(), Vec::new());
        for piece in archive.chunks(size) {
            unpack.feed(piece, &mut |p| {
                state.extend_from_slice(p);
                Ok(())
            })?;
        }
        let meta = unpack.finish()?;
        assert!(String::from_utf8_lossy(&meta).contains("\"Index\":7"));
        Ok(state)
    }

    #[test]
    fn a_cut_or_bent_archive_is_none() {
        let whole = archive();
        for size in [1, 100, whole.len()] {
            assert_eq!(read(&whole, size).as_deref(), Ok(TEXT));
        }
        for at in 0..whole.len() {
            assert!(read(&whole[..at], 50).is_err(), "{at}");
            let mut bent = whole.clone();
            bent[at] ^= 4;
            // Some bits mean nothing: the time in the head of the gzip, what fills its last byte.
            let harmless = |state: Result<Vec<u8>, String>| state.is_ok_and(|s| s == TEXT);
            assert!(read(&bent, 50).is_err() || harmless(read(&bent, 50)), "{at}");
        }
    }

    #[test]
    fn sums_are_looked_at() {
        let mut tar = Vec::new();
        for (name, text) in [(META, &b"{}"[..]), (STATE, TEXT), (SUMS, b"00  state.bin\n")] {
            let size = text.len() as u64;
            tar.extend([&header(name, size)[..], text, padding(size)].concat());
        }
        tar.extend([0; 2 * BLOCK]);
        let zipped = crate::http::gzip::Gzip::new().compress(&tar);
        assert_eq!(read(&zipped, 99), Err("checksum of state.bin does not match".to_owned()));
        let zipped = crate::http::gzip::Gzip::new().compress(&tar[..BLOCK]);
        assert_eq!(read(&zipped, 99), Err("failed to read snapshot: unexpected EOF".to_owned()));
    }
}
