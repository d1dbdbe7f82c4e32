//! Trees that are to go: directories of allocations and of runs, and volumes. Each turn of the loop
//! removes a part.

use std::collections::VecDeque;
use std::path::Path;

use crate::client::ClientInput;
use crate::os::remove::Removal;
use crate::os::{self, clock};

/// How long a turn may go on with it, nanoseconds.
const TURN_NS: u64 = 2_000_000;
/// Names between two looks at the clock.
const NAMES: usize = 32;

/// Who waits for a tree to be gone.
#[derive(Debug)]
pub(super) enum Then {
    Nobody,
    Alloc(String),
    Volume(u64),
}

#[derive(Debug, Default)]
pub(super) struct Removals(VecDeque<(String, Option<Removal>, Then)>);

impl Removals {
    pub(super) fn push(&mut self, path: String, then: Then) {
        let entry = (path, None, then);
        match entry.2 {
            // Small, and nobody would ask for it again.
            Then::Nobody => self.0.push_front(entry),
            Then::Alloc(_) | Then::Volume(_) => self.0.push_back(entry),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes for a while; answers those whose trees are gone, or cannot be removed.
    pub(super) fn work(&mut self, out: &mut Vec<ClientInput>) {
        let until = clock::mono_ns().saturating_add(TURN_NS);
        while let Some((path, removal, _)) = self.0.front_mut() {
            let step = match removal {
                Some(removal) => removal.step(NAMES),
                None => Removal::begin(Path::new(path)).map(|begun| {
                    *removal = Some(begun);
                    false
                }),
            };
            if !matches!(step, Ok(false)) {
                let Some((path, _, then)) = self.0.pop_front() else { return };
                let result = step.map_err(|e| os::error_text(&e));
                if let Err(e) = &result {
                    log::warn!("{path} could not be removed: {e}");
                }
                match then {
                    Then::Nobody => {}
                    Then::Alloc(id) => out.push(ClientInput::Removed(id)),
                    Then::Volume(token) => {
                        let done = result.map(|_| String::new());
                        out.push(ClientInput::VolumeDone(token, done));
                    }
                }
            }
            if clock::mono_ns() >= until {
                return;
            }
        }
    }
}
