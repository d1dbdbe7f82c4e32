//! Snapshots of the whole state: those that are asked for, and those that a leader makes by itself,
//! every so often, into a directory of its own, of which it keeps the last few.
//!
//! The configuration is `server { snapshots { interval = "1h"  keep = 24  path = "…" } }`. The
//! reference has such an agent in its paid edition only, as a program of its own with a file of its
//! own; here it is part of the server, so that a box without an operator has backups. Every server
//! may be told to: the one that leads does it.
//!
//! A snapshot is the archive of `/v1/operator/snapshot`, read out and written over many turns. Its
//! file has another name until it is whole and durable.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::PathBuf;

use super::core::{Core, Ready};
use super::serve::Form;
use crate::api::ApiError;
use crate::limits::{
    SAVE_PIECE_NS, SAVES_MAX, SECOND, SNAPSHOT_CHECK_NS, SNAPSHOT_PIECE_BYTES, SNAPSHOT_PIECE_NS,
};
use crate::os::fs;
use crate::routes::{AgentInfo, Archive};
use crate::stdx::Now;
use crate::stdx::slab::Key;
use crate::store::{ExportId, Extent, Store, StoreError};

/// What the configuration says.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Nanoseconds between two snapshots.
    pub interval_ns: i64,
    /// How many stay.
    pub keep: usize,
    pub path: PathBuf,
}

const PREFIX: &str = "vardo-";
const SUFFIX: &str = ".snap";

fn name(wall_s: i64) -> String {
    format!("{PREFIX}{wall_s:012}{SUFFIX}")
}

pub(super) struct Snapshots {
    schedule: Schedule,
    /// When something is to be done, mono ns.
    due: u64,
    writing: Option<Writing>,
}

struct Writing {
    wall_s: i64,
    making: Making,
}

/// A snapshot that is being made.
struct Making {
    export: ExportId,
    index: u64,
    size: u64,
    file: File,
    /// Known once all of the state was measured.
    archive: Option<Archive>,
}

impl Making {
    fn begin(file: File, store: &mut Store) -> Result<Self, StoreError> {
        let (export, index) = (store.export(Extent::Archive)?, store.snap()?.reader().index());
        Ok(Self { export, index, size: 0, file, archive: None })
    }

    /// Makes a piece of it. `None`: there is more to do. The digest of the whole once it is there.
    ///
    /// # Errors
    /// Those of the store; within, those of the file, and that the state cannot be read any more.
    fn step(
        &mut self,
        now: Now,
        store: &mut Store,
        info: &AgentInfo,
    ) -> Result<io::Result<Option<String>>, StoreError> {
        let (mut piece, mut out) = (Vec::new(), Vec::new());
        let Some(whole) = store.read_export(self.export, &mut piece, SNAPSHOT_PIECE_BYTES)? else {
            return Ok(Err(io::Error::other("the state changed too much meanwhile")));
        };
        let mut digest = None;
        match &mut self.archive {
            None => {
                self.size += piece.len() as u64;
                if whole {
                    let begun = Archive::begin(info, self.index, self.size, now, &mut out);
                    store.rewind_export(self.export);
                    self.archive = Some(begun);
                }
            }
            Some(archive) => {
                archive.state(&piece, &mut out);
                if whole {
                    store.end_export(self.export);
                    digest = self.archive.take().map(|archive| archive.finish(&mut out));
                }
            }
        }
        Ok(self.file.write_all(&out).map(|()| digest))
    }

    /// What is written next is what the state is measured for.
    fn is_measured(&self) -> bool {
        self.archive.is_some()
    }
}

/// Snapshots that were asked for, made one after the other.
#[derive(Default)]
pub(super) struct Saves {
    waiting: VecDeque<(Key, Form)>,
    making: Option<Making>,
    /// Mono ns.
    due: u64,
}

/// One that is whole, and who asked for it.
pub(super) struct Saved {
    pub(super) conn: Key,
    pub(super) form: Form,
    pub(super) file: File,
    pub(super) bytes: u64,
    /// For the header `Digest`.
    pub(super) digest: String,
}

