//! The state in LMDB.
//!
//! One environment holds the log, the replicated tables, their list stubs and indexes, and the rows
//! of this node alone. A [`Snap`] reads, a [`Batch`] changes; a batch is one transaction, and
//! nothing outside of it moves before it commits, so a batch that fails is dropped and run again.
//! What a batch only made of the log on the disk may be seen before it is there itself: such a
//! batch is held, and the next one goes on with it ([`Batch::hold`]).
//!
//! Values are the JSON bytes that a GET returns, behind a small head (`rows`). Only this module
//! knows the storage library.

mod apply;
mod batch;
mod changes;
mod crc32c;
mod digest;
mod error;
mod grow;
mod install;
mod local;
mod log;
mod memo;
mod reader;
mod redact;
pub mod rows;
mod schema;
pub mod splice;
mod typed;
mod volumes;

pub use batch::{Batch, RoomMove, Touched};
pub use changes::{Change, ChangedRow};
pub use crc32c::crc32c;
pub use digest::Scrub;
pub use error::StoreError;
pub use install::{ARCHIVE_MARK, ExportId, Extent, Foreign, Incoming, Kept, State, pairs};
pub use local::Pair;
pub use log::{LogBounds, LogEntry};
pub use reader::{Created, Held, Listed, RawPair, Reader, Scan};
pub use redact::redacted;
pub use rows::{Row, RowHead};
pub use schema::{Table, keys};
pub use typed::{BOOTSTRAP, KEYRING, SCHEDULER};

use std::cell::{Cell, Ref, RefCell};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use heed::{Env, EnvFlags, EnvOpenOptions, RoTxn, RwTxn, WithoutTls};

use digest::Sums;
use install::{Export, Sets};
use memo::Memo;
use schema::{Dbs, Indexes, MAX_DBS, SETS};

/// Gives a file real blocks from one place to another, its new end; false where that fails.
pub type Allocate = fn(&File, u64, u64) -> bool;

/// How to open the store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How the file is lengthened. The default only sets its length, which leaves a full disk to
    /// be found out in the middle of a transaction.
    pub allocate: Allocate,
    /// Size of the map, in bytes: the store takes no more. Address space, not memory. Where there
    /// is less of that, it is smaller, down to 1 GiB.
    pub map_bytes: usize,
    /// False: commits are not flushed to the disk (simulator, throw-away data).
    pub sync: bool,
}

/// A map of this size is not tried smaller.
const LEAST_MAP_BYTES: usize = 1 << 30;

impl Default for Options {
    /// 64 GiB, or 1 GiB where addresses have 32 bits. A map that grew would have to end the reading
    /// of states that are being sent.
    fn default() -> Self {
        let map_bytes = usize::try_from(64u64 << 30).unwrap_or(1 << 30);
        let allocate: Allocate = |file, _, end| file.set_len(end).is_ok();
        Self { allocate, map_bytes, sync: true }
    }
}

/// The open environment. One process at a time.
pub struct Store {
    /// States that are being read out.
    exports: Vec<Export>,
    next_export: u64,
    /// The transaction of the last batch, where that was held.
    // Dropped before the environment that it borrows.
    held: RefCell<Option<RwTxn<'static>>>,
    // Dropped before the lock, so that no one else opens what is not yet closed.
    env: Arc<Env<WithoutTls>>,
    dbs: [Dbs; SETS],
    sets: Cell<Sets>,
    sums: Cell<Sums>,
    memo: Memo,
    data: File,
    /// Length of the data file as this process last set or saw it.
    len: u64,
    allocate: Allocate,
    _lock: File,
}

/// Readers in use at a time: this turn's snapshot, an export, some to spare.
const MAX_READERS: u32 = 16;
/// Layout of the whole store, in the lock file and in the `meta` database.
const FORMAT: &str = "format 1";
/// The same, and the second set of databases is in force: earlier programs must not open it, they
/// would see none of it.
const FORMAT_SECOND: &str = "format 2";
const FORMAT_KEY: &[u8] = b"format";

