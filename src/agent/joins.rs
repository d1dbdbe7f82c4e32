//! Joining: the hosts that the configuration names, looked up again and again, as names may move;
//! and by hand, where whoever asks is told which servers answered.

use std::net::{IpAddr, SocketAddr};

use super::core::{Core, Ready};
use super::names::host_port;
use super::serve::Form;
use crate::api::{ApiError, multi_error};
use crate::dns::Found;
use crate::limits::{JOIN_AGAIN_NS, JOIN_NS_MAX, JOINED_AGAIN_NS};
use crate::routes::Answer;
use crate::stdx::Now;
use crate::stdx::slab::Key;

/// Where servers are called that are named without a port.
const RPC: u16 = 4647;

/// A host of the configuration.
pub(super) struct Seed {
    host: String,
    port: u16,
    /// Times that each address is called, and that the name may fail to be found; `None`: any.
    tries: Option<u32>,
    /// Those of the last look.
    addresses: Vec<SocketAddr>,
    /// Mono ns of the next look.
    at: u64,
    /// It is being looked up.
    pending: bool,
    warned: bool,
}

/// Someone waits for servers to answer.
pub(super) struct Join {
    conn: Key,
    form: Form,
    open: Vec<Asked>,
    joined: usize,
    errors: Vec<String>,
    /// Monotonic nanoseconds of the end of the wait.
    until: u64,
}

struct Asked {
    host: String,
    port: u16,
    /// Empty until they are known.
    addresses: Vec<SocketAddr>,
}

impl Core {
    /// Calls the hosts of the configuration, from now on.
    pub(super) fn sow(&mut self, hosts: &[(String, u16)], tries: Option<u32>) {
        for (text, port) in hosts {
            match host_port(text, *port) {
                Ok((host, port)) => {
                    let (addresses, at, pending, warned) = (Vec::new(), 0, false, false);
                    let seed = Seed { host, port, tries, addresses, at, pending, warned };
                    self.seeds.push(seed);
                }
                Err(e) => log::error!("nobody can be joined there: {e}"),
            }
        }
    }

    /// Calls these instead of the hosts of the configuration. The servers that the cluster itself
    /// tells of stay known.
    pub(super) fn sow_anew(&mut self, hosts: Vec<String>) -> Answer {
        let faults: Vec<_> = hosts.iter().filter_map(|h| host_port(h, RPC).err()).collect();
        if !faults.is_empty() {
            return ApiError::bad(multi_error(&faults)).into();
        }
        for seed in std::mem::take(&mut self.seeds) {
            seed.addresses.into_iter().for_each(|a| self.mesh.forget(a));
        }
        let hosts: Vec<_> = hosts.into_iter().map(|host| (host, RPC)).collect();
        self.sow(&hosts, None);
        Answer::empty()
    }

    /// Looks up the hosts of the configuration whose time has come, and calls whom it finds.
    pub(super) fn tend_seeds(&mut self, now: Now) {
        let mut seeds = std::mem::take(&mut self.seeds);
        for seed in seeds.iter_mut().filter(|s| s.pending || s.at <= now.mono_ns) {
            let found = self.find(&seed.host, now);
            seed.pending = found == Found::Pending;
            match found {
                Found::Pending => {}
                Found::Known(ips) => self.call_seed(seed, &ips, now),
                Found::Failed(e) => {
                    if !std::mem::replace(&mut seed.warned, true) {
                        log::warn!("{}, which is to be joined, was not found: {e}", seed.host);
                    }
                    seed.at = now.mono_ns + JOIN_AGAIN_NS;
                    if let Some(left) = &mut seed.tries {
                        *left = left.saturating_sub(1);
                    }
                    if seed.tries == Some(0) {
                        log::error!("nobody could be joined at {}: {e}", seed.host);
                        seed.at = u64::MAX;
                    }
                }
            }
        }
        self.seeds = seeds;
    }

