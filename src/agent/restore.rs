//! A snapshot takes the place of the state, on every server.
//!
//! The archive comes over a connection, which this server spools into a file. The leader stages it
//! beside the state in force, a piece to a turn, and looks at all sums; then it sends it to the
//! other servers, which keep it beside theirs. Once a majority has it on disk, an entry of the log
//! that names it is proposed: whoever applies that entry puts what is kept into force. A server
//! acknowledges the entry only where it keeps the snapshot (see [`Consensus::gate`]), so whoever
//! may come to lead has it. Who was not there is sent the state later, as the log then begins
//! behind that entry.
//!
//! [`Consensus::gate`]: super::consensus::Consensus::gate

use std::fs::File;
use std::io::Read;

use super::core::{Core, Ready};
use super::front::Front;
use super::serve::Form;
use super::sock::State;
use super::transfer::Coming;
use crate::api::ApiError;
use crate::command::Command;
use crate::limits::{RESTORE_READ_BYTES, STATE_STAGE_BYTES};
use crate::os::fs;
use crate::raft::{PeerId, Role};
use crate::routes::{Answer, Unpack};
use crate::stdx::slab::Key;
use crate::stdx::{BTreeSet, Now, uuid};
use crate::store::{Kept, Store, StoreError};

/// A body on its way into a file.
#[derive(Debug)]
pub(super) struct Upload {
    form: Form,
    file: File,
}

/// A snapshot on its way into force.
pub(super) struct Restoring {
    conn: Key,
    form: Form,
    kept: Kept,
    file: File,
    /// `None`: all of it was read and was right.
    unpack: Option<Unpack>,
    begun: bool,
    newest: u64,
    /// On disk here; asked to be kept there; kept there.
    here: bool,
    asked: BTreeSet<PeerId>,
    there: BTreeSet<PeerId>,
}

/// The connection's side.
impl Front {
    /// The body of a request is an archive to be restored.
    pub(super) fn begin_upload(&mut self, key: Key, form: Form, now: Now, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        match fs::nameless(&core.spool_dir) {
            Err(e) => {
                let e = ApiError::failed(format!("failed to restore from snapshot: {e}"));
                return self.answer(key, form, e.into(), &core.info);
            }
            Ok(file) => sock.state = State::Uploading(Box::new(Upload { form, file })),
        }
        if sock.conn.begin_upload() {
            sock.out.copy(crate::http::reply::CONTINUE);
        }
        self.upload(key, now, core);
    }

    /// Moves what came of a body into its file.
    pub(super) fn upload(&mut self, key: Key, now: Now, core: &mut Core) {
        use std::io::{Seek, Write};
        let Some(sock) = self.socks.get_mut(key) else { return };
        let State::Uploading(upload) = &mut sock.state else { return };
        let (piece, whole) = match sock.conn.upload(now.mono_ns) {
            Ok(came) => came,
            Err(reject) => {
                sock.state = State::Idle;
                return self.reject(key, &reject);
            }
        };
        let mut done = upload.file.write_all(&piece);
        if whole && done.is_ok() {
            done = upload.file.rewind();
        }
        let form = upload.form;
        if let Err(e) = done {
            sock.state = State::Idle;
            let e = ApiError::failed(format!("failed to restore from snapshot: {e}"));
            self.answer(key, form, e.into(), &core.info);
        } else if whole {
            let State::Uploading(upload) = std::mem::replace(&mut sock.state, State::Proposed)
            else {
                return;
            };
            core.restore_for(key, form, upload.file);
        } else {
            let due = sock.conn.deadline();
            self.arm_slow(key, due);
        }
    }
}

