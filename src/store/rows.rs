//! Rows: a small binary head and the JSON that a GET returns.
//!
//! The head holds what lists, watches and the scheduler filter on, so that they need not parse.

use super::schema::{id_at, u64_at};
use super::splice;
use crate::api::{Allocation, Deployment, Evaluation, Job, Node, status};
use crate::sched::fit::{self, Capacity};

/// Version of the head's layout; a row of another one is damaged (or newer than this program).
const FORMAT: u8 = 1;

/// What every row begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowHead {
    /// `CreateIndex`.
    pub create: u64,
    /// `ModifyIndex`.
    pub modify: u64,
    pub facts: Facts,
}

/// The part of a head that depends on the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facts {
    Plain,
    Job(JobHead),
    Node(NodeHead),
    Alloc(AllocHead),
    Eval(EvalHead),
    Deployment(DeploymentHead),
}

/// Of jobs, their versions and their stubs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobHead {
    pub version: u64,
    pub job_modify: u64,
    /// ns since the epoch.
    pub submit_time: i64,
    /// 0..=100, as stored.
    pub priority: u8,
    pub kind: JobKind,
    pub status: JobStatus,
    /// Status of the version when it was registered.
    pub registered: JobStatus,
    pub stop: bool,
    pub stable: bool,
    pub periodic: bool,
    /// Parameterised and not a dispatched child.
    pub parameterized: bool,
    pub dispatched: bool,
    /// Has a parent.
    pub child: bool,
    /// Versions: has a tag, so it is kept.
    pub tagged: bool,
    /// Versions: no longer listed, kept because allocations still run it.
    pub hidden: bool,
}

/// Of nodes and their stubs. What is left after reservations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeHead {
    /// MHz.
    pub cpu: u32,
    /// MB.
    pub memory: u32,
    /// MB.
    pub disk: u32,
    /// Most allocations at a time; 0: no limit.
    pub allocs: u32,
    pub status: NodeStatus,
    pub eligible: bool,
    pub draining: bool,
}

/// Of allocations and their stubs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocHead {
    pub job_version: u64,
    pub job_create: u64,
    /// `AllocModifyIndex`: the last change by a server.
    pub alloc_modify: u64,
    /// MHz.
    pub cpu: u32,
    /// MB.
    pub memory: u32,
    /// MB.
    pub disk: u32,
    /// Where `"Job":…,` belongs in the JSON.
    pub splice: u32,
    pub eval: [u8; 16],
    pub node: [u8; 16],
    /// Zeros: none.
    pub deployment: [u8; 16],
    pub kind: JobKind,
    pub desired: Desired,
    pub client: Client,
    /// Holds ports, cores or devices that no other allocation of the node may hold.
    pub exclusive: bool,
}

impl AllocHead {
    /// Stopped by the server, or finished on the node.
    pub fn terminal(&self) -> bool {
        self.desired != Desired::Run || self.client_terminal()
    }

    /// What it holds on its node.
    pub fn usage(&self) -> fit::Usage {
        fit::Usage {
            cpu: i64::from(self.cpu),
            memory: i64::from(self.memory),
            disk: i64::from(self.disk),
            allocs: 1,
        }
    }

    /// Finished on the node: holds no resources there.
    pub fn client_terminal(&self) -> bool {
        matches!(self.client, Client::Complete | Client::Failed | Client::Lost)
    }
}

/// Of evaluations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvalHead {
    /// ns since the epoch; 0: at once.
    pub wait_until: i64,
    pub priority: u8,
    pub kind: JobKind,
    pub status: EvalStatus,
}

/// Of deployments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeploymentHead {
    pub job_version: u64,
    pub job_create: u64,
    /// Neither successful, failed nor cancelled.
    pub active: bool,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($variant,)+
            /// Empty, or a word that this program does not know.
            #[default]
            Other,
        }

        impl $name {
            pub fn of(text: &str) -> Self {
                $(if text == $text { return Self::$variant; })+
                Self::Other
            }

            /// Empty for [`Self::Other`].
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other => "",
                }
            }

            fn from_byte(b: u8) -> Self {
                [$(Self::$variant,)+].get(usize::from(b)).copied().unwrap_or(Self::Other)
            }
        }
    };
}