    fn call_seed(&mut self, seed: &mut Seed, ips: &[IpAddr], now: Now) {
        let new: Vec<_> = ips.iter().map(|ip| SocketAddr::new(*ip, seed.port)).collect();
        for gone in seed.addresses.iter().filter(|a| !new.contains(a)) {
            self.mesh.forget(*gone);
        }
        for address in &new {
            let known = seed.addresses.contains(address);
            if !known || (seed.tries.is_none() && self.mesh.answered(*address) == Some(false)) {
                self.mesh.call(*address, seed.tries, now);
            }
        }
        seed.addresses = new;
        seed.warned = false;
        let joined = seed.addresses.iter().any(|a| self.mesh.answered(*a) == Some(true));
        seed.at = match seed.host.parse::<IpAddr>() {
            // It stays what it is, and is called until it answers.
            Ok(_) => u64::MAX,
            Err(_) => now.mono_ns + if joined { JOINED_AGAIN_NS } else { JOIN_AGAIN_NS },
        };
    }

    /// A server was lost: it may come back elsewhere.
    pub(super) fn seeds_soon(&mut self, now: Now) {
        for seed in self.seeds.iter_mut().filter(|s| s.at != u64::MAX) {
            seed.at = seed.at.min(now.mono_ns + JOIN_AGAIN_NS);
        }
    }

    /// Mono ns at which [`Self::tend_seeds`] is due.
    pub(super) fn seeds_at(&self) -> Option<u64> {
        let waiting = self.seeds.iter().filter(|s| !s.pending && s.at != u64::MAX);
        waiting.map(|s| s.at).min()
    }

    /// Calls the hosts, each address once; answered by [`Self::settle_joins`].
    pub(super) fn join(&mut self, conn: Key, form: Form, hosts: &[String], now: Now) {
        let until = now.mono_ns + JOIN_NS_MAX;
        let (open, errors) = (Vec::new(), Vec::new());
        let mut join = Join { conn, form, open, joined: 0, errors, until };
        for text in hosts {
            match host_port(text, 4648) {
                Ok((host, port)) => join.open.push(Asked { host, port, addresses: Vec::new() }),
                Err(e) => join.errors.push(e),
            }
        }
        self.joins.push(join);
    }

    /// Answers those whose servers have all answered, or failed to.
    pub(super) fn settle_joins(&mut self, now: Now) {
        for mut join in std::mem::take(&mut self.joins) {
            let late = join.until <= now.mono_ns;
            let (joined, errors) = (&mut join.joined, &mut join.errors);
            join.open.retain_mut(|asked| match self.has_joined(asked, now) {
                Ok(None) if !late => true,
                Ok(Some(())) => {
                    *joined += 1;
                    false
                }
                Ok(None) => {
                    errors.push(format!("failed to join {}: nobody answered", asked.host));
                    false
                }
                Err(e) => {
                    errors.push(e);
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

    /// Whether one of the addresses of a host has answered; `None` while that is open.
    ///
    /// # Errors
    /// Why none will.
    fn has_joined(&mut self, asked: &mut Asked, now: Now) -> Result<Option<()>, String> {
        if asked.addresses.is_empty() {
            let ips = match self.find(&asked.host, now) {
                Found::Known(ips) => ips,
                Found::Pending => return Ok(None),
                Found::Failed(e) => return Err(format!("failed to join {}: {e}", asked.host)),
            };
            asked.addresses = ips.into_iter().map(|ip| SocketAddr::new(ip, asked.port)).collect();
            for address in &asked.addresses {
                self.mesh.call(*address, Some(1), now);
            }
            return Ok(None);
        }
        let mut open = false;
        for address in &asked.addresses {
            match self.mesh.answered(*address) {
                Some(true) => return Ok(Some(())),
                Some(false) => {}
                None => open = true,
            }
        }
        let (host, port) = (&asked.host, asked.port);
        let nobody = format!("failed to join {host}:{port}: nobody answered");
        if open { Ok(None) } else { Err(nobody) }
    }

    /// Mono ns at which the first of them has waited long enough.
    pub(super) fn joins_until(&self) -> Option<u64> {
        self.joins.iter().map(|j| j.until).min()
    }
}
