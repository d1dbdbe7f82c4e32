//! The loop: the only place that waits.
//!
//! A turn, always in this order: wait; read and answer what needs no commit; timers; work within a
//! budget; one commit; what the commit allows. Reads come before timers, so that a late turn does
//! not act on a silence that is already over. Everything written in a turn becomes durable in one
//! transaction, and while requests that write keep coming in, the turn takes more of them before
//! it commits: a commit costs the same for one as for a hundred. A write is answered once its entry
//! is durable: on a lone server with the turn's commit, among several as soon as a majority has it.
//! What a turn merely applies is in the log on the disk, and becomes durable with a later commit.

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};

use super::core::Core;
use super::front::Front;
use super::names::Names;
use super::relay;
use super::secured::Secured;
use super::tasks::Tasks;
use super::tokens::{
    self, CONNS, EXECS, FETCHES, LINK_LISTENERS, LINK_LISTENERS_MAX, LINKS, LISTENERS,
    LISTENERS_MAX, NAMES, PROBES, REGIONS, TALKS,
};
use super::transfer;
use super::wires::Wires;
use crate::client::ClientInput;
use crate::limits::{EVENTS_PER_POLL, GATHER_ROUNDS, LATE_TURN_NS, WORK_NS, WORK_SHARE};
use crate::link::Event as LinkEvent;
use crate::link::words::Words;
use crate::os::signals::Signals;
use crate::os::{clock, spawn};
use crate::stdx::Now;
use crate::stdx::slab::Key;
use crate::store::{Reader, Store, StoreError};

/// Why the loop ended.
pub(super) enum End {
    /// A signal asked for it.
    Asked,
    /// The store cannot be trusted any more.
    Store(StoreError),
    Poll(std::io::Error),
}

pub(super) struct Loop {
    pub(super) poll: Poll,
    pub(super) signals: Signals,
    pub(super) front: Front,
    pub(super) wires: Wires,
    pub(super) names: Names,
    /// Links that may hold more than was read of them.
    pub(super) unread: Vec<Key>,
    pub(super) core: Core,
    pub(super) tasks: Tasks,
    pub(super) store: Store,
    /// Reads the configuration again.
    pub(super) reload: super::Reload,
    /// Nothing of this agent outlives it, its tasks neither.
    pub(super) throw_away: bool,
    pub(super) leave: Leave,
}

/// Whether the agent leaves its cluster before it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leave {
    pub(super) on_interrupt: bool,
    pub(super) on_terminate: bool,
    pub(super) under_way: bool,
}