words!(
    /// `Type` of jobs and evaluations.
    JobKind {
        Service = status::JOB_SERVICE,
        Batch = status::JOB_BATCH,
        System = status::JOB_SYSTEM,
        Sysbatch = status::JOB_SYSBATCH,
        Core = status::JOB_CORE,
    }
);
words!(
    JobStatus {
        Pending = status::JOB_PENDING,
        Running = status::JOB_RUNNING,
        Dead = status::JOB_DEAD,
    }
);
words!(
    NodeStatus {
        Initializing = status::NODE_INITIALIZING,
        Ready = status::NODE_READY,
        Down = status::NODE_DOWN,
        Disconnected = status::NODE_DISCONNECTED,
    }
);
words!(
    /// `DesiredStatus` of allocations.
    Desired {
        Run = status::DESIRED_RUN,
        Stop = status::DESIRED_STOP,
        Evict = status::DESIRED_EVICT,
    }
);
words!(
    /// `ClientStatus` of allocations.
    Client {
        Pending = status::CLIENT_PENDING,
        Running = status::CLIENT_RUNNING,
        Complete = status::CLIENT_COMPLETE,
        Failed = status::CLIENT_FAILED,
        Lost = status::CLIENT_LOST,
        Unknown = status::CLIENT_UNKNOWN,
    }
);
words!(
    EvalStatus {
        Blocked = status::EVAL_BLOCKED,
        Pending = status::EVAL_PENDING,
        Complete = status::EVAL_COMPLETE,
        Failed = status::EVAL_FAILED,
        Canceled = status::EVAL_CANCELED,
    }
);

impl EvalStatus {
    /// Nothing more will come of the evaluation.
    pub fn terminal(self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Canceled)
    }
}

/// Where `splice` is among the facts of an allocation.
const SPLICE: usize = 36;
// Layout: format, kind, two status bytes, flags (u32), create, modify, then the facts.
const BASE: usize = 24;
const PLAIN: u8 = 0;
const JOB: u8 = 1;
const NODE: u8 = 2;
const ALLOC: u8 = 3;
const EVAL: u8 = 4;
const DEPLOYMENT: u8 = 5;

fn facts_len(kind: u8) -> Option<usize> {
    match kind {
        PLAIN => Some(0),
        JOB => Some(26),
        NODE => Some(16),
        ALLOC => Some(89),
        EVAL => Some(10),
        DEPLOYMENT => Some(16),
        _ => None,
    }
}

impl RowHead {
    /// The head of a table without facts.
    pub fn plain(create: u64, modify: u64) -> Self {
        Self { create, modify, facts: Facts::Plain }
    }

    /// Reads the head at the front of a row; `None` where it is damaged. Never panics.
    pub fn decode(row: &[u8]) -> Option<Self> {
        Some(Self::split(row)?.0)
    }

