//! The real store beside the model of each disk: what the simulator's other seeds take for granted
//! of a disk is what LMDB does.
//!
//! Each simulated commit is a transaction of a store in a directory of its own. Writes of clients
//! are variables there. Where a server is killed, its files are copied as they lie at that moment,
//! also in the middle of a transaction, and opened as the next start would: log, hard state,
//! membership and every variable must be those of the model. A state for a server that is behind
//! is read out of the one store, staged in the other piece by piece, and put into force.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use vardo::api::Variable;
use vardo::command::{Applied, Command};
use vardo::raft::{Entry, EntryKind, LogRead};
use vardo::stdx::BTreeMap;
use vardo::stdx::json::Bytes;
use vardo::store::{Batch, Incoming, LogEntry, Reader, Store, StoreError, Table};

use super::engine::beside::{Beside, Turn};
use super::engine::disk::{Disk, Outcome};
use super::engine::kv::{self, Kind, Register};
use super::engine::plan::{Fault, MS, SECOND, Who};
use super::engine::{Plan, Sums, judge};
use crate::store::{Dir, FAST};

const NAMESPACE: &str = "default";
const MEMBERS: &str = "raft_members";
/// Of a state that comes, so much is staged in a transaction; of one that is over, so much is
/// swept away in one, bytes.
const PIECE: usize = 300;

/// Sum of the state after each entry: the same in every store.
type Marks = Rc<RefCell<BTreeMap<u64, u64>>>;

struct Real {
    dir: Dir,
    /// Grows with each kill: the directory within `dir`.
    life: u32,
    store: Option<Store>,
    marks: Marks,
}

impl Real {
    fn path(&self) -> PathBuf {
        self.dir.path().join(self.life.to_string())
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("it runs")
    }

    /// What comes before the transaction of a turn: the pieces of a state, each durable.
    fn stage(&mut self, turn: &Turn<'_>) -> Option<(vardo::store::State, u64)> {
        let state = turn.install?;
        let store = self.store();
        while store.is_dirty() {
            let mut batch = store.batch().expect("room");
            batch.sweep(PIECE).expect("sweeps");
            batch.commit().expect("commits");
        }
        let mut incoming = Incoming::default();
        for piece in state.image.chunks(PIECE) {
            incoming.feed(piece);
            let pairs = incoming.take().expect("what another store read out");
            let mut batch = store.batch().expect("room");
            batch.stage(&pairs).expect("stages");
            batch.commit().expect("commits");
        }
        let whole = incoming.state().expect("all of it came");
        assert_eq!(whole.index(), state.index, "the state that comes");
        Some((whole, state.term))
    }

    /// Nothing of a turn is on the disk: the numbers are still those of the model.
    fn same_numbers(&self, model: &Disk) {
        let snap = self.store.as_ref().expect("it runs").snap().expect("a view");
        numbers(snap.reader(), model);
    }
}

fn numbers(reader: Reader<'_>, model: &Disk) {
    let (term, vote) = reader.hard_state().expect("a hard state");
    let model_vote = model.hard.vote.map(|v| v.0.to_be_bytes().to_vec()).unwrap_or_default();
    assert_eq!((term, vote), (model.hard.term, model_vote.as_slice()), "hard state");
    let log = reader.log_bounds().expect("bounds");
    assert_eq!(
        (log.first, log.last, log.base_term),
        (model.base.0 + 1, model.last(), model.base.1),
        "bounds of the log"
    );
    assert_eq!(reader.applied(), model.applied, "applied");
}

fn register(reader: Reader<'_>, key: u32) -> Register {
    let found = reader.variable(NAMESPACE, &key.to_string()).expect("reads");
    found.map_or_else(Register::default, |v| Register {
        value: u64::try_from(v.modify_time).expect("the number of a write"),
        index: v.modify_index,
    })
}

