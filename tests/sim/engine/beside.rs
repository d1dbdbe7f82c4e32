//! What may stand beside the model of a server's disk and is held against it.

use vardo::raft::{Effects, Index};

use super::disk::{Disk, Outcome, State};

/// What one commit is to bring to the disk.
pub(crate) struct Turn<'a> {
    pub(crate) effects: &'a Effects,
    pub(crate) install: Option<&'a State>,
    /// Up to where the log is cut at its end.
    pub(crate) trim: Option<Index>,
    /// It is only seen for now: a crash takes it back, and the log brings it again.
    pub(crate) hold: bool,
}

/// A store that does the same as the model. Each panics where it finds a difference.
pub(crate) trait Beside {
    /// The model has committed this, with these outcomes.
    fn commit(&mut self, turn: &Turn<'_>, outcomes: &[Outcome], model: &Disk);
    /// What the last commit held becomes durable.
    fn settle(&mut self);
    /// The transaction fails before its commit; the process goes on.
    fn lose(&mut self, turn: &Turn<'_>, model: &Disk);
    /// The process ends, within a transaction where there is one under way.
    fn kill(&mut self, turn: Option<&Turn<'_>>);
    /// It starts again: everything on the disk must be as in the model.
    fn start(&mut self, model: &Disk);
    /// While it is down, hard state and membership were replaced.
    fn recover(&mut self, model: &Disk);
    /// The whole state, for another server.
    fn export(&mut self) -> Vec<u8>;
}

/// Makes the store of a server.
pub(crate) type Stores<'s> = Option<&'s dyn Fn(usize) -> Box<dyn Beside>>;
