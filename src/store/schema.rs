//! Tables, keys and secondary indexes.
//!
//! A key is what a list is ordered by: namespace, NUL, id for the objects of a namespace; 16 bytes
//! for objects with a UUID; the name alone for the rest. Secondary indexes share one database; the
//! first byte of a key tells which one it belongs to.

use std::borrow::Cow;

use heed::types::Bytes;
use heed::{Database, Env, RwTxn, WithoutTls};

use super::StoreError;
use crate::stdx::uuid;

/// The replicated tables. The order is part of the stored format (table indexes are an array).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    Job,
    JobVersion,
    JobSummary,
    JobSubmission,
    Node,
    Alloc,
    Eval,
    Deployment,
    Variable,
    Namespace,
    NodePool,
    /// Keys `scheduler`, `autopilot`, `keyring` and the like.
    Operator,
    Service,
    ScalingPolicy,
    Volume,
    Token,
    Policy,
    /// When periodic jobs were last launched: seconds since the epoch, by job.
    PeriodicLaunch,
    /// The last scaling events of jobs, by job.
    ScalingEvent,
    Role,
    /// Tokens that stand for another one once, by their secret.
    OneTimeToken,
    AuthMethod,
    BindingRule,
    /// Claims of groups on host volumes.
    VolumeClaim,
}

impl Table {
    pub const ALL: [Self; 24] = [
        Self::Job,
        Self::JobVersion,
        Self::JobSummary,
        Self::JobSubmission,
        Self::Node,
        Self::Alloc,
        Self::Eval,
        Self::Deployment,
        Self::Variable,
        Self::Namespace,
        Self::NodePool,
        Self::Operator,
        Self::Service,
        Self::ScalingPolicy,
        Self::Volume,
        Self::Token,
        Self::Policy,
        Self::PeriodicLaunch,
        Self::ScalingEvent,
        Self::Role,
        Self::OneTimeToken,
        Self::AuthMethod,
        Self::BindingRule,
        Self::VolumeClaim,
    ];

    /// The tables that rights depend on, as a mask of their bits.
    pub const ACL: u32 = Self::Token.bit() | Self::Policy.bit() | Self::Role.bit();

    /// The table's bit in masks of tables (watches, [`super::Touched`]).
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::JobVersion => "job_version",
            Self::JobSummary => "job_summary",
            Self::JobSubmission => "job_submission",
            Self::Node => "node",
            Self::Alloc => "alloc",
            Self::Eval => "eval",
            Self::Deployment => "deployment",
            Self::Variable => "variable",
            Self::Namespace => "namespace",
            Self::NodePool => "node_pool",
            Self::Operator => "operator",
            Self::Service => "service",
            Self::ScalingPolicy => "scaling_policy",
            Self::Volume => "volume",
            Self::Token => "token",
            Self::Policy => "policy",
            Self::PeriodicLaunch => "periodic_launch",
            Self::ScalingEvent => "scaling_event",
            Self::Role => "role",
            Self::OneTimeToken => "one_time_token",
            Self::AuthMethod => "auth_method",
            Self::BindingRule => "binding_rule",
            Self::VolumeClaim => "volume_claim",
        }
    }
}

pub(super) const TABLES: usize = Table::ALL.len();

/// A table of raw keys and values.
pub(super) type Db = Database<Bytes, Bytes>;

/// Every database of the environment.
pub(super) struct Dbs {
    tables: [Db; TABLES],
    job_stub: Db,
    node_stub: Db,
    pub(super) log: Db,
    pub(super) meta: Db,
    pub(super) ix: Db,
    pub(super) local: Db,
    pub(super) secret: Db,
}

/// How many named databases the environment may hold; some spare ones for later versions.
pub(super) const MAX_DBS: u32 = 96;
/// How often the databases of the replicated state exist: one set is in force.
pub(super) const SETS: usize = 2;