impl Store {
    /// Opens or creates the store in `dir` (created with mode 0700 where missing).
    ///
    /// # Errors
    /// [`StoreError::Locked`] where another process has it open, [`StoreError::Damaged`] where the
    /// files are not what they were, [`StoreError::Newer`] where a later program wrote them.
    pub fn open(dir: &Path, options: Options) -> Result<Self, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let (mut lock, fresh) = lock(dir)?;
        let data_path = dir.join("data.mdb");
        grow::check(&data_path, fresh)?;
        let mut map_bytes = grow::round(options.map_bytes);
        let env = loop {
            let mut open = EnvOpenOptions::new().read_txn_without_tls();
            open.map_size(map_bytes).max_dbs(MAX_DBS).max_readers(MAX_READERS);
            if !options.sync {
                set_no_sync(&mut open);
            }
            match open_env(&open, dir) {
                // A limit on the process's addresses may leave less.
                Err(StoreError::Io(_)) if map_bytes > LEAST_MAP_BYTES => map_bytes /= 4,
                opened => break Arc::new(opened?),
            }
        };
        let mut txn = env.write_txn()?;
        let dbs = [Dbs::open(&env, &mut txn, "")?, Dbs::open(&env, &mut txn, "2")?];
        let meta = dbs[0].meta;
        match meta.get(&txn, FORMAT_KEY)? {
            Some(f) if f == FORMAT.as_bytes() || f == FORMAT_SECOND.as_bytes() => {}
            Some(f) => {
                return Err(StoreError::Newer(String::from_utf8_lossy(f).into_owned()));
            }
            None => meta.put(&mut txn, FORMAT_KEY, FORMAT.as_bytes())?,
        }
        let sets = Sets::read(&dbs[0], &txn)?;
        let [active, other] = [sets.active, sets.other()].map(|at| dbs.get(at).unwrap_or(&dbs[0]));
        let sums = Sums::read((active, other), &txn, &read_indexes(active, &txn)?)?;
        let (sets, sums) = (Cell::new(sets), Cell::new(sums));
        txn.commit()?;
        if fresh {
            writeln!(lock, "{FORMAT}")?;
        }
        let data = OpenOptions::new().read(true).write(true).open(&data_path)?;
        let len = data.metadata()?.len();
        let allocate = options.allocate;
        let memo = Memo::default();
        Ok(Self {
            exports: Vec::new(),
            next_export: 0,
            held: RefCell::default(),
            env,
            dbs,
            sets,
            sums,
            memo,
            data,
            len,
            allocate,
            _lock: lock,
        })
    }

    /// The databases in force.
    fn dbs(&self) -> &Dbs {
        self.dbs.get(self.sets.get().active).unwrap_or(&self.dbs[0])
    }

    /// A view of what is committed or held now.
    pub fn snap(&self) -> Result<Snap<'_>, StoreError> {
        let view = match Ref::filter_map(self.held.borrow(), Option::as_ref) {
            Ok(held) => View::Held(held),
            Err(_) => View::Committed(self.env.read_txn()?),
        };
        let dbs = self.dbs();
        let indexes = read_indexes(dbs, view.txn())?;
        Ok(Snap { view, dbs, memo: &self.memo, indexes })
    }

    /// Makes durable what is held.
    ///
    /// # Errors
    /// Those of the disk; it is lost then, [`Self::fall_back`].
    pub fn settle(&mut self) -> Result<(), StoreError> {
        match self.held.take() {
            Some(txn) => Ok(txn.commit()?),
            None => Ok(()),
        }
    }

    /// Something is held: it is seen, and not durable.
    pub fn holds(&self) -> bool {
        self.held.borrow().is_some()
    }

    /// Takes up what is on the disk, after a batch failed: what was held before it is lost.
    ///
    /// # Errors
    /// Those of the store.
    pub fn fall_back(&mut self) -> Result<(), StoreError> {
        self.held.take();
        let txn = self.env.read_txn()?;
        let sets = Sets::read(&self.dbs[0], &txn)?;
        let [active, other] =
            [sets.active, sets.other()].map(|at| self.dbs.get(at).unwrap_or(&self.dbs[0]));
        self.sums.set(Sums::read((active, other), &txn, &read_indexes(active, &txn)?)?);
        self.sets.set(sets);
        Ok(())
    }

    /// A transaction that changes the store. No snapshot of the same store is alive meanwhile.
    pub fn batch(&mut self) -> Result<Batch<'_>, StoreError> {
        self.batch_that(false)
    }

    /// The same. One that `frees`, as it removes more than it adds, may take the last room of a
    /// full disk.
    pub fn batch_that(&mut self, frees: bool) -> Result<Batch<'_>, StoreError> {
        let info = self.env.info();
        let page = u64::from(self.env.stat().page_size);
        let used = (info.last_page_number as u64).saturating_add(1).saturating_mul(page);
        self.give_up_exports(used);
        match grow::keep_ahead(&self.data, self.len, used, frees, self.allocate) {
            Ok(len) => self.len = len,
            // Exports hold room back; there may be enough once it was looked for again.
            Err(e) if !self.exports.is_empty() => {
                self.exports.clear();
                return Err(e);
            }
            // What was removed made room inside of the file.
            Err(e) if used.saturating_sub(self.env.non_free_pages_size()?) < grow::FREE_MIN => {
                return Err(e);
            }
            Err(_) => {}
        }
        let txn = match self.held.take() {
            Some(held) => held,
            None => self.begin()?,
        };
        let indexes = read_indexes(self.dbs(), &txn)?;
        let other = self.dbs.get(self.sets.get().other()).unwrap_or(&self.dbs[0]);
        let known = (&self.sets, &self.sums, &self.held);
        Ok(Batch::new(txn, (self.dbs(), other), known, indexes))
    }

    #[expect(unsafe_code, reason = "a transaction that is held outlives the borrow of its store")]
    fn begin(&self) -> Result<RwTxn<'static>, StoreError> {
        let txn = self.env.write_txn()?;
        // SAFETY: it borrows the environment, which stays where it is in its `Arc` until the store
        // is dropped. It ends before that: `held` is dropped first, and a batch borrows the store.
        Ok(unsafe { std::mem::transmute::<RwTxn<'_>, RwTxn<'static>>(txn) })
    }

    /// Bytes of the data file that hold pages.
    pub fn used_bytes(&self) -> u64 {
        let page = u64::from(self.env.stat().page_size);
        (self.env.info().last_page_number as u64).saturating_add(1).saturating_mul(page)
    }
}