    /// Head and JSON of a row.
    pub(super) fn split(row: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, a, b) = (*row.get(1)?, *row.get(2)?, *row.get(3)?);
        if row.first() != Some(&FORMAT) {
            return None;
        }
        let flags = u32_at(row, 4)?;
        let end = BASE + facts_len(kind)?;
        let (f, json) = (row.get(BASE..end)?, row.get(end..)?);
        let bit = |n: u32| flags & 1 << n != 0;
        let facts = match kind {
            JOB => Facts::Job(JobHead {
                version: u64_at(f, 0)?,
                job_modify: u64_at(f, 8)?,
                submit_time: u64_at(f, 16)?.cast_signed(),
                priority: *f.get(24)?,
                kind: JobKind::from_byte(*f.get(25)?),
                status: JobStatus::from_byte(a),
                registered: JobStatus::from_byte(b),
                stop: bit(0),
                stable: bit(1),
                periodic: bit(2),
                parameterized: bit(3),
                dispatched: bit(4),
                child: bit(5),
                tagged: bit(6),
                hidden: bit(7),
            }),
            NODE => Facts::Node(NodeHead {
                cpu: u32_at(f, 0)?,
                memory: u32_at(f, 4)?,
                disk: u32_at(f, 8)?,
                allocs: u32_at(f, 12)?,
                status: NodeStatus::from_byte(a),
                eligible: bit(0),
                draining: bit(1),
            }),
            ALLOC => Facts::Alloc(AllocHead {
                job_version: u64_at(f, 0)?,
                job_create: u64_at(f, 8)?,
                alloc_modify: u64_at(f, 16)?,
                cpu: u32_at(f, 24)?,
                memory: u32_at(f, 28)?,
                disk: u32_at(f, 32)?,
                splice: u32_at(f, 36)?,
                eval: id_at(f, 40)?,
                node: id_at(f, 56)?,
                deployment: id_at(f, 72)?,
                kind: JobKind::from_byte(*f.get(88)?),
                desired: Desired::from_byte(a),
                client: Client::from_byte(b),
                exclusive: bit(0),
            }),
            EVAL => Facts::Eval(EvalHead {
                wait_until: u64_at(f, 0)?.cast_signed(),
                priority: *f.get(8)?,
                kind: JobKind::from_byte(*f.get(9)?),
                status: EvalStatus::from_byte(a),
            }),
            DEPLOYMENT => Facts::Deployment(DeploymentHead {
                job_version: u64_at(f, 0)?,
                job_create: u64_at(f, 8)?,
                active: bit(0),
            }),
            _ => Facts::Plain,
        };
        Some((Self { create: u64_at(row, 8)?, modify: u64_at(row, 16)?, facts }, json))
    }

    /// Appends the stored form.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = 0u32;
        let mut flag = |n: u32, on: bool| flags |= u32::from(on) << n;
        let (kind, a, b) = match &self.facts {
            Facts::Plain => (PLAIN, 0, 0),
            Facts::Job(j) => {
                flag(0, j.stop);
                flag(1, j.stable);
                flag(2, j.periodic);
                flag(3, j.parameterized);
                flag(4, j.dispatched);
                flag(5, j.child);
                flag(6, j.tagged);
                flag(7, j.hidden);
                (JOB, j.status as u8, j.registered as u8)
            }
            Facts::Node(n) => {
                flag(0, n.eligible);
                flag(1, n.draining);
                (NODE, n.status as u8, 0)
            }
            Facts::Alloc(x) => {
                flag(0, x.exclusive);
                (ALLOC, x.desired as u8, x.client as u8)
            }
            Facts::Eval(e) => (EVAL, e.status as u8, 0),
            Facts::Deployment(d) => {
                flag(0, d.active);
                (DEPLOYMENT, 0, 0)
            }
        };
        out.extend_from_slice(&[FORMAT, kind, a, b]);
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&self.create.to_be_bytes());
        out.extend_from_slice(&self.modify.to_be_bytes());
        match &self.facts {
            Facts::Plain => {}
            Facts::Job(j) => {
                out.extend_from_slice(&j.version.to_be_bytes());
                out.extend_from_slice(&j.job_modify.to_be_bytes());
                out.extend_from_slice(&j.submit_time.to_be_bytes());
                out.extend_from_slice(&[j.priority, j.kind as u8]);
            }
            Facts::Node(n) => {
                for v in [n.cpu, n.memory, n.disk, n.allocs] {
                    out.extend_from_slice(&v.to_be_bytes());
                }
            }
            Facts::Alloc(x) => {
                for v in [x.job_version, x.job_create, x.alloc_modify] {
                    out.extend_from_slice(&v.to_be_bytes());
                }
                for v in [x.cpu, x.memory, x.disk, x.splice] {
                    out.extend_from_slice(&v.to_be_bytes());
                }
                for id in [&x.eval, &x.node, &x.deployment] {
                    out.extend_from_slice(id);
                }
                out.push(x.kind as u8);
            }
            Facts::Eval(e) => {
                out.extend_from_slice(&e.wait_until.to_be_bytes());
                out.extend_from_slice(&[e.priority, e.kind as u8]);
            }
            Facts::Deployment(d) => {
                out.extend_from_slice(&d.job_version.to_be_bytes());
                out.extend_from_slice(&d.job_create.to_be_bytes());
            }
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A row as it lies in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'t> {
    pub head: RowHead,
    /// What a GET returns. Allocations lack `Job` (see `Reader::alloc_json_with_job`).
    pub json: &'t [u8],
}

