//! State without a running agent: what snapshots and data directories hold, and one put into the
//! other.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::Value;

use super::consensus::{Consensus, id_text, peer_id};
use super::recover::advice;
use crate::client::LOCAL_PREFIX;
use crate::limits::{RESTORE_READ_BYTES, SNAPSHOT_PIECE_BYTES, STATE_STAGE_BYTES};
use crate::os::{clock, fs};
use crate::raft::{EntryKind, Members};
use crate::routes::{AgentInfo, Archive, Unpack};
use crate::stdx::json;
use crate::store::{
    ARCHIVE_MARK, Extent, Incoming, Options, Pair, Row, Store, StoreError, Table, pairs, redacted,
};

/// Name of a table, how many rows it has, and their bytes.
pub type Held = (&'static str, usize, usize);

/// What `meta.json` of a sound archive says, and what it holds.
///
/// # Errors
/// A sentence for what is no archive, is damaged, or of another program.
pub fn inspect(archive: &mut dyn Read) -> Result<(Vec<u8>, Vec<Held>), String> {
    let mut tables: Vec<_> = Table::ALL.iter().map(|t| (t.name(), 0, 0)).collect();
    let (meta, _) = unpack(archive, &mut |staged| {
        for (table, key, value) in pairs(staged) {
            if let Some(held) = table.and_then(|t| tables.get_mut(t as usize)) {
                held.1 += 1;
                held.2 += key.len() + value.len();
            }
        }
        Ok(())
    })?;
    tables.retain(|(_, rows, _)| *rows > 0);
    Ok((meta, tables))
}

/// Takes one row: its table, and the object as the API has it.
pub type Shown<'a> = &'a mut dyn FnMut(Table, &[u8]) -> Result<(), String>;

/// Hands on the rows of an archive, table by table.
///
/// # Errors
/// The same; and those of `to`.
pub fn show(archive: &mut dyn Read, to: Shown<'_>) -> Result<(), String> {
    unpack(archive, &mut |staged| {
        for (table, _, value) in pairs(staged) {
            if let Some((table, row)) = table.zip(Row::decode(value)) {
                to(table, row.json)?;
            }
        }
        Ok(())
    })
    .map(drop)
}

/// The same of the state in a data directory.
///
/// # Errors
/// A sentence: an agent runs there, or it is none; and those of `to`.
pub fn state(data_dir: &Path, to: Shown<'_>) -> Result<(), String> {
    let store = open(data_dir, STOP)?;
    let snap = store.snap().map_err(text)?;
    for table in Table::ALL {
        for pair in snap.reader().scan(table, b"", None, false).map_err(text)? {
            to(table, pair.map_err(text)?.1.json)?;
        }
    }
    Ok(())
}

/// What a server remembers of consensus, by name.
///
/// # Errors
/// A sentence: an agent runs there, or it is none.
pub fn consensus(data_dir: &Path) -> Result<Vec<(&'static str, String)>, String> {
    let store = open(data_dir, STOP)?;
    let snap = store.snap().map_err(text)?;
    let reader = snap.reader();
    let log = reader.log_bounds().map_err(text)?;
    let term = reader.log_term(log.last).map_err(text)?.unwrap_or_default();
    let mut facts = vec![
        ("Log Length", (log.last + 1).saturating_sub(log.first).to_string()),
        ("First Index", log.first.to_string()),
        ("Last Index", log.last.to_string()),
        ("Last Term", term.to_string()),
        ("Applied Index", reader.applied().to_string()),
        ("Current Term", reader.hard_state().map_err(text)?.0.to_string()),
    ];
    for (id, member) in Consensus::members(reader)?.0 {
        let role = if member.voter { "Voter" } else { "Learner" };
        facts.push((role, format!("{} at {}", id_text(id), member.address)));
    }
    Ok(facts)
}

/// Takes one entry: index, term, what kind it is of, and its JSON.
pub type Logged<'a> = &'a mut dyn FnMut(u64, u64, EntryKind, &[u8]) -> Result<(), String>;

/// Hands on the entries of a server's log.
///
/// # Errors
/// As [`state`].
pub fn log(data_dir: &Path, to: Logged<'_>) -> Result<(), String> {
    let store = open(data_dir, STOP)?;
    let snap = store.snap().map_err(text)?;
    let mut next = snap.reader().log_bounds().map_err(text)?.first;
    loop {
        let entries = snap.reader().log_entries(next, STATE_STAGE_BYTES).map_err(text)?;
        let Some(last) = entries.last() else { return Ok(()) };
        next = last.index + 1;
        for e in &entries {
            let kind = EntryKind::from_byte(e.kind).ok_or("an entry of a later version")?;
            match kind {
                EntryKind::Members => {
                    let members = Members::decode(e.payload).map_err(|e| e.to_string())?;
                    let at: Vec<_> = members.0.into_values().map(|m| m.address).collect();
                    to(e.index, e.term, kind, &json::encode(&at))?;
                }
                _ => to(e.index, e.term, kind, e.payload)?,
            }
        }
    }
}

/// What a client remembers, by the names of its rows: JSON, or nothing.
///
/// # Errors
/// As [`state`].
pub fn client(data_dir: &Path) -> Result<Vec<Pair>, String> {
    open(data_dir, STOP)?.snap().and_then(|s| s.reader().local_rows(LOCAL_PREFIX)).map_err(text)
}

/// Reads a whole archive, hands on the pairs in it, and checks it: `meta.json`, and the highest
/// index of a row. What was handed on is to be believed only if there is no error.
fn unpack(
    archive: &mut dyn Read,
    to: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<(Vec<u8>, u64), String> {
    let foreign = "the state in it was not written by vardo";
    let (mut unpack, mut incoming) = (Unpack::default(), Incoming::of_archive());
    let mut piece = vec![0; RESTORE_READ_BYTES];
    loop {
        let n = match archive.read(&mut piece) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(|e| e.to_string())?,
        };
        unpack.feed(piece.get(..n).unwrap_or_default(), &mut |state| {
            incoming.feed(state);
            Ok(())
        })?;
        if n == 0 || incoming.waiting() >= STATE_STAGE_BYTES {
            to(&incoming.take().map_err(|_| foreign)?)?;
        }
        if n == 0 {
            let meta = unpack.finish()?;
            return Ok((meta, incoming.finish().map_err(|_| foreign)?));
        }
    }
}

/// What to do about an agent that runs.
const STOP: &str = "stop it first";
const STOP_OR_ASK: &str = "stop it, or leave -data-dir away to have it do this";

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(e: StoreError) -> String {
    e.to_string()
}

/// Opens the store of an agent that is not running.
fn open(data_dir: &Path, advised: &str) -> Result<Store, String> {
    let dir = data_dir.join("store");
    if !dir.join("data.mdb").exists() {
        return Err(format!("{} is not the data directory of an agent", data_dir.display()));
    }
    let options = Options { allocate: fs::allocate, ..Options::default() };
    Store::open(&dir, options).map_err(|e| match e {
        StoreError::Locked { pid } => {
            format!("the agent with process id {pid} runs in {}: {advised}", data_dir.display())
        }
        e => format!("{}: {}", dir.display(), advice(&e, &dir)),
    })
}

/// Makes an archive of the state in a data directory.
///
/// # Errors
/// A sentence: an agent runs there, it holds no state, or the file cannot be written.
pub fn save(data_dir: &Path, file: &mut File) -> Result<(), String> {
    let mut store = open(data_dir, STOP_OR_ASK)?;
    let snap = store.snap().map_err(text)?;
    let index = snap.reader().index();
    if index == 0 {
        return Err(format!("{} holds no state of a server", data_dir.display()));
    }
    let id = snap.reader().local(b"agent/server_id").map_err(text)?.unwrap_or_default();
    let mut info =
        AgentInfo { server_id: String::from_utf8_lossy(id).into_owned(), ..AgentInfo::default() };
    info.raft.term = snap.reader().hard_state().map_err(text)?.0;
    drop(snap);
    let export = store.export(Extent::Archive).map_err(text)?;
    let (mut piece, mut out, mut size) = (Vec::new(), Vec::new(), 0);
    let read = |store: &mut Store, piece: &mut Vec<u8>| {
        piece.clear();
        let whole = store.read_export(export, piece, SNAPSHOT_PIECE_BYTES).map_err(text)?;
        whole.ok_or_else(|| "the state cannot be read".to_owned())
    };
    while !read(&mut store, &mut piece)? {
        size += piece.len() as u64;
    }
    size += piece.len() as u64;
    store.rewind_export(export);
    let mut archive = Archive::begin(&info, index, size, clock::now(), &mut out);
    loop {
        let whole = read(&mut store, &mut piece)?;
        archive.state(&piece, &mut out);
        file.write_all(&out).map_err(|e| e.to_string())?;
        out.clear();
        if whole {
            break;
        }
    }
    archive.finish(&mut out);
    file.write_all(&out).and_then(|()| file.sync_all()).map_err(|e| e.to_string())
}

/// Writes an archive again without what is secret in its state: root keys, and with them what
/// variables hold; what nodes, tokens and locks are known by, and the secrets of auth methods.
///
/// # Errors
/// A sentence: it is no archive, or one of the files cannot be read or written.
pub fn redact(path: &Path, file: &mut File) -> Result<(), String> {
    let open = || File::open(path).map(io::BufReader::new).map_err(|e| e.to_string());
    let mut size = ARCHIVE_MARK.len();
    let (meta, _) = unpack(&mut open()?, &mut |staged| {
        size += redacted(staged).map_err(text)?.len();
        Ok(())
    })?;
    let mut meta: Value = serde_json::from_slice(&meta).map_err(|e| e.to_string())?;
    meta["Size"] = size.into();
    let mut out = Vec::new();
    let mut archive = Archive::of(meta.to_string(), size as u64, &mut out);
    archive.state(ARCHIVE_MARK, &mut out);
    unpack(&mut open()?, &mut |staged| {
        archive.state(&redacted(staged).map_err(text)?, &mut out);
        file.write_all(&out).map_err(|e| e.to_string())?;
        out.clear();
        Ok(())
    })?;
    archive.finish(&mut out);
    file.write_all(&out).and_then(|()| file.sync_all()).map_err(|e| e.to_string())
}

/// Puts the state of an archive into a data directory, in the place of what is there.
///
/// # Errors
/// A sentence: an agent runs there, the archive is not right, or the server has others beside it.
/// The state is then as it was.
pub fn restore(data_dir: &Path, archive: &mut dyn Read) -> Result<(), String> {
    let mut store = open(data_dir, STOP_OR_ASK)?;
    let snap = store.snap().map_err(text)?;
    let members = Consensus::members(snap.reader())?;
    let id = snap.reader().local(b"agent/server_id").map_err(text)?.unwrap_or_default();
    let id = peer_id(&String::from_utf8_lossy(id));
    drop(snap);
    if members.0.is_empty() {
        return Err(format!(
            "no server has run in {} yet: start it once, or restore into it while it runs",
            data_dir.display()
        ));
    }
    if members.0.len() > 1 || !id.is_some_and(|id| members.is_lone_voter(id)) {
        return Err(format!(
            "{} is of one of {} servers, which have to agree: start a majority of them and \
             restore without -data-dir, or make it the only one by server/raft/peers.json first",
            data_dir.display(),
            members.0.len()
        ));
    }
    while store.is_dirty() {
        write(&mut store, &|batch| batch.sweep(STATE_STAGE_BYTES).map(drop))?;
    }
    let (_, newest) = unpack(archive, &mut |staged| write(&mut store, &|b| b.stage(staged)))?;
    write(&mut store, &|batch| batch.restore_alone(newest))
}

/// One transaction.
fn write(
    store: &mut Store,
    change: &dyn Fn(&mut crate::store::Batch<'_>) -> Result<(), StoreError>,
) -> Result<(), String> {
    let done = store.batch().and_then(|mut batch| {
        change(&mut batch)?;
        batch.commit()
    });
    done.map(drop).map_err(|e| e.to_string())
}
