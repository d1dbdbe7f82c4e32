//! The state for a server that needs entries which the leader's log no longer holds.
//!
//! The leader reads its state out as it was when it began, a piece at a time and not faster than
//! [`STATE_BYTES_PER_SECOND`], over a stream whose credit the other side gives. There it is staged
//! beside the state in force, a piece to a turn, and put into force by the turn that has the rest.
//! What is not whole when the stream ends is swept away, and the leader begins again.
//!
//! A snapshot that is restored comes the same way, out of a file on the leader and over a stream to
//! the others, and stays beside the state in force until an entry of the log names it; see
//! `restore`.

use super::consensus::id_text;
use super::core::Core;
use super::mesh::peer;
use crate::limits::{
    SECOND, STATE_BYTES_PER_SECOND, STATE_PIECE_BYTES, STATE_STAGE_BYTES, STATE_SWEEP_BYTES,
    STATE_SWEEP_NS,
};
use crate::link::{Event, StreamId, words};
use crate::raft::{Input, Members, PeerId, Role};
use crate::stdx::Now;
use crate::stdx::slab::Key;
use crate::store::{Batch, ExportId, Extent, Incoming, Kept, Reader, State, Store, StoreError};

/// First word of a stream that carries the state.
pub(super) const STATE: &[u8] = b"state";
/// First word of a stream that carries a snapshot which is to be restored.
pub(super) const KEEP: &[u8] = b"keep";

/// States under way, and what this turn's commit does for them.
#[derive(Default)]
pub(super) struct Transfers {
    pub(super) sending: Vec<Sending>,
    /// Read no further.
    over: Vec<ExportId>,
    pub(super) coming: Option<Coming>,
    step: Option<Step>,
    /// The disk was full.
    pub(super) refused: bool,
    /// When something is to be done without an event, mono ns; 0: never.
    due: u64,
    sweep_at: u64,
}

pub(super) struct Sending {
    to: PeerId,
    link: Key,
    stream: StreamId,
    /// The last entry in it; `None`: it is to be kept beside the state in force.
    index: Option<u64>,
    export: ExportId,
    /// Read and not sent yet.
    rest: Vec<u8>,
    whole: bool,
    /// When the next piece may leave, mono ns.
    next: u64,
    bytes: usize,
}

pub(super) struct Coming {
    /// `None`: from a file.
    over: Option<(Key, StreamId)>,
    what: Purpose,
    pub(super) incoming: Incoming,
    /// Credit that is kept back until what came is staged.
    owed: usize,
    /// Something of it is staged; until then, remains of another are swept away.
    begun: bool,
    pub(super) ended: bool,
}

/// What a state that comes is for.
#[derive(Clone, Debug)]
enum Purpose {
    /// To take the place of a log that ends too early.
    Install {
        from: PeerId,
        index: u64,
        term: u64,
        members: Vec<u8>,
    },
    Keep(Kept),
}

impl Coming {
    fn new(over: Option<(Key, StreamId)>, what: Purpose, incoming: Incoming) -> Self {
        Self { over, what, incoming, owed: 0, begun: false, ended: false }
    }

    /// Out of a file.
    pub(super) fn from_file(kept: Kept) -> Self {
        Self::new(None, Purpose::Keep(kept), Incoming::of_archive())
    }

    /// All of it came, as it was sent.
    fn is_whole(&self) -> bool {
        match self.over {
            None => self.incoming.finish().is_ok(),
            Some(_) => self.incoming.state().is_some(),
        }
    }

    pub(super) fn is_from_file(&self) -> bool {
        self.over.is_none()
    }

    fn is_over(&self, link: Key, stream: StreamId) -> bool {
        self.over == Some((link, stream))
    }
}

/// What the commit writes.
enum Step {
    Sweep,
    Stage(Vec<u8>),
    Keep(Kept),
    Install(State, u64),
}

impl Transfers {
    /// Mono ns at which [`Core::tend_states`] has something to do.
    pub(super) fn deadline(&self) -> Option<u64> {
        Some(self.due).filter(|at| *at != 0)
    }

    /// The turn has something of a state to write.
    pub(super) fn has_step(&self) -> bool {
        self.step.is_some()
    }

    /// Writes it. May run again on another transaction.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn write(&self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        match &self.step {
            Some(Step::Sweep) => batch.sweep(STATE_SWEEP_BYTES).map(drop),
            Some(Step::Stage(pairs)) => batch.stage(pairs),
            Some(Step::Keep(kept)) => batch.keep(*kept),
            Some(Step::Install(state, term)) => batch.install(state, *term),
            None => Ok(()),
        }
    }
}

