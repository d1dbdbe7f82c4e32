//! The servers' part of an agent's turn over a throw-away store: commands in, commits, evaluations
//! scheduled, plans applied, until nothing is left to do. Nodes are rows; what they would report is
//! written for them.

use std::path::PathBuf;
use std::rc::Rc;

use super::{Tallies, Tally};
use crate::api::{
    AllocDeploymentStatus, Allocation, Evaluation, Job, Node, PreemptionConfig,
    SchedulerConfiguration, status,
};
use crate::command::{AllocClientState, Applied, Command, Plan};
use crate::os::fs;
use crate::sched::Fleet;
use crate::server::{self, Proposed, Server};
use crate::stdx::json::Time;
use crate::stdx::{BTreeMap, Entropy, Now, uuid};
use crate::store::{Options, Reader, Store, StoreError, Table, Touched, keys};

/// Evaluations that one commit takes the plans of, unless they are large.
const TURN_EVALS: usize = 64;
/// Allocations after which a commit is due.
const TURN_ALLOCS: usize = 1_000;
/// Allocations that one report of nodes covers.
const REPORT_ALLOCS: usize = 1_000;
/// How far the clock runs on after nodes died: all that jobs wait for is shorter.
const HORIZON_NS: u64 = 48 * 3600 * crate::limits::SECOND;
/// Where the clock begins, in nanoseconds since the epoch.
const BEGIN_NS: i64 = 1_700_000_000_000_000_000;

pub(super) struct Cluster {
    store: Store,
    dir: PathBuf,
    server: Server,
    now: Now,
    chance: Chance,
    index: u64,
    tallies: Tallies,
    /// Plans that were refused in part.
    pub(super) conflicts: u64,
    /// Ids of nodes that have not died, in order.
    alive: Vec<String>,
}

/// Chance from a seed. Ids rise, so that rows are appended to the store.
pub(super) struct Chance {
    state: u64,
    ids: u64,
}

impl Entropy for Chance {
    fn fill(&mut self, out: &mut [u8]) {
        self.ids += 1;
        let low = self.u64();
        let bytes = self.ids.to_be_bytes().into_iter().skip(2).chain(low.to_be_bytes());
        for (to, from) in out.iter_mut().zip(bytes.chain(self.ids.to_be_bytes())) {
            *to = from;
        }
    }

    /// SplitMix64.
    fn u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the directory.
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// Why a simulation ends early: a sentence.
pub(super) struct Fault(pub(super) String);

impl From<StoreError> for Fault {
    fn from(e: StoreError) -> Self {
        Self(format!("the simulated state: {e}"))
    }
}

impl Cluster {
    pub(super) fn new(seed: u64) -> Result<Self, Fault> {
        let mut own = [0; 16];
        crate::os::entropy::System::new().fill(&mut own);
        let dir = std::env::temp_dir().join(format!("vardo-simulate-{}", uuid::from_bytes(&own)));
        let options = Options { allocate: fs::allocate, sync: false, ..Options::default() };
        let store = Store::open(&dir, options)?;
        Ok(Self {
            store,
            dir,
            server: Server::new(server::Config {
                gc_interval_ns: u64::MAX,
                ..server::Config::default()
            }),
            now: Now { mono_ns: 1, wall_ns: BEGIN_NS },
            chance: Chance { state: seed, ids: 0 },
            index: 0,
            tallies: Tallies::new(),
            conflicts: 0,
            alive: Vec::new(),
        })
    }

    /// The first rows, the configuration and the nodes.
    pub(super) fn begin(
        &mut self,
        nodes: &[Node],
        config: SchedulerConfiguration,
        preempt: bool,
    ) -> Result<(), Fault> {
        let wall_ns = self.now.wall_ns;
        self.commit(&[(Command::Bootstrap { wall_ns }, None)])?;
        let snap = self.store.snap()?;
        self.server.lead(self.now, snap.reader())?;
        let mut stored = Rc::unwrap_or_clone(snap.reader().scheduler_config()?);
        drop(snap);
        stored.scheduler_algorithm = config.scheduler_algorithm;
        if preempt {
            stored.preemption_config = PreemptionConfig {
                batch_scheduler_enabled: true,
                service_scheduler_enabled: true,
                sys_batch_scheduler_enabled: true,
                system_scheduler_enabled: true,
            };
        }
        self.commit(&[(Command::SchedulerConfig { config: Box::new(stored), check: None }, None)])?;
        for part in nodes.chunks(REPORT_ALLOCS) {
            let register = |node: &Node| {
                let node = Box::new(node.clone());
                let (secret, evals) = (String::new(), Vec::new());
                (Command::NodeRegister { node, secret, wall_ns, evals }, None)
            };
            self.commit(&part.iter().map(register).collect::<Vec<_>>())?;
        }
        self.alive = nodes.iter().map(|n| n.id.clone()).collect();
        // Nodes are read once, before anything is timed.
        self.fleet().map(drop)
    }