impl Dbs {
    /// Opens or creates one set. The names of what is replicated end with `set`; the log and what
    /// is of this server alone belong to every set.
    pub(super) fn open(
        env: &Env<WithoutTls>,
        txn: &mut RwTxn<'_>,
        set: &str,
    ) -> Result<Self, StoreError> {
        let mut db = |name: &str, set: &str| -> Result<Db, StoreError> {
            let name = format!("{name}{set}");
            Ok(env.create_database::<Bytes, Bytes>(txn, Some(&name))?)
        };
        let first = db(Table::Job.name(), set)?;
        let mut tables = [first; TABLES];
        for (slot, table) in tables.iter_mut().zip(Table::ALL) {
            *slot = db(table.name(), set)?;
        }
        Ok(Self {
            tables,
            job_stub: db("stub_job", set)?,
            node_stub: db("stub_node", set)?,
            log: db("log", "")?,
            meta: db("meta", "")?,
            ix: db("ix", set)?,
            local: db("local", "")?,
            secret: db("secret", set)?,
        })
    }

    pub(super) fn table(&self, table: Table) -> Db {
        self.tables[table as usize]
    }

    /// The list-stub rows of a table; `None` where lists print whole objects.
    pub(super) fn stub(&self, table: Table) -> Option<Db> {
        match table {
            Table::Job => Some(self.job_stub),
            Table::Node => Some(self.node_stub),
            _ => None,
        }
    }
}

/// Which index last moved each table, and which entry was last applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes {
    pub(super) applied: u64,
    /// How far indexes are ahead of the numbers of entries, since a state with higher ones was
    /// restored. Never falls.
    pub(super) ahead: u64,
    pub(super) tables: [u64; TABLES],
}

impl Indexes {
    /// Where it lies in the `meta` database.
    pub(super) const KEY: &'static [u8] = b"indexes";
    /// Stands before `ahead` behind the words of the tables, where it is not zero.
    const AHEAD: u8 = 1;

    /// The index of what was applied last.
    pub(super) fn index(&self) -> u64 {
        self.applied.saturating_add(self.ahead)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 * (TABLES + 1));
        out.extend_from_slice(&self.applied.to_be_bytes());
        for t in self.tables {
            out.extend_from_slice(&t.to_be_bytes());
        }
        if self.ahead != 0 {
            out.push(Self::AHEAD);
            out.extend_from_slice(&self.ahead.to_be_bytes());
        }
        out
    }

    /// Tables that the stored form does not know yet read as zero; `None` where it is cut.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, ahead) = match bytes.split_last_chunk::<9>() {
            Some((words, [Self::AHEAD, ahead @ ..])) if words.len() % 8 == 0 => {
                (words, u64::from_be_bytes(*ahead))
            }
            _ => (bytes, 0),
        };
        let mut words = bytes.chunks_exact(8);
        let mut out = Self { applied: u64_at(words.next()?, 0)?, ahead, ..Self::default() };
        for (slot, word) in out.tables.iter_mut().zip(words.by_ref()) {
            *slot = u64_at(word, 0)?;
        }
        words.remainder().is_empty().then_some(out)
    }

    /// The greatest index of the tables in `mask`.
    pub(super) fn newest(&self, mask: u32) -> u64 {
        Table::ALL
            .iter()
            .filter(|t| mask & t.bit() != 0)
            .map(|t| self.tables[*t as usize])
            .max()
            .unwrap_or(0)
    }
}

/// The big-endian number at an offset, where it is there.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The 16 bytes at an offset, where they are there.
pub(super) fn id_at(bytes: &[u8], at: usize) -> Option<[u8; 16]> {
    bytes.get(at..at.checked_add(16)?)?.try_into().ok()
}

/// Secondary indexes: the first byte of a key in the `ix` database.
pub(super) mod ix {
    use super::{Table, keys};

    /// table ‖ create index ‖ id → namespace. The order of lists.
    pub(crate) const CREATED: u8 = 1;
    /// job ‖ NUL ‖ terminal (0 or 1) ‖ id → nothing.
    pub(crate) const ALLOC_JOB: u8 = 2;
    /// node ‖ client-terminal (0 or 1) ‖ id → whether it is exclusive (0 or 1); and behind them
    /// node ‖ 2 → the sum of what those that are not terminal hold.
    pub(crate) const ALLOC_NODE: u8 = 3;
    /// job ‖ NUL ‖ terminal (0 or 1) ‖ id → nothing.
    pub(crate) const EVAL_JOB: u8 = 4;
    /// job ‖ NUL ‖ terminal (0 or 1) ‖ id → nothing.
    pub(crate) const DEPLOYMENT_JOB: u8 = 5;
    /// allocation ‖ row key → nothing.
    pub(crate) const SERVICE_ALLOC: u8 = 6;
    /// digest of a token's secret → key of its row.
    pub(crate) const TOKEN_SECRET: u8 = 7;

