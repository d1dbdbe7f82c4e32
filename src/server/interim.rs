//! Interim queue.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::api::Evaluation;

#[derive(Default)]
pub(super) struct Broker {
    ready: BTreeMap<(Reverse<i64>, u64, String), Evaluation>,
}

impl Broker {
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn enqueue(&mut self, e: Evaluation) {
        self.ready.insert((Reverse(e.priority), e.create_index, e.id.clone()), e);
    }

    pub(super) fn dequeue(&mut self) -> Option<Evaluation> {
        self.ready.pop_first().map(|(_, e)| e)
    }

    pub(super) fn ack(&mut self, _: &str) {}
}