/// The leader's side.
impl Core {
    /// Begins what consensus asks for, goes on with what is under way, and decides what this
    /// turn's commit does for a state that comes.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn tend_states(&mut self, now: Now, store: &mut Store) -> Result<(), StoreError> {
        self.hold_log();
        for export in std::mem::take(&mut self.transfers.over) {
            store.end_export(export);
        }
        for to in self.consensus.take_snapshots() {
            if self.send_state(now, to, store)?.is_none() {
                let snap = store.snap()?;
                self.consensus.step(now, snap.reader(), Input::SnapshotSent(to, None));
            }
        }
        let mut at = 0;
        while at < self.transfers.sending.len() {
            if self.go_on_sending(now, at, store)? {
                at += 1;
            } else {
                let snap = store.snap()?;
                self.sent(now, snap.reader(), at, false);
            }
        }
        self.tend_restore(now, store)?;
        self.take_state(now, store)?;
        let next = |s: &Sending| (!s.rest.is_empty() || !s.whole).then_some(s.next);
        let sends = self.transfers.sending.iter().filter_map(next).filter(|at| *at > now.mono_ns);
        // Nothing is swept while a state comes, or is kept: no reason to wake up.
        let sweep = Some(self.transfers.sweep_at).filter(|_| self.sweeps(store));
        let runs = |c: &&Coming| c.ended || c.over.is_none();
        let ended = self.transfers.coming.as_ref().filter(runs).map(|_| now.mono_ns);
        self.transfers.due = sends.chain(sweep).chain(ended).min().unwrap_or(0);
        Ok(())
    }

    /// What servers that are there will ask for next stays in the log.
    fn hold_log(&mut self) {
        let mut hold = u64::MAX;
        if self.consensus.raft().role() == Role::Leader {
            for (id, matched) in self.consensus.raft().followers() {
                if self.mesh.to_server(id).is_some() {
                    let sent = self.transfers.sending.iter().find(|s| s.to == id);
                    hold = hold.min(sent.and_then(|s| s.index).unwrap_or(matched));
                }
            }
        }
        self.consensus.hold(hold);
    }

    fn send_state(
        &mut self,
        now: Now,
        to: PeerId,
        store: &mut Store,
    ) -> Result<Option<()>, StoreError> {
        let snap = store.snap()?;
        let index = snap.reader().applied();
        let term = snap.reader().log_term(index)?;
        drop(snap);
        let opened = (|| {
            let members = self.consensus.raft().members_at(index)?.encode();
            let link = self.mesh.to_server(to)?;
            let what = words::join(&[STATE, &index.to_le_bytes(), &term?.to_le_bytes(), &members]);
            Some((link, self.mesh.link(link)?.open(what)?))
        })();
        let Some((link, stream)) = opened else { return Ok(None) };
        log::info!("{} is sent the state as of {index}", id_text(to));
        let export = store.export(Extent::State)?;
        self.begin_sending(now, to, (link, stream), Some(index), export);
        Ok(Some(()))
    }

    /// Sends what is kept here to be kept there too; false: it is not reached.
    pub(super) fn send_kept(
        &mut self,
        now: Now,
        to: PeerId,
        kept: Kept,
        store: &mut Store,
    ) -> Result<bool, StoreError> {
        let what = words::join(&[KEEP, &kept.term.to_le_bytes(), &kept.id]);
        let link = self.mesh.to_server(to);
        let opened = link.and_then(|link| Some((link, self.mesh.link(link)?.open(what)?)));
        let Some(over) = opened else { return Ok(false) };
        let export = store.export(Extent::Kept)?;
        self.begin_sending(now, to, over, None, export);
        Ok(true)
    }

    fn begin_sending(
        &mut self,
        now: Now,
        to: PeerId,
        (link, stream): (Key, StreamId),
        index: Option<u64>,
        export: ExportId,
    ) {
        let (rest, whole, next, bytes) = (Vec::new(), false, now.mono_ns, 0);
        let sending = Sending { to, link, stream, index, export, rest, whole, next, bytes };
        self.transfers.sending.push(sending);
    }

    /// Sends what may be sent now; false: it cannot be gone on with.
    fn go_on_sending(
        &mut self,
        now: Now,
        at: usize,
        store: &mut Store,
    ) -> Result<bool, StoreError> {
        let Some(s) = self.transfers.sending.get_mut(at) else { return Ok(true) };
        let Some(link) = self.mesh.link(s.link) else { return Ok(false) };
        if self.consensus.raft().role() != Role::Leader {
            link.reset(s.stream);
            return Ok(false);
        }
        if now.mono_ns < s.next || link.credit(s.stream) == 0 {
            return Ok(true);
        }
        while !s.whole && s.rest.len() < STATE_PIECE_BYTES {
            match store.read_export(s.export, &mut s.rest, STATE_PIECE_BYTES)? {
                Some(whole) => s.whole = whole,
                None => {
                    link.reset(s.stream);
                    return Ok(false);
                }
            }
        }
        let piece = s.rest.get(..STATE_PIECE_BYTES).unwrap_or(&s.rest);
        let sent = link.send(s.stream, piece);
        s.rest.drain(..sent);
        s.bytes += sent;
        let cost = (sent as u64).saturating_mul(SECOND) / STATE_BYTES_PER_SECOND;
        // A pause is made up for, a long one is not.
        s.next = s.next.max(now.mono_ns.saturating_sub(SECOND / 32)).saturating_add(cost);
        if s.whole && s.rest.is_empty() {
            log::info!("{} was sent {} bytes of state", id_text(s.to), s.bytes);
            link.end(s.stream);
            store.end_export(s.export);
            s.next = u64::MAX;
        }
        Ok(true)
    }

    /// A transfer is over: whether it arrived.
    fn sent(&mut self, now: Now, reader: Reader<'_>, at: usize, arrived: bool) {
        let Sending { to, index, export, .. } = self.transfers.sending.swap_remove(at);
        self.transfers.over.push(export);
        match index {
            None => self.kept_there(to, arrived),
            Some(index) => {
                let index = arrived.then_some(index);
                self.consensus.step(now, reader, Input::SnapshotSent(to, index));
            }
        }
    }
}