impl Saves {
    pub(super) fn deadline(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then_some(self.due)
    }

    /// Someone waits for one; false: too many do.
    pub(super) fn ask(&mut self, conn: Key, form: Form) -> bool {
        let room = self.waiting.len() < SAVES_MAX;
        if room {
            self.waiting.push_back((conn, form));
        }
        room
    }

    /// They wait no more. What is being made for them is made for the next, or ends.
    pub(super) fn forget(&mut self, conn: Key) {
        self.waiting.retain(|(c, _)| *c != conn);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.making.is_none()
    }
}

impl Snapshots {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self { schedule, due: 0, writing: None }
    }

    pub(super) fn deadline(&self) -> u64 {
        self.due
    }

    /// This server leads now: it looks at once whether one is due.
    pub(super) fn look(&mut self) {
        self.due = 0;
    }

    fn temporary(&self) -> PathBuf {
        self.schedule.path.join("unfinished.tmp")
    }

    /// The seconds in the names of what is there, the oldest first.
    fn there(&self) -> io::Result<Vec<i64>> {
        fs::make_dir(&self.schedule.path, 0o700)?;
        let of = |n: &String| n.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok();
        Ok(fs::names(&self.schedule.path)?.iter().filter_map(of).collect())
    }

    /// Seconds until one is due. One of the future was made by a wrong clock: it does not count.
    fn wait_ns(&self, now: Now) -> io::Result<u64> {
        let wall_s = now.wall_ns / 1_000_000_000;
        let last = self.there()?.into_iter().rfind(|s| *s <= wall_s);
        let since = last.map_or(i64::MAX, |s| now.wall_ns.saturating_sub(s * 1_000_000_000));
        Ok(u64::try_from(self.schedule.interval_ns.saturating_sub(since)).unwrap_or(0))
    }

    /// Removes the oldest beyond those that stay, once the one of `wall_s` is there. Before them go
    /// those of the future, which a wrong clock made: they would never be the oldest.
    fn rotate(&self, wall_s: i64) -> io::Result<()> {
        let (known, ahead): (Vec<i64>, Vec<i64>) =
            self.there()?.into_iter().partition(|s| *s <= wall_s);
        let gone = (known.len() + ahead.len()).saturating_sub(self.schedule.keep);
        for old in ahead.iter().chain(&known).take(gone) {
            fs::remove(&self.schedule.path.join(name(*old)))?;
        }
        fs::sync_dir(&self.schedule.path)
    }
}

impl Core {
    /// Makes a snapshot where one is due, a piece in each call.
    ///
    /// # Errors
    /// Those of the store. Where the directory fails, the log says so and it is tried again later.
    pub(super) fn tend_snapshots(&mut self, now: Now, store: &mut Store) -> Result<(), StoreError> {
        let Some(mut snapshots) = self.snapshots.take_if(|s| s.due <= now.mono_ns) else {
            return Ok(());
        };
        match self.snapshot_step(now, store, &mut snapshots)? {
            Ok(wait_ns) => snapshots.due = now.mono_ns.saturating_add(wait_ns),
            Err(e) => {
                log::error!("snapshots in {}: {e}", snapshots.schedule.path.display());
                if let Some(writing) = snapshots.writing.take() {
                    store.end_export(writing.making.export);
                }
                snapshots.due = now.mono_ns.saturating_add(60 * SECOND);
            }
        }
        self.snapshots = Some(snapshots);
        Ok(())
    }