    pub(crate) fn created(table: Table, create: u64, id: &[u8]) -> Vec<u8> {
        let mut k = created_prefix(table);
        k.extend_from_slice(&create.to_be_bytes());
        k.extend_from_slice(id);
        k
    }

    pub(crate) fn created_prefix(table: Table) -> Vec<u8> {
        let mut k = Vec::with_capacity(26);
        k.extend_from_slice(&[CREATED, table as u8]);
        k
    }

    /// All entries of one job in an index by job.
    pub(crate) fn job_prefix(kind: u8, namespace: &str, job: &str) -> Vec<u8> {
        let mut k = Vec::with_capacity(namespace.len() + job.len() + 20);
        k.push(kind);
        keys::push_job(&mut k, namespace, job);
        k.push(0);
        k
    }

    pub(crate) fn by_job(
        kind: u8,
        namespace: &str,
        job: &str,
        terminal: bool,
        id: &[u8],
    ) -> Vec<u8> {
        let mut k = job_prefix(kind, namespace, job);
        k.push(u8::from(terminal));
        k.extend_from_slice(id);
        k
    }

    /// Where the token with a secret is found. Its digest stands for it, so that the time that a
    /// search takes says nothing of the secrets that are there.
    pub(crate) fn token_secret(secret: &str) -> Vec<u8> {
        [&[TOKEN_SECRET][..], &keys::secret(secret)].concat()
    }

    /// All registrations of one allocation.
    pub(crate) fn services_of(alloc: &[u8; 16]) -> Vec<u8> {
        [&[SERVICE_ALLOC][..], alloc].concat()
    }

    pub(crate) fn by_node(node: &[u8], terminal: bool, id: &[u8]) -> Vec<u8> {
        let mut k = node_prefix(node);
        k.push(u8::from(terminal));
        k.extend_from_slice(id);
        k
    }

    /// All entries of a node.
    pub(crate) fn node_prefix(node: &[u8]) -> Vec<u8> {
        let mut k = Vec::with_capacity(34);
        k.push(ALLOC_NODE);
        k.extend_from_slice(node);
        k
    }

    /// Where the sum of a node is.
    pub(crate) fn node_sum(node: &[u8]) -> Vec<u8> {
        let mut k = node_prefix(node);
        k.push(2);
        k
    }
}

/// Builders of row keys.
pub mod keys {
    use super::*;

    /// Longest text of namespace and id in a key; LMDB holds keys of 511 bytes at most, and index
    /// keys add up to 40 to these. What is longer is cut and ends in a hash of the whole.
    const MAX_TEXT: usize = 440;

    /// Jobs, summaries and other rows named by namespace and id.
    pub fn job(namespace: &str, id: &str) -> Vec<u8> {
        let mut k = Vec::with_capacity(namespace.len() + id.len() + 1);
        push_job(&mut k, namespace, id);
        k
    }

    /// The key of one version: ordered by `CreateIndex`, then version.
    pub fn job_version(namespace: &str, id: &str, create_index: u64, version: u64) -> Vec<u8> {
        let mut k = job_versions(namespace, id);
        k.extend_from_slice(&create_index.to_be_bytes());
        k.extend_from_slice(&version.to_be_bytes());
        k
    }

    /// What the keys of all versions (and submissions) of a job begin with.
    pub fn job_versions(namespace: &str, id: &str) -> Vec<u8> {
        let mut k = Vec::with_capacity(namespace.len() + id.len() + 18);
        push_job(&mut k, namespace, id);
        k.push(0);
        k
    }

    pub fn submission(namespace: &str, id: &str, version: u64) -> Vec<u8> {
        let mut k = job_versions(namespace, id);
        k.extend_from_slice(&version.to_be_bytes());
        k
    }

    /// A registration: ordered by namespace, service, id.
    pub fn service(namespace: &str, name: &str, id: &str) -> Vec<u8> {
        let mut k = services(namespace, name);
        let id = short(id, k.len());
        k.extend_from_slice(id.as_bytes());
        k
    }