/// The leader's side.
impl Core {
    /// The state is to be replaced by what a file holds.
    fn restore_for(&mut self, conn: Key, form: Form, file: File) {
        let raft = self.consensus.raft();
        let refused = if raft.role() != Role::Leader {
            Some("leadership lost while restoring")
        } else if self.is_restoring() || self.consensus.restores().is_some() {
            Some("another snapshot is being restored")
        } else {
            None
        };
        if let Some(why) = refused {
            return self.ready.push(Ready { conn, form, answer: ApiError::failed(why).into() });
        }
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.entropy.u64().to_le_bytes());
        id[8..].copy_from_slice(&self.entropy.u64().to_le_bytes());
        self.restoring = Some(Box::new(Restoring {
            conn,
            form,
            kept: Kept { id, term: self.consensus.raft().term() },
            file,
            unpack: Some(Unpack::default()),
            begun: false,
            newest: 0,
            here: false,
            asked: BTreeSet::default(),
            there: BTreeSet::default(),
        }));
    }

    /// A snapshot is being made ready here.
    pub(super) fn is_restoring(&self) -> bool {
        self.restoring.is_some() || self.proposes_restore()
    }

    /// Goes on with a snapshot that is being restored, a piece in each call.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn tend_restore(&mut self, now: Now, store: &mut Store) -> Result<(), StoreError> {
        let Some(mut r) = self.restoring.take() else { return Ok(()) };
        let raft = self.consensus.raft();
        if raft.role() != Role::Leader || raft.term() != r.kept.term {
            self.restore_failed(&r, "leadership lost while restoring");
        } else if !r.here {
            match self.stage_restored(&mut r) {
                Ok(()) => self.restoring = Some(r),
                Err(why) => self.restore_failed(&r, &why),
            }
        } else if r.asked.is_empty() {
            self.propose_restored(&r);
        } else if !r.begun {
            r.begun = true;
            for to in r.asked.clone() {
                if !self.send_kept(now, to, r.kept, store)? {
                    r.asked.remove(&to);
                }
            }
            self.restoring = Some(r);
        } else {
            self.restoring = Some(r);
        }
        Ok(())
    }

    /// Reads on in the file, as far as that can be staged.
    fn stage_restored(&mut self, r: &mut Restoring) -> Result<(), String> {
        if !r.begun {
            r.begun = true;
            self.drop_coming();
            self.transfers.coming = Some(Coming::from_file(r.kept));
        }
        let coming = self.transfers.coming.as_mut();
        let Some(coming) = coming.filter(|c| c.is_from_file()) else {
            let full = std::mem::take(&mut self.transfers.refused);
            let foreign = "the state in it was not written by vardo";
            return Err(if full { "no space left on the disk" } else { foreign }.to_owned());
        };
        let mut piece = vec![0; RESTORE_READ_BYTES];
        while let Some(unpack) = &mut r.unpack
            && coming.incoming.waiting() < STATE_STAGE_BYTES
        {
            let n = r.file.read(&mut piece).map_err(|e| e.to_string())?;
            unpack.feed(piece.get(..n).unwrap_or_default(), &mut |state| {
                coming.incoming.feed(state);
                Ok(())
            })?;
            if n == 0
                && let Some(unpack) = r.unpack.take()
            {
                unpack.finish()?;
            }
        }
        coming.ended = r.unpack.is_none();
        Ok(())
    }

    /// It is on this server's disk: the others are next. `newest`: the highest index in it.
    pub(super) fn kept_here(&mut self, newest: u64) {
        let own = self.consensus.raft().id();
        let members = self.consensus.raft().members().map(|(_, m)| m.0.keys().copied());
        let others = members.into_iter().flatten().filter(|id| *id != own).collect();
        if let Some(r) = &mut self.restoring {
            (r.here, r.begun, r.asked, r.newest) = (true, false, others, newest);
        }
    }

    /// Another server keeps it, or could not.
    pub(super) fn kept_there(&mut self, server: PeerId, arrived: bool) {
        if let Some(r) = &mut self.restoring
            && r.asked.remove(&server)
            && arrived
        {
            r.there.insert(server);
        }
    }

    fn propose_restored(&mut self, r: &Restoring) {
        let own = self.consensus.raft().id();
        let has = |id: &PeerId| *id == own || r.there.contains(id);
        let voters = |(_, m): (u64, &crate::raft::Members)| {
            (m.voters().count(), m.voters().filter(|id| has(id)).count())
        };
        let (all, having) = self.consensus.raft().members().map_or((0, 0), voters);
        if having <= all / 2 {
            return self.restore_failed(r, "too few servers could be sent the snapshot");
        }
        log::warn!("the state is to be replaced by a snapshot");
        let command = Command::Restore { id: uuid::from_bytes(&r.kept.id), newest: r.newest };
        self.propose_for(r.conn, r.form, command, Box::new(|_, _, _| Ok(Answer::empty())));
    }

    fn restore_failed(&mut self, r: &Restoring, why: &str) {
        if self.transfers.coming.as_ref().is_some_and(Coming::is_from_file) {
            self.drop_coming();
        }
        let text = format!("failed to restore from snapshot: {why}");
        let answer = ApiError::failed(text).into();
        self.ready.push(Ready { conn: r.conn, form: r.form, answer });
    }
}