impl<'t> Row<'t> {
    /// `None` where the head is damaged.
    pub fn decode(bytes: &'t [u8]) -> Option<Self> {
        let (head, json) = RowHead::split(bytes)?;
        Some(Self { head, json })
    }

    /// `CreateIndex`.
    pub fn create(&self) -> u64 {
        self.head.create
    }

    /// `ModifyIndex`.
    pub fn modify(&self) -> u64 {
        self.head.modify
    }

    /// Facts of a job row; zeros for rows of other tables.
    pub fn job(&self) -> JobHead {
        if let Facts::Job(h) = self.head.facts { h } else { JobHead::default() }
    }

    /// Facts of a node row; zeros for rows of other tables.
    pub fn node(&self) -> NodeHead {
        if let Facts::Node(h) = self.head.facts { h } else { NodeHead::default() }
    }

    /// Facts of an allocation row; zeros for rows of other tables.
    pub fn alloc(&self) -> AllocHead {
        if let Facts::Alloc(h) = self.head.facts { h } else { AllocHead::default() }
    }

    /// Facts of an evaluation row; zeros for rows of other tables.
    pub fn eval(&self) -> EvalHead {
        if let Facts::Eval(h) = self.head.facts { h } else { EvalHead::default() }
    }

    /// Facts of a deployment row; zeros for rows of other tables.
    pub fn deployment(&self) -> DeploymentHead {
        if let Facts::Deployment(h) = self.head.facts { h } else { DeploymentHead::default() }
    }
}

/// What a head needs from an object. Allocations set `splice` when they are encoded.
pub(super) trait Head {
    fn head(&self) -> RowHead;
}

impl Head for Job {
    fn head(&self) -> RowHead {
        RowHead {
            create: self.create_index,
            modify: self.modify_index,
            facts: Facts::Job(JobHead {
                version: self.version,
                job_modify: self.job_modify_index,
                submit_time: self.submit_time,
                priority: small(self.priority),
                kind: JobKind::of(&self.kind),
                status: JobStatus::of(&self.status),
                registered: JobStatus::of(&self.status),
                stop: self.stop,
                stable: self.stable,
                periodic: self.periodic.is_some(),
                parameterized: self.parameterized_job.is_some() && !self.dispatched,
                dispatched: self.dispatched,
                child: !self.parent_id.is_empty(),
                tagged: self.version_tag.is_some(),
                hidden: false,
            }),
        }
    }
}

impl Head for Node {
    fn head(&self) -> RowHead {
        let has = Capacity::of(self);
        RowHead {
            create: self.create_index,
            modify: self.modify_index,
            facts: Facts::Node(NodeHead {
                cpu: mega(has.cpu),
                memory: mega(has.memory),
                disk: mega(has.disk),
                allocs: mega(has.allocs),
                status: NodeStatus::of(&self.status),
                eligible: self.scheduling_eligibility == status::NODE_ELIGIBLE,
                draining: self.drain_strategy.is_some(),
            }),
        }
    }
}