/// The same as a command of the real state: the number of the write is its time.
fn command(c: kv::Command, payload: &[u8]) -> Command {
    let path = c.key.to_string();
    let check = if let Kind::Cas(index) = c.kind { Some(index) } else { None };
    match c.kind {
        Kind::Delete => {
            Command::VariableDelete { namespace: NAMESPACE.to_owned(), path, check: None }
        }
        Kind::Put | Kind::Cas(_) => Command::VariablePut {
            variable: Box::new(Variable {
                namespace: NAMESPACE.to_owned(),
                path,
                key_id: "key".to_owned(),
                data: Bytes(payload.to_vec()),
                ..Variable::default()
            }),
            check,
            wall_ns: i64::try_from(c.op).expect("a small number"),
        },
    }
}

fn row(e: &Entry) -> LogEntry<'_> {
    LogEntry { index: e.index, term: e.term, kind: e.kind as u8, payload: &e.payload }
}

/// What `agent/consensus.rs` puts into the transaction of a turn, in the same order.
fn write(
    batch: &mut Batch<'_>,
    turn: &Turn<'_>,
    state: Option<&(vardo::store::State, u64)>,
) -> Result<Vec<Outcome>, StoreError> {
    if let Some((state, term)) = state {
        batch.install(state, *term)?;
    }
    if let Some(p) = &turn.effects.persist {
        if let Some(h) = p.hard_state {
            let vote = h.vote.map(|v| v.0.to_be_bytes());
            batch.hard_state(h.term, vote.as_ref().map_or(&[], |v| v.as_slice()))?;
        }
        if let Some(from) = p.truncate_from {
            batch.truncate_from(from)?;
        }
        batch.append(&p.entries.iter().map(row).collect::<Vec<_>>())?;
        if let Some(members) = &p.members {
            batch.put_note(MEMBERS, members)?;
        }
    }
    let mut outcomes = Vec::new();
    for index in turn.effects.apply.clone() {
        let found = batch.reader().log_entry(index)?.expect("what is applied is stored");
        let (kind, payload) = (found.kind, found.payload.to_vec());
        match kv::Command::decode(&payload).filter(|_| kind == EntryKind::Command as u8) {
            Some(c) => {
                let done = match batch.apply(index, &command(c, &payload))? {
                    Applied::Done | Applied::Nothing => true,
                    Applied::Conflict(_) => false,
                    other => panic!("{other:?}"),
                };
                outcomes.push((index, done, register(batch.reader(), c.key)));
            }
            None => batch.skip(index),
        }
        batch.mark(index);
    }
    if let Some(upto) = turn.trim {
        batch.compact_log(upto)?;
    }
    Ok(outcomes)
}

impl Beside for Real {
    fn commit(&mut self, turn: &Turn<'_>, outcomes: &[Outcome], model: &Disk) {
        let state = self.stage(turn);
        let dirty = self.store().is_dirty() && state.is_none();
        let mut batch = self.store().batch().expect("room");
        if dirty {
            batch.sweep(PIECE).expect("sweeps");
        }
        let found = write(&mut batch, turn, state.as_ref()).expect("writes");
        assert_eq!(found, outcomes, "what became of the entries");
        let touched = if turn.hold { batch.hold() } else { batch.commit() };
        for (index, sum) in touched.expect("ends well").marks {
            let first = *self.marks.borrow_mut().entry(index).or_insert(sum);
            assert_eq!(first, sum, "sums of the state after entry {index} on two servers");
        }
        self.same_numbers(model);
    }

    fn settle(&mut self) {
        self.store().settle().expect("room");
    }

    fn lose(&mut self, turn: &Turn<'_>, model: &Disk) {
        let state = self.stage(turn);
        let mut batch = self.store().batch().expect("room");
        write(&mut batch, turn, state.as_ref()).expect("writes");
        drop(batch);
        self.store().fall_back().expect("reads");
        self.same_numbers(model);
    }

    fn kill(&mut self, turn: Option<&Turn<'_>>) {
        let old = self.path();
        self.life += 1;
        let new = self.path();
        let state = turn.and_then(|turn| self.stage(turn));
        let mut store = self.store.take().expect("it runs");
        let batch = turn.map(|turn| {
            let mut batch = store.batch().expect("room");
            write(&mut batch, turn, state.as_ref()).expect("writes");
            batch
        });
        std::fs::create_dir(&new).expect("a directory");
        for file in ["data.mdb", "agent.lock"] {
            std::fs::copy(old.join(file), new.join(file)).expect("copies");
        }
        drop(batch);
        drop(store);
        std::fs::remove_dir_all(&old).expect("removes");
    }