impl Loop {
    /// Registers what is waited for.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn register(&mut self) -> std::io::Result<()> {
        let registry = self.poll.registry();
        let fd = self.signals.as_raw_fd();
        registry.register(&mut SourceFd(&fd), tokens::SIGNALS, Interest::READABLE)?;
        self.wires.register(registry)?;
        self.front.register(registry)
    }

    /// Turns until there is a reason not to.
    pub(super) fn run(mut self) -> End {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        let mut now = clock::now();
        loop {
            if let Err(e) = self.poll.poll(&mut events, self.patience(now)) {
                if e.kind() == ErrorKind::Interrupted {
                    continue;
                }
                return End::Poll(e);
            }
            now = clock::now();
            self.front.meters.turn_begins(now);
            match self.turn(&mut events, now) {
                Ok(true) => {
                    if self.throw_away {
                        self.tasks.end_all();
                    }
                    return self.store.settle().map_or_else(End::Store, |()| End::Asked);
                }
                Ok(false) => {}
                Err(e) => return End::Store(e),
            }
            let took = clock::mono_ns().saturating_sub(now.mono_ns);
            self.front.meters.turn_ends(took, &mut self.core);
            self.core.turn_took(took);
            self.front.events.turn_ends(took);
            if took > LATE_TURN_NS {
                log::warn!("a turn of the loop took {} ms", took / 1_000_000);
            }
        }
    }

    /// How long the poll may wait.
    fn patience(&self, now: Now) -> Option<Duration> {
        let runnable = self.front.has_runnable() || self.core.has_runnable();
        if runnable || !self.unread.is_empty() || !self.tasks.removals.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = [self.front.deadline(), self.core.deadline(now), self.front.parked_until()];
        let due = due.into_iter().flatten().min()?;
        // Rounded up to what the poll can tell apart, or it would wake too early and spin.
        let wait = Duration::from_nanos(due.saturating_sub(now.mono_ns));
        Some(Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(0)))
    }

    /// One turn; true where a signal asked for the end.
    fn turn(&mut self, events: &mut Events, now: Now) -> Result<bool, StoreError> {
        let mut inputs = Vec::new();
        let mut ended = self.read(events, now, &mut inputs)?;
        for _ in 0..GATHER_ROUNDS {
            if !self.core.has_proposals() {
                break;
            }
            match self.poll.poll(events, Some(Duration::ZERO)) {
                Ok(()) if !events.is_empty() => {}
                _ => break,
            }
            self.read(events, now, &mut inputs)?;
        }
        self.feed(now, &mut inputs);
        self.work(now)?;
        self.commit(now)?;
        if std::mem::take(&mut self.core.reload) {
            self.reload();
        }
        if self.leave.under_way {
            let snap = self.store.snap()?;
            ended |= self.core.leave(now, snap.reader());
        }
        Ok(ended)
    }

    /// Everything that came in, answered from one snapshot as far as that goes.
    fn read(
        &mut self,
        events: &Events,
        now: Now,
        inputs: &mut Vec<ClientInput>,
    ) -> Result<bool, StoreError> {
        let snap = self.store.snap()?;
        let reader = snap.reader();
        let mut signalled = false;
        // Links before clients: a heartbeat must not wait behind a crowd.
        let mut links = std::mem::take(&mut self.unread);
        for event in events {
            let (kind, at) = tokens::parts(event.token());
            if kind == LINKS {
                let index = u32::try_from(at).unwrap_or(u32::MAX);
                let Some(key) = self.core.mesh.key_at(index) else { continue };
                if event.is_writable() {
                    self.wires.send(key, now, &mut self.core.mesh);
                }
                if !links.contains(&key) {
                    links.push(key);
                }
            } else if kind == 0 && (LINK_LISTENERS..=LINK_LISTENERS_MAX).contains(&at) {
                let Core { mesh, entropy, .. } = &mut self.core;
                let registry = self.poll.registry();
                self.wires.accept(at - LINK_LISTENERS, now, mesh, &mut **entropy, registry);
            }
        }
        for key in links {
            if self.wires.read(key, now, &mut self.core.mesh) {
                self.unread.push(key);
            }
            while let Some(news) = self.core.mesh.next(key, now) {
                lost_links(&mut self.front, &mut self.core, now, reader);
                if let Some(event) = self.core.link_news(now, reader, key, news) {
                    stream(&mut self.front, &mut self.core, key, &event, now, reader);
                }
            }
        }
        lost_links(&mut self.front, &mut self.core, now, reader);
        for event in events {
            match tokens::parts(event.token()) {
                (EXECS, at) => self.front.exec_ready(at, now, &mut self.core),
                (CONNS, at) => {
                    let hung_up = event.is_read_closed() || event.is_error();
                    let readable = event.is_readable() || hung_up;
                    self.front.ready(at, readable, hung_up, now, reader, &mut self.core);
                }
                (PROBES, at) => self.tasks.probes.ready(at, inputs),
                (REGIONS, at) => self.front.region_ready(at, now, reader, &mut self.core),
                (NAMES, at) => {
                    let Core { resolver, entropy, .. } = &mut self.core;
                    self.names.ready(at, resolver, now, &mut **entropy);
                }
                (FETCHES, at) => {
                    if let Some(at) = self.front.fetches.key_at(at) {
                        self.front.fetches.ready(at);
                    }
                }
                (TALKS, at) => self.tasks.ready(at, inputs),
                _ if event.token() == tokens::SIGNALS => signalled = true,
                (0, at) if at <= LISTENERS_MAX => {
                    self.front.accept(at - LISTENERS, now, self.poll.registry());
                }
                _ => {}
            }
        }
        drop(snap);
        Ok(signalled && self.signals(inputs))
    }

    /// True for those that end the agent.
    fn signals(&mut self, inputs: &mut Vec<ClientInput>) -> bool {
        let mut ended = false;
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                libc::SIGHUP => self.core.reload = true,
                libc::SIGCHLD => {
                    // An executor's end shows on its conversation; here it is only buried.
                    for child in spawn::reap() {
                        log::debug!("child {} ended", child.pid);
                        self.tasks.plugins.ended(child, inputs);
                    }
                }
                libc::SIGINT | libc::SIGTERM => {
                    log::info!("caught signal {signal}");
                    let leave = &mut self.leave;
                    let wanted = if signal == libc::SIGINT {
                        leave.on_interrupt
                    } else {
                        leave.on_terminate
                    };
                    // The second one does not wait.
                    ended |= !wanted || std::mem::replace(&mut leave.under_way, true);
                }
                // SIGXFSZ: the write that raised it has failed, and its caller knows.
                _ => {}
            }
        }
        ended
    }

    /// Takes over what can change while the agent runs: log level, answer headers, connection
    /// limit, and how connections that are made from now on are encrypted. The rest needs a
    /// restart. A configuration that does not load, or names certificates that do not, changes
    /// nothing.
    fn reload(&mut self) {
        let read = (self.reload)().and_then(|c| Ok((Secured::read(&c)?, c)));
        match read {
            Ok((secured, config)) => {
                log::info!("the configuration was read again");
                self.front.secure(secured.http);
                self.front.regions.secure(secured.regions);
                self.wires.secure(secured.links);
                self.core.info.log_file.clone_from(&config.log_to.path);
                self.core.replicas.token.clone_from(&config.acl_replication_token);
                self.core.set_workers(config.server.workers, clock::now());
                self.tasks.probes.believe(config.tls.ca.clone());
                self.core.mesh.set_roles(config.tls.rpc && config.tls.verify_names);
                self.front.configure(
                    config.response_headers.clone(),
                    u32::try_from(config.http_max_conns_per_client).unwrap_or(u32::MAX),
                );
            }
            Err(e) => log::error!("Failed to reload configs: {e}"),
        }
    }

    fn feed(&mut self, now: Now, inputs: &mut Vec<ClientInput>) {
        for input in inputs.drain(..) {
            self.core.client_input(now, input);
        }
    }

    /// Timers, woken queries, and scheduling until the budget of the turn is spent.
    fn work(&mut self, now: Now) -> Result<(), StoreError> {
        let snap = self.store.snap()?;
        let reader = snap.reader();
        self.front.expire(now, reader, &mut self.core, self.poll.registry());
        self.front.work(now, reader, &mut self.core);
        self.front.settle(now, reader, &mut self.core);
        self.core.tend_keys(now);
        let until = if self.core.has_writers() {
            let begun = clock::mono_ns();
            begun.saturating_add(begun.saturating_sub(now.mono_ns) / WORK_SHARE)
        } else {
            now.mono_ns.saturating_add(WORK_NS)
        };
        while self.core.work(now, reader)? {
            if clock::mono_ns() > until {
                break;
            }
        }
        let writes = self.core.has_writers();
        self.front.tell_some(now, writes, reader, &mut self.core);
        for (conn, form, prometheus) in std::mem::take(&mut self.core.metrics_due) {
            let answer = self.front.metrics(prometheus, now, reader, &mut self.core);
            self.front.answer(conn, form, answer, &self.core.info);
            self.front.resume(conn, now, reader, &mut self.core);
        }
        for ready in self.core.take_ready() {
            self.front.answer(ready.conn, ready.form, ready.answer, &self.core.info);
            self.front.resume(ready.conn, now, reader, &mut self.core);
        }
        Ok(())
    }

    /// Makes the turn durable and lets out what waited for that.
    fn commit(&mut self, now: Now) -> Result<(), StoreError> {
        self.core.tend_states(now, &mut self.store)?;
        self.core.tend_snapshots(now, &mut self.store)?;
        self.core.tend_digests(now, &mut self.store)?;
        if let Some(saved) = self.core.tend_saves(now, &mut self.store)? {
            self.front.send_saved(saved, now, &mut self.core);
        }
        self.core.prepare(now, &self.store)?;
        self.wires.flush(now, &mut self.core.mesh, self.poll.registry());
        let begun = self.core.has_local_writes().then(clock::mono_ns);
        let done = self.core.commit(now, &mut self.store)?;
        if let Some(begun) = begun {
            let took = clock::mono_ns().saturating_sub(begun);
            self.front.meters.committed(took, done.applied);
        }
        self.front.touched(&done.touched);
        self.front.changed(now, done.touched.changes);
        if self.front.has_runnable() {
            // Somebody is to be told.
            self.core.show(now);
            self.core.settle(now, &mut self.store)?;
        }
        let mut inputs = Vec::new();
        for effect in done.effects {
            self.tasks.run(effect, self.poll.registry(), &mut inputs);
        }
        self.tasks.removals.work(&mut inputs);
        self.feed(now, &mut inputs);
        if !done.answers.is_empty() {
            let snap = self.store.snap()?;
            for ready in done.answers {
                self.front.answer(ready.conn, ready.form, ready.answer, &self.core.info);
                self.front.resume(ready.conn, now, snap.reader(), &mut self.core);
            }
        }
        let registry = self.poll.registry();
        self.wires.flush(now, &mut self.core.mesh, registry);
        let Core { resolver, entropy, .. } = &mut self.core;
        self.names.flush(resolver, now, &mut **entropy, registry);
        Ok(())
    }
}

fn lost_links(front: &mut Front, core: &mut Core, now: Now, reader: Reader<'_>) {
    for key in core.links_lost(now, reader) {
        front.link_lost(key, now, reader, core);
    }
}

/// Something happened on a stream of a link.
fn stream(
    front: &mut Front,
    core: &mut Core,
    key: Key,
    event: &LinkEvent,
    now: Now,
    reader: Reader<'_>,
) {
    let LinkEvent::Opened(stream, what) = event else {
        if core.remote_event(now, key, event)
            || core.state_event(now, reader, key, event)
            || core.replica_event(now, reader, key, event)
        {
            return;
        }
        front.stream_event(key, event, now, reader, core);
        return;
    };
    let mut words = Words(what);
    let taken = match words.bytes() {
        Some(relay::HTTP) => front.stream_opened(key, *stream, &mut words, now),
        Some(transfer::STATE) => core.state_opened(key, *stream, &mut words),
        Some(transfer::KEEP) => core.keep_opened(key, *stream, &mut words),
        _ => None,
    };
    if taken.is_none()
        && let Some(link) = core.mesh.link(key)
    {
        link.reset(*stream);
    }
}