impl Head for Evaluation {
    fn head(&self) -> RowHead {
        RowHead {
            create: self.create_index,
            modify: self.modify_index,
            facts: Facts::Eval(EvalHead {
                wait_until: self.wait_until.0,
                priority: small(self.priority),
                kind: JobKind::of(&self.kind),
                status: EvalStatus::of(&self.status),
            }),
        }
    }
}

impl Head for Deployment {
    fn head(&self) -> RowHead {
        RowHead {
            create: self.create_index,
            modify: self.modify_index,
            facts: Facts::Deployment(DeploymentHead {
                job_version: self.job_version,
                job_create: self.job_create_index,
                active: self.is_active(),
            }),
        }
    }
}

/// The head of an allocation of a job of the given kind. What tasks need is counted as the
/// scheduler counts it: by phase of the lifecycle, the greatest phase.
pub(super) fn alloc_head(alloc: &Allocation, kind: JobKind, ids: [[u8; 16]; 3]) -> RowHead {
    let resources = alloc.allocated_resources.as_deref();
    let need = resources.map(fit::need).unwrap_or_default();
    RowHead {
        create: alloc.create_index,
        modify: alloc.modify_index,
        facts: Facts::Alloc(AllocHead {
            job_version: alloc.job_version,
            job_create: alloc.job_create_index,
            alloc_modify: alloc.alloc_modify_index,
            cpu: mega(need.cpu),
            memory: mega(need.memory),
            disk: mega(need.disk),
            splice: 0,
            eval: ids[0],
            node: ids[1],
            deployment: ids[2],
            kind,
            desired: Desired::of(&alloc.desired_status),
            client: Client::of(&alloc.client_status),
            exclusive: resources.is_some_and(fit::exclusive),
        }),
    }
}

/// Sets where `"Job":…,` belongs in an allocation's row that is encoded already.
pub(super) fn set_splice(row: &mut [u8]) -> Option<()> {
    let json = BASE + facts_len(ALLOC)?;
    let (at, _) = splice::place(row.get(json..)?, "Job")?;
    let at = u32::try_from(at).ok()?;
    row.get_mut(BASE + SPLICE..BASE + SPLICE + 4)?.copy_from_slice(&at.to_be_bytes());
    Some(())
}

fn small(n: i64) -> u8 {
    u8::try_from(n.clamp(0, 255)).unwrap_or(u8::MAX)
}

fn mega(n: i64) -> u32 {
    u32::try_from(n.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Vec<RowHead> {
        let job = Job {
            priority: 50,
            kind: "batch".into(),
            status: "running".into(),
            stop: true,
            version: 3,
            submit_time: -4,
            ..Job::default()
        };
        let node = Node { status: "ready".into(), ..Node::default() };
        let eval = Evaluation { status: "blocked".into(), priority: 7, ..Evaluation::default() };
        let deployment = Deployment { status: "paused".into(), ..Deployment::default() };
        let alloc = Allocation {
            desired_status: "run".into(),
            client_status: "lost".into(),
            job_version: 9,
            ..Allocation::default()
        };
        vec![
            RowHead::plain(1, 2),
            job.head(),
            node.head(),
            eval.head(),
            deployment.head(),
            alloc_head(&alloc, JobKind::System, [[1; 16], [2; 16], [3; 16]]),
        ]
    }

    #[test]
    fn heads_survive_storage() {
        for head in heads() {
            let mut row = Vec::new();
            head.encode(&mut row);
            let len = row.len();
            row.extend_from_slice(b"{}");
            assert_eq!(Row::decode(&row), Some(Row { head, json: b"{}" }));
            for cut in 0..len {
                assert_eq!(RowHead::decode(&row[..cut]), None);
            }
        }
    }

    #[test]
    fn foreign_bytes_are_no_head() {
        for row in [&b""[..], b"{}", &[2; 200], &[1, 9, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(RowHead::decode(row), None);
        }
    }
}