    /// Registers a job with its evaluation.
    pub(super) fn submit(&mut self, mut job: Job) -> Result<(), Fault> {
        let wall_ns = self.now.wall_ns;
        job.submit_time = wall_ns;
        for policy in job.task_groups.iter_mut().filter_map(|g| g.scaling.as_mut()) {
            policy.id = uuid::new(&mut self.chance);
        }
        let eval = Evaluation {
            id: uuid::new(&mut self.chance),
            namespace: job.namespace.clone(),
            priority: job.priority,
            kind: job.kind.clone(),
            triggered_by: status::TRIGGER_JOB_REGISTER.to_owned(),
            job_id: job.id.clone(),
            status: status::EVAL_PENDING.to_owned(),
            create_time: wall_ns,
            modify_time: wall_ns,
            ..Evaluation::default()
        };
        let (job, eval) = (job.into(), Some(Box::new(eval)));
        self.commit(&[(Command::JobRegister { job, submission: None, eval, enforce: None }, None)])
    }

    /// Schedules and applies until nothing waits for anything but time.
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        loop {
            let mut out = Vec::new();
            let snap = self.store.snap()?;
            let mut more = true;
            while more && out.len() < TURN_EVALS && placements(&out) < TURN_ALLOCS {
                more = self.server.work(self.now, snap.reader(), &mut self.chance, &mut out)?;
            }
            drop(snap);
            if out.is_empty() && !more {
                return Ok(());
            }
            self.commit(&out)?;
        }
    }

    /// One turn: everything becomes one transaction, and the server learns of it.
    fn commit(&mut self, proposed: &[Proposed]) -> Result<(), Fault> {
        let (applied, touched) = self.write(proposed)?;
        self.index += applied.len() as u64;
        let snap = self.store.snap()?;
        self.server.touched(self.now, snap.reader(), &touched)?;
        let mut next = Vec::new();
        for ((command, eval), result) in proposed.iter().zip(&applied) {
            let Some(eval) = eval else { continue };
            if let Applied::Plan { refused, .. } = result {
                self.conflicts += u64::from(!refused.is_empty());
                if let Command::PlanApply { plan, .. } = command {
                    count(&mut self.tallies, plan, refused, snap.reader())?;
                }
            }
            let follow = self.server.plan_applied(
                eval,
                self.now,
                snap.reader(),
                &mut self.chance,
                result,
            )?;
            next.extend(follow.map(|command| (command, None)));
        }
        drop(snap);
        match next.is_empty() {
            true => Ok(()),
            false => self.commit(&next),
        }
    }

    fn write(&mut self, proposed: &[Proposed]) -> Result<(Vec<Applied>, Touched), StoreError> {
        let mut batch = self.store.batch()?;
        let mut applied = Vec::with_capacity(proposed.len());
        for (index, (command, _)) in (self.index + 1..).zip(proposed) {
            applied.push(batch.apply(index, command)?);
        }
        Ok((applied, batch.commit()?))
    }

    /// All nodes with what stands on them.
    pub(super) fn fleet(&mut self) -> Result<Fleet, Fault> {
        let snap = self.store.snap()?;
        Ok(self.server.fleet(snap.reader())?)
    }

    /// What plans did since the last call; what found no place stays.
    pub(super) fn take_tallies(&mut self) -> Tallies {
        let out = self.tallies.clone();
        for tally in self.tallies.values_mut() {
            let (unplaced, why) = (tally.unplaced, tally.why.take());
            *tally = Tally { unplaced, why, ..Tally::default() };
        }
        out
    }

    /// The nodes report that everything they were given runs well.
    pub(super) fn start_all(&mut self) -> Result<(), Fault> {
        let ids = self.allocs(|a| {
            a.client_status == status::CLIENT_PENDING && a.desired_status == status::DESIRED_RUN
        })?;
        let wall_ns = self.now.wall_ns;
        for part in ids.chunks(REPORT_ALLOCS) {
            let update = |(id, _, _): &(String, String, String)| AllocClientState {
                id: id.clone(),
                client_status: status::CLIENT_RUNNING.to_owned(),
                deployment_status: Some(AllocDeploymentStatus {
                    healthy: Some(true),
                    timestamp: Time(wall_ns),
                    ..AllocDeploymentStatus::default()
                }),
                ..AllocClientState::default()
            };
            let updates = part.iter().map(update).collect();
            let command = Command::AllocClientUpdate { updates, evals: Vec::new(), wall_ns };
            self.commit(&[(command, None)])?;
        }
        self.settle()
    }