/// The side that is behind.
impl Core {
    /// The leader begins to send its state.
    pub(super) fn state_opened(
        &mut self,
        link: Key,
        stream: StreamId,
        words: &mut words::Words<'_>,
    ) -> Option<()> {
        let (index, term, members) = (words.u64()?, words.u64()?, words.bytes()?.to_vec());
        let from = peer(&self.mesh.hello(link)?.server);
        let sound = Members::decode(&members).is_ok_and(|m| m.voters().next().is_some());
        let raft = self.consensus.raft();
        if !sound || raft.leader() != Some(from) || term > raft.term() {
            return None;
        }
        self.drop_coming();
        let what = Purpose::Install { from, index, term, members };
        let coming = Coming::new(Some((link, stream)), what, Incoming::default());
        self.transfers.coming = Some(coming);
        Some(())
    }

    /// The leader begins to send a snapshot that is to be kept.
    pub(super) fn keep_opened(
        &mut self,
        link: Key,
        stream: StreamId,
        words: &mut words::Words<'_>,
    ) -> Option<()> {
        let kept = Kept { term: words.u64()?, id: words.array()? };
        let from = peer(&self.mesh.hello(link)?.server);
        let raft = self.consensus.raft();
        // One that the log names already must not go.
        let free = self.consensus.restores().is_none();
        if !free || raft.leader() != Some(from) || kept.term != raft.term() {
            return None;
        }
        self.drop_coming();
        let what = Purpose::Keep(kept);
        self.transfers.coming = Some(Coming::new(Some((link, stream)), what, Incoming::default()));
        Some(())
    }

    /// Something happened on a stream; true where it is one of a state.
    pub(super) fn state_event(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        key: Key,
        event: &Event,
    ) -> bool {
        let Some(id) = event.stream() else { return false };
        let sending = self.transfers.sending.iter();
        let at = sending.into_iter().position(|s| (s.link, s.stream) == (key, id));
        if let Some(at) = at {
            match event {
                Event::End(_) => self.sent(now, reader, at, true),
                Event::Reset(_) => self.sent(now, reader, at, false),
                _ => {}
            }
            return true;
        }
        let Some(coming) = &mut self.transfers.coming else { return false };
        if !coming.is_over(key, id) {
            return false;
        }
        match event {
            Event::Data(_, bytes) => {
                coming.incoming.feed(bytes);
                coming.owed += bytes.len();
                self.grant_coming();
            }
            Event::End(_) => coming.ended = true,
            Event::Writable(_) => {}
            _ => self.drop_coming(),
        }
        true
    }

    /// More may come, as long as what is here is not too much to be staged in a turn.
    fn grant_coming(&mut self) {
        if let Some(coming) = &mut self.transfers.coming
            && coming.incoming.waiting() < 2 * STATE_STAGE_BYTES
            && let Some((link, stream)) = coming.over
            && let Some(link) = self.mesh.link(link)
        {
            link.grant(stream, std::mem::take(&mut coming.owed));
        }
    }

    pub(super) fn drop_coming(&mut self) {
        if let Some(old) = self.transfers.coming.take()
            && let Some((link, stream)) = old.over
            && let Some(link) = self.mesh.link(link)
        {
            link.reset(stream);
        }
    }

    /// A link is down.
    pub(super) fn state_link_lost(&mut self, now: Now, reader: Reader<'_>, key: Key) {
        while let Some(at) = self.transfers.sending.iter().position(|s| s.link == key) {
            self.sent(now, reader, at, false);
        }
        let cut = |c: &Coming| c.over.is_some_and(|(link, _)| link == key) && !c.ended;
        if self.transfers.coming.as_ref().is_some_and(cut) {
            self.transfers.coming = None;
        }
    }