    fn start(&mut self, model: &Disk) {
        let mut store = Store::open(&self.path(), FAST).expect("opens");
        let snap = store.snap().expect("a view");
        let reader = snap.reader();
        numbers(reader, model);
        let log = reader.log_entries(0, usize::MAX).expect("sound entries");
        let entries = log.iter().map(|e| (e.index, e.term, e.kind, e.payload));
        let expected = model.rows.iter().map(|r| {
            let e = &r.entry;
            (e.index, e.term, e.kind as u8, &*e.payload)
        });
        assert!(entries.eq(expected), "entries of the log");
        let base = model.base.0;
        assert_eq!(reader.log_term(base).expect("reads"), model.term(base), "term before the log");
        let members = reader.note(MEMBERS).expect("reads").unwrap_or_default();
        assert_eq!(members, model.members, "membership");
        let registers = &model.kv.registers;
        for (key, expected) in registers {
            assert_eq!(register(reader, *key), *expected, "register {key}");
        }
        let rows = reader.raw(Table::Variable).expect("reads").len();
        assert_eq!(rows, registers.len(), "variables");
        drop(snap);
        let mut scrub = store.begin_scrub().expect("begins");
        let whole = store.scrub(&mut scrub, usize::MAX).expect("rows as they were written");
        assert_eq!(whole, Some(true));
        self.store = Some(store);
    }

    fn recover(&mut self, model: &Disk) {
        let mut store = Store::open(&self.path(), FAST).expect("opens");
        let mut batch = store.batch().expect("room");
        batch.hard_state(model.hard.term, &[]).expect("stores");
        batch.put_note(MEMBERS, &model.members).expect("stores");
        batch.commit().expect("commits");
    }

    fn export(&mut self) -> Vec<u8> {
        let store = self.store();
        let (mut out, id) =
            (Vec::new(), store.export(vardo::store::Extent::State).expect("a view"));
        while store.read_export(id, &mut out, PIECE).expect("reads") == Some(false) {}
        store.end_export(id);
        out
    }
}

/// How long the faults of a run last, seconds.
const SECONDS: u64 = 40;
const SEEDS: std::ops::RangeInclusive<u64> = 1..=32;

/// Every other seed cuts its logs at once and stops servers within commits all the time: whoever
/// was away needs a state, and stops again while it is staged.
fn plan(seed: u64) -> Plan {
    let mut plan = Plan::new(seed, SECONDS);
    if seed.is_multiple_of(2) {
        (plan.swarm.kept, plan.swarm.trimmed) = (0, 1);
        for (at, server) in (2..SECONDS).zip((0..plan.swarm.servers).cycle()) {
            let (who, kept, down) = (Who::Server(server), at % 5 == 0, 700 * MS);
            plan.faults.push((at * SECOND, Fault::CrashInCommit { who, kept, down }));
        }
    }
    plan
}

#[test]
fn the_store_on_the_disk_is_what_the_model_says() {
    let mut sums = Sums::default();
    for seed in SEEDS {
        let plan = plan(seed);
        let marks = Marks::default();
        let make = |_: usize| -> Box<dyn Beside> {
            Box::new(Real { dir: Dir::new(), life: 0, store: None, marks: marks.clone() })
        };
        let report = judge(&plan, false, Some(&make));
        if let Some(failure) = report.failure {
            panic!("seed {seed} of {SECONDS} s: {failure:?}");
        }
        // The store stands beside the run and does not change it: SIM_TRACE=1 with the same seed
        // and seconds tells what happened.
        assert_eq!(report.hash, judge(&plan, false, None).hash);
        sums.add(seed, report);
    }
    for what in [
        "crash after commit",
        "crash before a snapshot is in force",
        "crash in commit",
        "disk full",
        "log cut",
        "membership changed",
        "recovered by hand",
        "snapshot installed",
    ] {
        let n = sums.sometimes.get(what).copied().unwrap_or(0);
        assert!(n > 0, "never happened: {what}, {:?}", sums.sometimes);
    }
    assert!(sums.written > 1000, "{}", sums.written);
}