    /// How long until the next step, in nanoseconds.
    fn snapshot_step(
        &self,
        now: Now,
        store: &mut Store,
        s: &mut Snapshots,
    ) -> Result<io::Result<u64>, StoreError> {
        let Some(w) = &mut s.writing else {
            // There is nothing worth keeping before the cluster has its first rows.
            let ready = self.takes_writes();
            let wait = if ready { s.wait_ns(now) } else { Ok(SNAPSHOT_CHECK_NS) };
            if !matches!(wait, Ok(0)) {
                return Ok(wait.map(|ns| ns.min(SNAPSHOT_CHECK_NS)));
            }
            let file = match fs::create(&s.temporary()) {
                Ok(file) => file,
                Err(e) => return Ok(Err(e)),
            };
            let wall_s = now.wall_ns / 1_000_000_000;
            s.writing = Some(Writing { wall_s, making: Making::begin(file, store)? });
            return Ok(Ok(0));
        };
        let making = &mut w.making;
        match making.step(now, store, &self.info)? {
            Err(e) => Ok(Err(e)),
            Ok(None) if making.is_measured() => {
                Ok(making.file.sync_data().map(|()| SNAPSHOT_PIECE_NS))
            }
            Ok(None) => Ok(Ok(SNAPSHOT_PIECE_NS / 4)),
            Ok(Some(_)) => {
                let (index, wall_s) = (making.index, w.wall_s);
                let named = s.schedule.path.join(name(wall_s));
                let done = making.file.sync_data();
                s.writing = None;
                let done = done
                    .and_then(|()| fs::rename(&s.temporary(), &named))
                    .and_then(|()| s.rotate(wall_s));
                if done.is_ok() {
                    log::info!("a snapshot as of {index} is in {}", named.display());
                }
                Ok(done.map(|()| SECOND))
            }
        }
    }

    /// Goes on with a snapshot that someone waits for, a piece in each call.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn tend_saves(
        &mut self,
        now: Now,
        store: &mut Store,
    ) -> Result<Option<Saved>, StoreError> {
        if self.saves.is_idle() || self.saves.due > now.mono_ns {
            return Ok(None);
        }
        let Some((conn, form)) = self.saves.waiting.front().copied() else {
            if let Some(making) = self.saves.making.take() {
                store.end_export(making.export);
            }
            return Ok(None);
        };
        let mut making = match self.saves.making.take() {
            Some(making) => making,
            None => match fs::nameless(&self.spool_dir) {
                Ok(file) => Making::begin(file, store)?,
                Err(e) => {
                    self.save_failed(&e);
                    return Ok(None);
                }
            },
        };
        self.saves.due = now.mono_ns.saturating_add(SAVE_PIECE_NS);
        let done = making.step(now, store, &self.info)?;
        let done = done.and_then(|digest| {
            Ok(match digest {
                Some(digest) => Some((digest, making.file.stream_position()?)),
                None => None,
            })
        });
        match done {
            Err(e) => {
                store.end_export(making.export);
                self.save_failed(&e);
                Ok(None)
            }
            Ok(None) => {
                self.saves.making = Some(making);
                Ok(None)
            }
            Ok(Some((digest, bytes))) => {
                self.saves.waiting.pop_front();
                Ok(Some(Saved { conn, form, file: making.file, bytes, digest }))
            }
        }
    }

    fn save_failed(&mut self, why: &io::Error) {
        if let Some((conn, form)) = self.saves.waiting.pop_front() {
            let text = format!("failed to create snapshot: {why}");
            self.ready.push(Ready { conn, form, answer: ApiError::failed(text).into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that was made while the clock was ahead does not outlive those of today, whose place it
    /// would take: each would be removed as soon as it is there, and made again at once.
    #[test]
    fn those_of_a_wrong_clock_go_first() {
        let path = std::env::temp_dir().join(format!("vardo-rotate-{}", std::process::id()));
        let snapshots = Snapshots::new(Schedule { interval_ns: 3_600_000_000_000, keep: 2, path });
        assert_eq!(snapshots.there().unwrap(), [0; 0]);
        for made in [100, 200, 9_000, 9_100, 300] {
            std::fs::write(snapshots.schedule.path.join(name(made)), "").unwrap();
        }
        snapshots.rotate(300).unwrap();
        assert_eq!(snapshots.there().unwrap(), [200, 300]);
        let now = Now { mono_ns: 0, wall_ns: 300_000_000_000 };
        assert_eq!(snapshots.wait_ns(now).unwrap(), 3_600_000_000_000);
        std::fs::remove_dir_all(&snapshots.schedule.path).unwrap();
    }
}
