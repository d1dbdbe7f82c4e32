//! Joining by hand: whoever asks is told which servers answered.

use std::net::SocketAddr;

use super::cluster::socket_address;
use super::core::{Core, Ready};
use super::serve::Form;
use crate::limits::JOIN_NS_MAX;
use crate::routes::Answer;
use crate::stdx::Now;
use crate::stdx::slab::Key;

/// Someone waits for servers to answer.
pub(super) struct Join {
    conn: Key,
    form: Form,
    open: Vec<SocketAddr>,
    joined: usize,
    errors: Vec<String>,
    /// Monotonic nanoseconds of the end of the wait.
    until: u64,
}

impl Core {
    /// Calls the addresses, each once; answered by [`Self::settle_joins`].
    pub(super) fn join(&mut self, conn: Key, form: Form, addresses: &[String], now: Now) {
        let until = now.mono_ns + JOIN_NS_MAX;
        let (open, errors) = (Vec::new(), Vec::new());
        let mut join = Join { conn, form, open, joined: 0, errors, until };
        for text in addresses {
            match socket_address(text, 4648) {
                Ok(address) => {
                    self.mesh.call(address, Some(1), now);
                    join.open.push(address);
                }
                Err(e) => join.errors.push(e),
            }
        }
        self.joins.push(join);
    }

    /// Answers those whose servers have all answered, or failed to.
    pub(super) fn settle_joins(&mut self, now: Now) {
        for mut join in std::mem::take(&mut self.joins) {
            let late = join.until <= now.mono_ns;
            join.open.retain(|address| match self.mesh.answered(*address) {
                Some(true) => {
                    join.joined += 1;
                    false
                }
                None if !late => true,
                Some(false) | None => {
                    join.errors.push(format!("failed to join {address}: nobody answered"));
                    false
                }
            });
            if !join.open.is_empty() {
                self.joins.push(join);
                continue;
            }
            let answer = Answer::json(&serde_json::json!({
                "error": join.errors.join("; "), "num_joined": join.joined, "warning": "",
            }));
            self.ready.push(Ready { conn: join.conn, form: join.form, answer });
        }
    }

    /// Mono ns at which the first of them has waited long enough.
    pub(super) fn joins_until(&self) -> Option<u64> {
        self.joins.iter().map(|j| j.until).min()
    }
}
