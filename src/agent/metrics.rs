//! What the loop counts of itself, and the gauges of this agent.
//!
//! To note costs no clock and no allocation: a turn reads the clock at its begin and at its end,
//! and requests that were answered within it are taken to have lasted as long as the turn.

use std::num::NonZeroU64;

use super::core::Core;
use super::facts;
use super::front::Front;
use crate::api::ApiError;
use crate::client::HAPPENED;
use crate::os::proc;
use crate::routes::metrics::{Counted, Gauge, Metrics, Telemetry};
use crate::routes::{AgentInfo, Answer};
use crate::server::TIMES;
use crate::stdx::Now;
use crate::stdx::meter::{Meter, Series};
use crate::store::Reader;

/// When a request came, and whether it reads. Every connection has room for one, so it is eight
/// bytes: twice the monotonic nanoseconds, and one more for a read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked(NonZeroU64);

impl Asked {
    fn new(at_ns: u64, read: bool) -> Self {
        Self(NonZeroU64::new(at_ns << 1 | u64::from(read)).unwrap_or(NonZeroU64::MIN))
    }

    fn at_ns(self) -> u64 {
        self.0.get() >> 1
    }

    fn is_read(self) -> bool {
        self.0.get() & 1 == 1
    }
}

pub(super) struct Meters {
    telemetry: Telemetry,
    /// Number of the present interval.
    interval: i64,
    /// Begin of the present turn, monotonic nanoseconds.
    turn_ns: u64,
    turn: Meter,
    commit: Meter,
    /// Requests that read, and those that write.
    requests: [Meter; 2],
    /// Of those, the ones that came and were answered in the present turn.
    at_once: [u64; 2],
    /// Answers by class, 1xx to 5xx: of the present turn, and before.
    answers: [u64; 5],
    statuses: [Series; 5],
    /// Entries of the log that this server proposed and applied.
    applied: Series,
    /// Requests that came over links, and of those the ones that read.
    rpc: [Series; 2],
    /// What happened to tasks, by [`HAPPENED`].
    tasks: [Series; HAPPENED.len()],
    /// How long evaluations and plans took, by [`TIMES`].
    times: [Series; TIMES.len()],
}

impl Meters {
    pub(super) fn new(telemetry: Telemetry) -> Self {
        Self {
            telemetry,
            interval: 0,
            turn_ns: 0,
            turn: Meter::default(),
            commit: Meter::default(),
            requests: Default::default(),
            at_once: [0; 2],
            answers: [0; 5],
            statuses: Default::default(),
            applied: Series::default(),
            rpc: Default::default(),
            tasks: Default::default(),
            times: Default::default(),
        }
    }

    /// Tasks are to be asked before metrics are told.
    pub(super) fn wants_tasks(&self) -> bool {
        self.telemetry.tasks
    }

    pub(super) fn turn_begins(&mut self, now: Now) {
        self.turn_ns = now.mono_ns;
        self.interval = now.wall_ns.div_euclid(self.telemetry.interval_ns);
    }

    pub(super) fn turn_ends(&mut self, took_ns: u64, core: &mut Core) {
        if let Some(client) = &mut core.client {
            for (series, n) in self.tasks.iter_mut().zip(client.take_happened()) {
                series.note(self.interval, 1.0, n);
            }
        }
        if let Some(server) = &mut core.server {
            for (series, span) in self.times.iter_mut().zip(server.take_times()) {
                series.add(self.interval, &span);
            }
        }
        self.turn.note(self.interval, took_ns, 1);
        for (meter, n) in self.requests.iter_mut().zip(&mut self.at_once) {
            if *n > 0 {
                meter.note(self.interval, took_ns, std::mem::take(n));
            }
        }
        for (series, n) in self.statuses.iter_mut().zip(&mut self.answers) {
            series.note(self.interval, 1.0, std::mem::take(n));
        }
    }

    /// When a request that is read now came. `link`: from another agent.
    pub(super) fn asked(&mut self, read: bool, link: bool) -> Asked {
        let [all, reads] = &mut self.rpc;
        all.note(self.interval, 1.0, link.into());
        reads.note(self.interval, 1.0, (link && read).into());
        Asked::new(self.turn_ns, read)
    }

    /// An answer was written. Of one that was held there is nothing to measure.
    pub(super) fn answered(&mut self, status: u16, asked: Option<Asked>) {
        if let Some(n) = self.answers.get_mut(usize::from(status / 100).wrapping_sub(1)) {
            *n += 1;
        }
        let Some(asked) = asked else { return };
        let which = usize::from(!asked.is_read());
        if asked.at_ns() == self.turn_ns {
            self.at_once[which] += 1;
        } else {
            let took = self.turn_ns.saturating_sub(asked.at_ns());
            self.requests[which].note(self.interval, took, 1);
        }
    }

    /// A transaction of the store was made durable.
    pub(super) fn committed(&mut self, took_ns: u64, applied: usize) {
        self.commit.note(self.interval, took_ns, 1);
        self.applied.note(self.interval, 1.0, applied as u64);
    }

