//! The state for a server that needs entries which the leader's log no longer holds: sent over a
//! stream, checked when it has come whole, installed in one transaction.

use super::consensus::id_text;
use super::core::Core;
use super::mesh::peer;
use crate::limits::STATE_BYTES_MAX;
use crate::link::{Event, StreamId, words};
use crate::raft::{Input, Members, PeerId, Role};
use crate::stdx::Now;
use crate::stdx::slab::Key;
use crate::store::{Reader, State};

/// First word of a stream that carries the state.
pub(super) const STATE: &[u8] = b"state";

/// States under way, one in each direction for each stream.
#[derive(Default)]
pub(super) struct Transfers {
    sending: Vec<Sending>,
    coming: Option<Coming>,
    /// Came whole and is installed by this turn's commit.
    install: Option<Coming>,
}

struct Sending {
    to: PeerId,
    link: Key,
    stream: StreamId,
    bytes: Vec<u8>,
    sent: usize,
    index: u64,
}

pub(super) struct Coming {
    from: PeerId,
    link: Key,
    stream: StreamId,
    index: u64,
    term: u64,
    members: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    whole: bool,
}

impl Coming {
    pub(super) fn term(&self) -> u64 {
        self.term
    }
}

impl Transfers {
    pub(super) fn install(&self) -> Option<&Coming> {
        self.install.as_ref()
    }
}

/// The leader's side.
impl Core {
    /// Begins what consensus asks for.
    pub(super) fn send_states(&mut self, now: Now, reader: Reader<'_>) {
        for to in self.consensus.take_snapshots() {
            if self.send_state(to, reader).is_none() {
                self.consensus.step(now, reader, Input::SnapshotSent(to, None));
            }
        }
    }

    fn send_state(&mut self, to: PeerId, reader: Reader<'_>) -> Option<()> {
        let index = reader.index();
        let term = reader.log_term(index).ok().flatten()?;
        let members = self.consensus.raft().members_at(index)?.encode();
        let bytes = reader.state().ok().filter(|b| b.len() <= STATE_BYTES_MAX)?;
        let link = self.mesh.to_server(to)?;
        let what = words::join(&[STATE, &index.to_le_bytes(), &term.to_le_bytes(), &members]);
        let stream = self.mesh.link(link)?.open(what)?;
        log::info!("{} is sent the state as of {index}, {} bytes", id_text(to), bytes.len());
        self.transfers.sending.push(Sending { to, link, stream, bytes, sent: 0, index });
        self.go_on_sending(link, stream);
        Some(())
    }

    fn go_on_sending(&mut self, link: Key, stream: StreamId) {
        let found = self.transfers.sending.iter_mut();
        let Some(s) = found.into_iter().find(|s| (s.link, s.stream) == (link, stream)) else {
            return;
        };
        let Some(link) = self.mesh.link(link) else { return };
        s.sent += link.send(stream, s.bytes.get(s.sent..).unwrap_or_default());
        if s.sent == s.bytes.len() {
            link.end(stream);
        }
    }

    /// A transfer is over: how far it brought the other.
    fn sent(&mut self, now: Now, reader: Reader<'_>, at: usize, arrived: bool) {
        let Sending { to, index, .. } = self.transfers.sending.swap_remove(at);
        let index = arrived.then_some(index);
        self.consensus.step(now, reader, Input::SnapshotSent(to, index));
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
        if let Some(old) = self.transfers.coming.take()
            && let Some(link) = self.mesh.link(old.link)
        {
            link.reset(old.stream);
        }
        let bytes = Vec::new();
        let coming = Coming { from, link, stream, index, term, members, bytes, whole: false };
        self.transfers.coming = Some(coming);
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
        let (Event::Data(id, _) | Event::End(id) | Event::Reset(id) | Event::Writable(id)) = event
        else {
            return false;
        };
        let sending = self.transfers.sending.iter();
        let at = sending.into_iter().position(|s| (s.link, s.stream) == (key, *id));
        if let Some(at) = at {
            match event {
                Event::Writable(_) => self.go_on_sending(key, *id),
                Event::End(_) => self.sent(now, reader, at, true),
                Event::Reset(_) => self.sent(now, reader, at, false),
                _ => {}
            }
            return true;
        }
        let Some(coming) = &mut self.transfers.coming else { return false };
        if (coming.link, coming.stream) != (key, *id) {
            return false;
        }
        match event {
            Event::Data(_, bytes) if coming.bytes.len() + bytes.len() <= STATE_BYTES_MAX => {
                coming.bytes.extend_from_slice(bytes);
                if let Some(link) = self.mesh.link(key) {
                    link.grant(*id, bytes.len());
                }
            }
            Event::End(_) => coming.whole = true,
            Event::Writable(_) => {}
            _ => self.drop_coming(),
        }
        true
    }

    fn drop_coming(&mut self) {
        if let Some(old) = self.transfers.coming.take()
            && let Some(link) = self.mesh.link(old.link)
        {
            link.reset(old.stream);
        }
    }

    /// A link is down.
    pub(super) fn state_link_lost(&mut self, now: Now, reader: Reader<'_>, key: Key) {
        while let Some(at) = self.transfers.sending.iter().position(|s| s.link == key) {
            self.sent(now, reader, at, false);
        }
        if self.transfers.coming.as_ref().is_some_and(|c| c.link == key && !c.whole) {
            self.transfers.coming = None;
        }
    }

    /// Hands a state that came whole to consensus, once nothing else waits to be written.
    pub(super) fn take_state(&mut self, now: Now, reader: Reader<'_>) {
        if self.consensus.has_work() || !self.transfers.coming.as_ref().is_some_and(|c| c.whole) {
            return;
        }
        let Some(coming) = self.transfers.coming.take() else { return };
        let raft = self.consensus.raft();
        let wanted = raft.role() == Role::Follower
            && raft.leader() == Some(coming.from)
            && coming.index > raft.commit_index();
        let sound = State::read(&coming.bytes).is_some_and(|s| s.index() == coming.index);
        if !wanted || !sound {
            log::warn!("a state as of {} is not taken", coming.index);
            self.transfers.coming = Some(coming);
            return self.drop_coming();
        }
        let Coming { from, index, term, .. } = coming;
        let members = coming.members.clone();
        self.consensus.step(now, reader, Input::Installed { from, index, term, members });
        self.transfers.install = Some(coming);
    }

    /// The transaction with the state is durable.
    pub(super) fn state_installed(&mut self) {
        let Some(done) = self.transfers.install.take() else { return };
        log::info!("the leader's state as of {} is installed", done.index);
        self.consensus.begins_after(done.index, done.term);
        if let Some(link) = self.mesh.link(done.link) {
            link.end(done.stream);
        }
    }

    /// It could not be written.
    pub(super) fn state_refused(&mut self) {
        self.transfers.coming = self.transfers.install.take();
        self.drop_coming();
    }
}