/// Takes the lock file. True: no store was ever completed here.
fn lock(dir: &Path) -> Result<(File, bool), StoreError> {
    let path = dir.join("agent.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let mut old = String::new();
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            file.read_to_string(&mut old)?;
            let pid = old.lines().next().and_then(|l| l.trim().parse().ok()).unwrap_or(0);
            return Err(StoreError::Locked { pid });
        }
        Err(std::fs::TryLockError::Error(e)) => return Err(e.into()),
    }
    file.read_to_string(&mut old)?;
    let format = old.lines().nth(1);
    if let Some(other) = format.filter(|f| *f != FORMAT) {
        return Err(StoreError::Newer(other.to_owned()));
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    if format.is_some() {
        writeln!(file, "{FORMAT}")?;
    }
    Ok((file, format.is_none()))
}

#[expect(unsafe_code, reason = "the storage library marks mapping a file as unsafe")]
fn open_env(
    options: &EnvOpenOptions<WithoutTls>,
    dir: &Path,
) -> Result<Env<WithoutTls>, StoreError> {
    // SAFETY: the lock file keeps other processes out, so the map is changed through it alone, and
    // `grow::check` has compared the file's length with what its meta pages refer to.
    Ok(unsafe { options.open(dir) }?)
}

#[expect(unsafe_code, reason = "the storage library marks all flags as unsafe")]
fn set_no_sync(options: &mut EnvOpenOptions<WithoutTls>) {
    // SAFETY: without flushes a crash of the machine may lose or damage the file; callers ask for
    // it where that does not matter. The memory of this process is not affected.
    unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC) };
}

fn read_indexes(dbs: &Dbs, txn: &RoTxn<'_>) -> Result<Indexes, StoreError> {
    match dbs.meta.get(txn, Indexes::KEY)? {
        None => Ok(Indexes::default()),
        Some(b) => Indexes::decode(b)
            .ok_or_else(|| StoreError::Damaged("table indexes are cut".to_owned())),
    }
}

/// A consistent view for reading. Cheap; alive for a turn at most.
pub struct Snap<'s> {
    view: View<'s>,
    dbs: &'s Dbs,
    memo: &'s Memo,
    indexes: Indexes,
}

/// What is seen: the last commit, or that and what is held.
enum View<'s> {
    Committed(RoTxn<'s, WithoutTls>),
    Held(Ref<'s, RwTxn<'static>>),
}

impl View<'_> {
    fn txn(&self) -> &RoTxn<'_> {
        match self {
            Self::Committed(txn) => txn,
            Self::Held(txn) => txn,
        }
    }
}

impl Snap<'_> {
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            txn: self.view.txn(),
            dbs: self.dbs,
            indexes: &self.indexes,
            memo: Some(self.memo),
        }
    }
}