    fn counted<'a>(&'a self, all: &mut Metrics<'a>) {
        all.counted("vardo.loop.turn", Counted::Histogram(&self.turn));
        all.counted("vardo.loop.commit", Counted::Histogram(&self.commit));
        all.counted("nomad.raft.commitTime", Counted::Summary(&self.commit.series));
        all.counted("nomad.raft.apply", Counted::Counter(&self.applied));
        let [reads, writes] = &self.requests;
        all.counted("vardo.http.read", Counted::Histogram(reads));
        all.counted("vardo.http.write", Counted::Histogram(writes));
        let rpc = ["nomad.nomad.rpc.request", "nomad.nomad.rpc.query"].into_iter().zip(&self.rpc);
        for (name, series) in rpc.chain(HAPPENED.into_iter().zip(&self.tasks)) {
            all.counted(name, Counted::Counter(series));
        }
        for (name, series) in TIMES.into_iter().zip(&self.times).filter(|(_, s)| s.count > 0) {
            all.counted(name, Counted::Summary(series));
        }
        for (series, class) in self.statuses.iter().zip(["1xx", "2xx", "3xx", "4xx", "5xx"]) {
            if series.count > 0 {
                let labels = vec![("class", class.to_owned())];
                all.counted.push(("vardo.http.answers", labels, Counted::Counter(series)));
            }
        }
    }
}

impl Front {
    /// The answer of `/v1/metrics`.
    pub(super) fn metrics(
        &self,
        prometheus: bool,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) -> Answer {
        let telemetry = &self.meters.telemetry;
        let mut all = Metrics::default();
        self.meters.counted(&mut all);
        let connections: u32 = self.door.per_client.values().sum();
        all.gauge("nomad.nomad.agent.http.connections", connections.into());
        if core.info.server {
            core.server_gauges(&mut all);
        }
        if core.info.leads
            && let Err(e) = all.state(reader, &core.info, telemetry)
        {
            return ApiError::failed(e.to_string()).into();
        }
        core.client_gauges(telemetry.node, now, reader, &mut all);
        if let Some(client) = core.client.as_ref().filter(|_| telemetry.tasks) {
            client.task_figures(|alloc, task, name, value| {
                let labels = vec![
                    ("alloc_id", alloc.id.clone()),
                    ("job", alloc.job_id.clone()),
                    ("namespace", alloc.namespace.clone()),
                    ("task", task.to_owned()),
                    ("task_group", alloc.task_group.clone()),
                ];
                all.gauges.push(Gauge { name, labels, value });
            });
        }
        process(&mut all, &core.info);
        if prometheus {
            return all.prometheus(telemetry).unwrap_or_else(Answer::from);
        }
        all.json(telemetry, self.meters.interval - 1)
    }
}

impl Core {
    fn server_gauges(&self, all: &mut Metrics<'_>) {
        let raft = &self.info.raft;
        all.gauge("nomad.raft.appliedIndex", raft.applied as f64);
        all.gauge("nomad.raft.lastIndex", raft.last_index as f64);
        let Some(server) = self.server.as_ref().filter(|_| self.info.leads) else { return };
        for (name, value) in server.figures() {
            all.gauge(name, value as f64);
        }
    }

    fn client_gauges(&mut self, host: bool, now: Now, reader: Reader<'_>, all: &mut Metrics<'_>) {
        let Some(client) = &mut self.client else { return };
        let stored = reader.node(&self.info.node_id).ok().flatten();
        let node = stored.unwrap_or_else(|| client.node().clone());
        let mut found: Vec<Gauge> =
            client.figures().into_iter().map(|(n, v)| Gauge::of(n, v as f64)).collect();
        if host {
            let facts = facts::usage(&self.alloc_dir);
            for (name, label, value) in client.host_figures(&facts, now.wall_ns) {
                let labels = label.into_iter().collect();
                found.push(Gauge { name, labels, value });
            }
        }
        let or_none = |text: &str| if text.is_empty() { "none" } else { text }.to_owned();
        for gauge in &mut found {
            gauge.labels.extend([
                ("datacenter", node.datacenter.clone()),
                ("node_class", or_none(&node.node_class)),
                ("node_id", node.id.clone()),
                ("node_pool", node.node_pool.clone()),
                ("node_scheduling_eligibility", node.scheduling_eligibility.clone()),
                ("node_status", node.status.clone()),
            ]);
        }
        all.gauges.append(&mut found);
    }
}

/// What collectors ask of every process.
fn process(all: &mut Metrics<'_>, info: &AgentInfo) {
    let own = proc::own_usage();
    all.gauge("nomad.runtime.alloc_bytes", own.rss_bytes as f64);
    all.gauge("process.resident_memory_bytes", own.rss_bytes as f64);
    all.gauge("process.cpu_seconds_total", (own.user_ns + own.system_ns) as f64 / 1e9);
    all.gauge("process.open_fds", proc::open_files() as f64);
    all.gauge("process.start_time_seconds", info.started_ns as f64 / 1e9);
}