    /// Some nodes fall silent. Their heartbeats are missed, and the clock runs on until nothing
    /// waits any more. Returns the ids of the dead.
    pub(super) fn kill(&mut self, count: u32) -> Result<Vec<String>, Fault> {
        let mut dead = Vec::new();
        for _ in 0..count {
            if self.alive.is_empty() {
                break;
            }
            let at = self.chance.u64() % self.alive.len() as u64;
            let id = self.alive.remove(usize::try_from(at).unwrap_or(0));
            // From now on it would have to be heard; the others are taken as heard.
            self.server.heartbeat(&id, self.now, &mut self.chance);
            dead.push(id);
        }
        let end = self.now.mono_ns + HORIZON_NS;
        loop {
            self.settle()?;
            let due = self.server.deadline(self.now).filter(|at| *at <= end);
            let Some(due) = due.filter(|at| *at > self.now.mono_ns) else { return Ok(dead) };
            let step = due - self.now.mono_ns;
            self.now.mono_ns = due;
            self.now.wall_ns += i64::try_from(step).unwrap_or(0);
        }
    }

    /// Every live allocation: its name, and the name of its node.
    pub(super) fn placements(&mut self) -> Result<Vec<(String, String)>, Fault> {
        let fleet = self.fleet()?;
        let live = self.allocs(|a| !crate::sched::fit::terminal(a))?;
        let on = |id: &str| fleet.position(id).map(|at| fleet.node(at).name.clone());
        let named = live.into_iter().map(|(_, node, name)| (name, on(&node).unwrap_or_default()));
        Ok(named.collect())
    }

    /// Id, node and name of the allocations for which `pick` holds.
    fn allocs(
        &self,
        pick: impl Fn(&Allocation) -> bool,
    ) -> Result<Vec<(String, String, String)>, Fault> {
        let snap = self.store.snap()?;
        let reader = snap.reader();
        let mut out = Vec::new();
        for pair in reader.scan(Table::Alloc, &[], None, false)? {
            let (key, _) = pair?;
            let id = key.try_into().map(keys::uuid_text).unwrap_or_default();
            let Some(a) = reader.alloc(&id)? else { continue };
            if pick(&a) {
                out.push((a.id, a.node_id, a.name));
            }
        }
        Ok(out)
    }
}

fn placements(out: &[Proposed]) -> usize {
    let plans = out.iter().filter_map(|(c, _)| match c {
        Command::PlanApply { plan, .. } => Some(plan.places.len() + plan.stops.len()),
        _ => None,
    });
    plans.sum()
}

/// Adds what a plan did, apart from the nodes that refused their part.
fn count(
    tallies: &mut Tallies,
    plan: &Plan,
    refused: &[String],
    reader: Reader<'_>,
) -> Result<(), StoreError> {
    let mut of = |namespace: &str, job: &str, group: &str, change: &dyn Fn(&mut Tally)| {
        let id = (namespace.to_owned(), job.to_owned(), group.to_owned());
        change(tallies.entry(id).or_default());
    };
    let mut fresh: BTreeMap<&str, u64> = BTreeMap::new();
    for p in plan.places.iter().filter(|p| !refused.contains(&p.alloc.node_id)) {
        *fresh.entry(&p.alloc.task_group).or_default() += u64::from(p.alloc.create_index == 0);
    }
    for (group, n) in fresh {
        of(&plan.namespace, &plan.job_id, group, &|t| t.placed += n);
    }
    for stop in plan.stops.iter().filter(|s| !refused.contains(&s.node_id)) {
        let Some(a) = reader.alloc(&stop.id)? else { continue };
        of(&a.namespace, &a.job_id, &a.task_group, &|t| {
            t.lost += u64::from(stop.client_status == status::CLIENT_LOST);
            t.unknown += u64::from(stop.client_status == status::CLIENT_UNKNOWN);
            t.evicted += u64::from(stop.desired_status == status::DESIRED_EVICT);
        });
    }
    for eval in plan.evals.iter().filter(|e| e.id == plan.eval_id) {
        for (group, n) in &eval.queued_allocations {
            of(&plan.namespace, &plan.job_id, group, &|t| {
                t.unplaced = *n;
                t.why = eval.failed_tg_allocs.get(group).cloned();
            });
        }
    }
    Ok(())
}