    /// Decides what this turn's commit does: stage, install, or sweep away what is left over.
    fn take_state(&mut self, now: Now, store: &Store) -> Result<(), StoreError> {
        if self.transfers.step.is_some() {
            return Ok(());
        }
        let sweeps = self.sweeps(store);
        let Some(coming) = &mut self.transfers.coming else {
            if sweeps && self.transfers.sweep_at <= now.mono_ns {
                self.transfers.step = Some(Step::Sweep);
            }
            return Ok(());
        };
        if !coming.ended && coming.incoming.waiting() < STATE_STAGE_BYTES {
            return Ok(());
        }
        if !coming.begun && store.is_dirty() {
            self.transfers.step = Some(Step::Sweep);
            return Ok(());
        }
        match coming.incoming.take() {
            Ok(pairs) if !pairs.is_empty() => {
                coming.begun = true;
                self.transfers.step = Some(Step::Stage(pairs));
            }
            // A value that has not come whole yet; its length was looked at.
            Ok(_) if !coming.ended => {
                if let Some((link, stream)) = coming.over
                    && let Some(link) = self.mesh.link(link)
                {
                    link.grant(stream, std::mem::take(&mut coming.owed));
                }
            }
            Ok(_) => match &coming.what {
                Purpose::Keep(kept) if coming.is_whole() => {
                    self.transfers.step = Some(Step::Keep(*kept));
                }
                Purpose::Install { .. } if self.consensus.has_work() => {}
                Purpose::Install { .. } => self.install_coming(now, store)?,
                Purpose::Keep(_) => self.drop_coming(),
            },
            Err(_) => {
                log::warn!("a state is not as it was sent: {:?}", coming.what);
                self.drop_coming();
            }
        }
        Ok(())
    }

    /// What lies beside the state in force is of no use any more.
    fn sweeps(&self, store: &Store) -> bool {
        let needed = || store.kept().is_some_and(|kept| self.needs(kept));
        store.is_dirty() && self.transfers.coming.is_none() && !needed()
    }

    /// What is kept beside the state in force may still be named by an entry.
    fn needs(&self, kept: Kept) -> bool {
        let raft = self.consensus.raft();
        let named = self.consensus.restores().is_some() || self.is_restoring();
        named || (kept.term == raft.term() && raft.role() != Role::Leader)
    }

    /// Hands a state that is staged whole to consensus. Nothing else waits to be written.
    fn install_coming(&mut self, now: Now, store: &Store) -> Result<(), StoreError> {
        let Some(coming) = &self.transfers.coming else { return Ok(()) };
        let Purpose::Install { from, index, term, members } = coming.what.clone() else {
            return Ok(());
        };
        let state = coming.incoming.state().filter(|s| s.index() == index);
        let snap = store.snap()?;
        self.consensus.step(now, snap.reader(), Input::Offered { from, index, term });
        let raft = self.consensus.raft();
        let wanted = raft.role() == Role::Follower
            && raft.leader() == Some(from)
            && index > raft.commit_index();
        let Some(state) = state.filter(|_| wanted) else {
            log::warn!("a state as of {index} is not taken");
            self.drop_coming();
            return Ok(());
        };
        let input = Input::Installed { from, index, term, members };
        self.consensus.step(now, snap.reader(), input);
        self.transfers.step = Some(Step::Install(state, term));
        Ok(())
    }

    /// The transaction with this turn's step is durable.
    pub(super) fn state_written(&mut self, now: Now) {
        match self.transfers.step.take() {
            None => {}
            Some(Step::Sweep) => {
                self.transfers.sweep_at = now.mono_ns + STATE_SWEEP_NS;
                self.transfers.due = self.transfers.sweep_at;
            }
            Some(Step::Stage(_)) => {
                self.grant_coming();
                self.transfers.due = now.mono_ns;
            }
            Some(step @ (Step::Keep(_) | Step::Install(..))) => {
                if let Step::Install(state, term) = &step {
                    log::info!("the leader's state as of {} is installed", state.index());
                    self.consensus.begins_after(state.index(), *term);
                }
                self.transfers.due = now.mono_ns;
                let Some(done) = self.transfers.coming.take() else { return };
                match done.over {
                    None => self.kept_here(done.incoming.finish().unwrap_or(0)),
                    Some((link, stream)) => {
                        if let Some(link) = self.mesh.link(link) {
                            link.end(stream);
                        }
                    }
                }
            }
        }
    }

    /// It could not be written.
    pub(super) fn state_refused(&mut self, now: Now) {
        if self.transfers.step.take().is_some() {
            self.transfers.refused = true;
            self.drop_coming();
            self.transfers.sweep_at = now.mono_ns + SECOND;
        }
    }
}