    /// What the keys of all registrations of a service begin with; also what a watch on the
    /// service waits for.
    pub fn services(namespace: &str, name: &str) -> Vec<u8> {
        let mut k = job(namespace, name);
        k.push(0);
        k
    }

    pub fn variable(namespace: &str, path: &str) -> Vec<u8> {
        job(namespace, path)
    }

    /// What the keys of all rows of a namespace begin with.
    pub fn namespace(namespace: &str) -> Vec<u8> {
        job(namespace, "")
    }

    /// 16 bytes; `None` where the text is not a UUID (no such row can exist).
    pub fn by_uuid(id: &str) -> Option<[u8; 16]> {
        uuid::to_bytes(id)
    }

    /// The text of 16 bytes, in lower case.
    pub fn uuid_text(id: &[u8; 16]) -> String {
        uuid::from_bytes(id)
    }

    /// Rows with a name of their own: namespaces, pools, operator documents.
    pub fn name(name: &str) -> Vec<u8> {
        short(name, 0).as_bytes().to_vec()
    }

    /// A row that is found by a secret, which its key does not hold.
    pub fn secret(secret: &str) -> Vec<u8> {
        crate::stdx::blake2b::digest(secret.as_bytes()).to_vec()
    }

    /// Splits a key of namespace and id; `None` for keys of another form.
    pub fn split(key: &[u8]) -> Option<(&str, &str)> {
        let at = key.iter().position(|b| *b == 0)?;
        let namespace = std::str::from_utf8(key.get(..at)?).ok()?;
        Some((namespace, std::str::from_utf8(key.get(at + 1..)?).ok()?))
    }

    pub(crate) fn push_job(out: &mut Vec<u8>, namespace: &str, id: &str) {
        let namespace = short(namespace, MAX_TEXT / 2);
        out.extend_from_slice(namespace.as_bytes());
        out.push(0);
        out.extend_from_slice(short(id, namespace.len()).as_bytes());
    }

    /// Cuts text so that it fits beside `taken` bytes. The hash keeps two long ids apart; it is
    /// not meant to withstand someone who may write into the namespace anyway.
    fn short(text: &str, taken: usize) -> Cow<'_, str> {
        let room = MAX_TEXT.saturating_sub(taken);
        if text.len() <= room {
            return Cow::Borrowed(text);
        }
        let hash = text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |h, b| {
            (h ^ u128::from(b)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        });
        let mut cut = room.saturating_sub(33);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        Cow::Owned(format!("{}~{hash:032x}", &text[..cut]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_become_bytes_and_back() {
        let id = "00e0fbf7-5a4d-1696-7398-b2e6a0ea7777";
        let bytes = keys::by_uuid(id).unwrap();
        assert_eq!(keys::uuid_text(&bytes), id);
        for bad in ["", "00e0fbf7", "00e0fbf7-5a4d-1696-7398-b2e6a0ea777g", &id.replace('-', "_")] {
            assert_eq!(keys::by_uuid(bad), None);
        }
    }

    #[test]
    fn keys_stay_within_what_the_store_holds() {
        let long = "\u{e9}".repeat(4_000);
        let other = format!("{long}x");
        for (ns, id) in [("default", long.as_str()), (&long, &long), (&long, "a")] {
            assert!(ix::by_job(ix::ALLOC_JOB, ns, id, true, &[0; 16]).len() <= 511);
            assert!(keys::job_version(ns, id, 1, 1).len() <= 511);
        }
        assert_ne!(keys::job("default", &long), keys::job("default", &other));
        assert_eq!(keys::split(&keys::job("a", "b/c")), Some(("a", "b/c")));
    }

    #[test]
    fn table_indexes_survive_storage() {
        let mut i = Indexes { applied: 7, ..Indexes::default() };
        i.tables[Table::Node as usize] = 5;
        assert_eq!(Indexes::decode(&i.encode()), Some(i.clone()));
        assert_eq!(i.newest(Table::Node.bit() | Table::Job.bit()), 5);
        assert_eq!(Indexes::decode(b"cut"), None);
        assert_eq!(Indexes::decode(&i.encode()[..16]).unwrap().applied, 7);
        let ahead = Indexes { ahead: 1 << 60, ..i };
        assert_eq!(Indexes::decode(&ahead.encode()), Some(ahead));
    }
}
