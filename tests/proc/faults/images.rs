//! What may lie on a disk when the power goes: F05.
//!
//! A server runs with a recorder before it (`record.c`), which writes down whatever is done to the
//! files of its store. From that, images are made of what a disk may hold at a moment: all that was
//! flushed, and of what was not any part: none, all, a beginning that is torn, single pages, single
//! sectors. Each is opened as a start would open it. What was acknowledged at that moment must be
//! there, and the state is that of the last commit or, where that one was under way, of the next.
//!
//! `FAULT_IMAGES=2500` for so many of them instead of some hundred.

#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vardo::store::{Store, Table, keys};

use super::super::agent::Agent;
use super::{held, preloaded, serves, skip};
use crate::sim::engine::rng::{Rng, fold};
use crate::store::{Dir, FAST};
use crate::support::http;
use serde_json::json;

const RECORDER: &str = include_str!("record.c");

const DATA: u64 = 1;
const LOCK: u64 = 2;
const PAGE: usize = 4096;
const SECTOR: usize = 512;
/// How many images by default.
const SOME: usize = 500;

/// What was done to a file.
#[derive(Debug)]
enum Kind {
    Write,
    /// On the disk when it returns.
    WriteThrough,
    /// The file gets this length, or at least this one.
    Length(usize),
    AtLeast(usize),
    Flush,
}

#[derive(Debug)]
struct Op {
    kind: Kind,
    file: u64,
    at: usize,
    bytes: Vec<u8>,
    /// Where its record ends in the trace.
    end: u64,
}

/// The ops of a trace that begins at `offset` of all traces; its last record may be cut.
fn read(path: &Path, offset: u64) -> Vec<Op> {
    let trace = fs::read(path).expect("a trace");
    let (mut rest, mut ops) = (&trace[..], Vec::new());
    while let Some((head, more)) = rest.split_first_chunk::<32>() {
        let word = |n: usize| u64::from_ne_bytes(head[n * 8..][..8].try_into().expect("eight"));
        let len = usize::try_from(word(3)).expect("a length");
        let kind = match word(0) {
            1 => Kind::Write,
            2 => Kind::WriteThrough,
            3 => Kind::Length(len),
            4 => Kind::AtLeast(len),
            _ => Kind::Flush,
        };
        let writes = matches!(kind, Kind::Write | Kind::WriteThrough);
        let Some((bytes, more)) = more.split_at_checked(if writes { len } else { 0 }) else {
            break;
        };
        rest = more;
        let at = usize::try_from(word(2)).expect("an offset");
        let end = offset + (trace.len() - rest.len()) as u64;
        ops.push(Op { kind, file: word(1), at, bytes: bytes.to_vec(), end });
    }
    ops
}

/// A file as it is in one place: on the disk, or in memory. Its end may be a hole.
#[derive(Clone, Default)]
struct Bytes {
    written: Vec<u8>,
    len: usize,
}

impl Bytes {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.written.resize(self.written.len().max(end), 0);
        self.written[at..end].copy_from_slice(bytes);
        self.len = self.len.max(end);
    }

    fn apply(&mut self, op: &Op) {
        match op.kind {
            Kind::Write | Kind::WriteThrough => self.put(op.at, &op.bytes),
            Kind::Length(len) => {
                self.written.truncate(len);
                self.len = len;
            }
            Kind::AtLeast(len) => self.len = self.len.max(len),
            Kind::Flush => {}
        }
    }

    fn store(&self, path: &Path) {
        fs::write(path, &self.written[..self.written.len().min(self.len)]).expect("written");
        let file = fs::OpenOptions::new().write(true).open(path).expect("a file");
        file.set_len(self.len as u64).expect("a length");
    }
}

/// What becomes of all that was not flushed.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lost,
    Kept,
    /// A beginning of it, the last piece torn in a sector's steps.
    Torn,
    Pages,
    Sectors,
}

/// A file, and what was done to it since it was flushed.
#[derive(Default)]
struct Disk<'t> {
    flushed: Bytes,
    pending: Vec<&'t Op>,
}

impl Disk<'_> {
    fn flush(&mut self) {
        for op in self.pending.drain(..) {
            self.flushed.apply(op);
        }
    }

    fn image(&self, fate: Fate, rng: &mut Rng) -> Bytes {
        let mut image = self.flushed.clone();
        let whole = match fate {
            Fate::Lost => 0,
            Fate::Kept => self.pending.len(),
            Fate::Torn => rng.index(self.pending.len()),
            Fate::Pages | Fate::Sectors => 0,
        };
        self.pending[..whole].iter().for_each(|op| image.apply(op));
        let rest = &self.pending[whole..];
        match fate {
            Fate::Lost | Fate::Kept => {}
            Fate::Torn => {
                if let Some(op) = rest.first() {
                    let most = op.bytes.len() / SECTOR;
                    image.put(op.at, &op.bytes[..rng.index(most + 1) * SECTOR]);
                }
            }
            Fate::Pages | Fate::Sectors => {
                let step = if matches!(fate, Fate::Pages) { PAGE } else { SECTOR };
                for op in rest {
                    match op.kind {
                        Kind::Write | Kind::WriteThrough => {}
                        _ if rng.coin() => image.apply(op),
                        _ => {}
                    }
                    // To the next boundary of the disk, not of the write.
                    let mut from = 0;
                    while from < op.bytes.len() {
                        let to = (step - (op.at + from) % step + from).min(op.bytes.len());
                        if rng.coin() {
                            image.put(op.at + from, &op.bytes[from..to]);
                        }
                        from = to;
                    }
                }
            }
        }
        image
    }
}

/// A variable that was written, and when: lengths of the trace.
#[derive(Debug)]
struct Written {
    path: String,
    acknowledged: u64,
    /// Removed by a request that was sent at the one and answered at the other.
    removed: Option<(u64, u64)>,
}

/// A server under load: what it did to its files, and what it acknowledged when.
struct Recording {
    agent: Agent,
    life: u32,
    /// Bytes of the traces of earlier lives.
    before: u64,
    ops: Vec<Op>,
    written: Vec<Written>,
}

impl Recording {
    fn trace(&self) -> PathBuf {
        self.agent.dir.join(format!("trace.{}", self.life))
    }

    fn start(&mut self) -> bool {
        let trace = self.trace().display().to_string();
        let started = preloaded(&mut self.agent, RECORDER, ("TRACE", &trace));
        if started {
            self.agent.until("a leader", serves);
        }
        started
    }

    /// Ends the server with nothing under way; what is written down is what the files hold.
    fn end(&mut self) {
        let (_, status) = self.agent.end("TERM");
        assert!(status.success(), "{status}: {}", self.agent.log());
        self.ops.extend(read(&self.trace(), self.before));
        self.before = self.now();
        self.life += 1;
        for (file, name) in [(DATA, "data.mdb"), (LOCK, "agent.lock")] {
            let mut model = Bytes::default();
            self.ops.iter().filter(|op| op.file == file).for_each(|op| model.apply(op));
            let real = fs::read(self.agent.dir.join("data/store").join(name)).expect("a file");
            model.written.resize(model.len, 0);
            assert!(model.written == real, "{name}: not all that was done to it was recorded");
        }
    }

    fn now(&self) -> u64 {
        self.before + fs::metadata(self.trace()).expect("a trace").len()
    }

    /// Writes variables from several connections, each `bytes` long.
    fn write(&mut self, prefix: &str, count: usize, bytes: usize) {
        let this = &*self;
        let value = "x".repeat(bytes);
        let new: Vec<Written> = std::thread::scope(|scope| {
            let writer = |w: usize| {
                let value = &value;
                scope.spawn(move || {
                    let one = |n: usize| {
                        let path = format!("{prefix}/{w}/{n}");
                        let items = json!({ "Items": { "k": value } });
                        let answer = this.agent.put(&format!("/v1/var/{path}"), &items);
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        Written { path, acknowledged: this.now(), removed: None }
                    };
                    (0..count / 3).map(one).collect::<Vec<_>>()
                })
            };
            let writers: Vec<_> = (0..3).map(writer).collect();
            writers.into_iter().flat_map(|w| w.join().expect("a writer")).collect()
        });
        self.written.extend(new);
    }

    /// Removes every other one of them.
    fn remove(&mut self, prefix: &str) {
        let mut written = std::mem::take(&mut self.written);
        for w in written.iter_mut().filter(|w| w.path.starts_with(prefix)).step_by(2) {
            let sent = self.now();
            assert_eq!(self.agent.delete(&format!("/v1/var/{}", w.path)).status, 204);
            w.removed = Some((sent, self.now()));
        }
        self.written = written;
    }

    /// Goes back to a state of before some writes.
    fn go_back(&mut self) {
        let address = format!("127.0.0.1:{}", self.agent.port);
        let path = "/v1/operator/snapshot";
        let saved = self.agent.get(path);
        assert_eq!(saved.status, 200);
        let kept = self.written.len();
        self.write("gone", 15, 900);
        let sent = self.now();
        let restored = http::send(&address, "PUT", path, &[], Some(&saved.body));
        assert_eq!(restored.expect("an answer").status, 200);
        let gone = Some((sent, self.now()));
        self.written[kept..].iter_mut().for_each(|w| w.removed = gone);
    }
}

/// What an opened store tells: hard state, log, state.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    hard: (u64, Vec<u8>),
    log: (u64, u64, u64),
    applied: u64,
    rows: u64,
}

/// Opens an image as a start does, and reads all of it.
fn opened(dir: &Path) -> Result<(Store, Told), String> {
    let mut store = Store::open(dir, FAST).map_err(|e| e.to_string())?;
    let told = {
        let snap = store.snap().map_err(|e| e.to_string())?;
        let reader = snap.reader();
        let (term, vote) = reader.hard_state().map_err(|e| e.to_string())?;
        let log = reader.log_bounds().map_err(|e| e.to_string())?;
        let entries = reader.log_entries(0, usize::MAX).map_err(|e| e.to_string())?;
        let indexes = entries.iter().map(|e| e.index);
        assert!(indexes.eq(log.first..=log.last), "a log with gaps");
        let mut rows = 0;
        for table in Table::ALL {
            for (key, value) in reader.raw(table).map_err(|e| e.to_string())? {
                let words = key.chunks(8).chain(value.chunks(8));
                rows = words.fold(fold(rows, table as u64), |sum, word| {
                    let mut padded = [0; 8];
                    padded[..word.len()].copy_from_slice(word);
                    fold(sum, u64::from_le_bytes(padded))
                });
            }
        }
        let hard = (term, vote.to_vec());
        let log = (log.first, log.last, log.base_term);
        Told { hard, log, applied: reader.applied(), rows }
    };
    let mut scrub = store.begin_scrub().map_err(|e| e.to_string())?;
    let whole = store.scrub(&mut scrub, usize::MAX).map_err(|e| e.to_string())?;
    assert_eq!(whole, Some(true), "rows that are not as they were written");
    Ok((store, told))
}

/// All that is known of a moment.
struct Images<'t> {
    data: Disk<'t>,
    /// Of the lock file, which is never flushed.
    lock: Vec<&'t Op>,
    written: &'t [Written],
    rng: Rng,
    dir: Dir,
    made: usize,
}

impl Images<'_> {
    /// Lays the files of an image into a directory.
    fn lay(&mut self, fate: Fate, at: &Path) {
        drop(fs::remove_dir_all(at));
        fs::create_dir_all(at).expect("a directory");
        let data = self.data.image(fate, &mut self.rng);
        if data.len > 0 || self.rng.coin() {
            data.store(&at.join("data.mdb"));
        }
        let known = match self.rng.index(4) {
            0 => return,
            1 => self.rng.index(self.lock.len() + 1),
            _ => self.lock.len(),
        };
        let mut lock = Bytes::default();
        self.lock[..known].iter().for_each(|op| lock.apply(op));
        lock.store(&at.join("agent.lock"));
    }

    /// What an image tells that was made of a moment.
    fn told(&mut self, fate: Fate, moment: u64) -> Told {
        let at = self.dir.path().join("image");
        self.lay(fate, &at);
        self.made += 1;
        let opened = opened(&at);
        let (store, told) = opened.unwrap_or_else(|why| panic!("{fate:?} at {moment}: {why}"));
        let snap = store.snap().expect("a view");
        for w in self.written {
            let key = keys::variable("default", &w.path);
            let there = snap.reader().has(Table::Variable, &key).expect("reads");
            match w.removed {
                Some((_, done)) if done <= moment => assert!(!there, "{fate:?} {moment}: {w:?}"),
                Some((sent, _)) if sent <= moment => {}
                _ if w.acknowledged <= moment => assert!(there, "{fate:?} {moment}: lost {w:?}"),
                _ => {}
            }
        }
        told
    }
}

const FATES: [Fate; 5] = [Fate::Lost, Fate::Kept, Fate::Torn, Fate::Pages, Fate::Sectors];

#[test]
fn f05_whatever_the_disk_kept_of_what_was_not_flushed_nothing_acknowledged_is_lost() {
    let more = json!({
        "server": { "enabled": true, "bootstrap_expect": 1, "raft_trailing_logs": 32 },
        "client": { "enabled": false },
    });
    let agent = Agent::prepare("f05", &more);
    let mut r = Recording { agent, life: 0, before: 0, ops: Vec::new(), written: Vec::new() };
    if !r.start() {
        return skip("cc");
    }
    r.write("first", 90, 300);
    r.remove("first");
    r.end();
    assert!(r.start());
    r.write("big", 60, 20_000);
    r.go_back();
    r.remove("big");
    r.write("last", 60, 300);
    r.end();

    let wanted = std::env::var("FAULT_IMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(SOME);
    let commits = r.ops.iter().filter(|op| matches!(op.kind, Kind::WriteThrough)).count();
    assert!(commits > 100, "{commits} commits were written through");
    let mut images = Images {
        data: Disk::default(),
        lock: Vec::new(),
        written: &r.written,
        rng: Rng::new(1, 0),
        dir: Dir::new(),
        made: 0,
    };
    // Of each moment that is looked at there are twelve: five before the flush, five before the
    // commit's own page is durable, what there was, and what there is then.
    let (moments, mut commit) = (wanted / 12, 0);
    let mut looks = false;
    let sample = images.dir.path().join("sample");
    let mut samples: Vec<(PathBuf, u64)> = Vec::new();
    for op in &r.ops {
        if op.file == LOCK {
            images.lock.push(op);
            continue;
        }
        let moment = op.end - 1;
        match op.kind {
            Kind::Flush => {
                looks = commit < 4
                    || (commit * moments) / commits != ((commit + 1) * moments) / commits;
                if looks {
                    let before = images.told(Fate::Lost, moment);
                    for fate in FATES {
                        let told = images.told(fate, moment);
                        assert_eq!(told, before, "{fate:?}");
                    }
                }
                images.data.flush();
            }
            Kind::WriteThrough => {
                commit += 1;
                let before = looks.then(|| images.told(Fate::Lost, moment));
                images.data.pending.push(op);
                let under_way: Vec<_> =
                    FATES.iter().filter(|_| looks).map(|f| images.told(*f, moment)).collect();
                if looks && samples.len() < 6 && commit * 6 / commits > samples.len() {
                    let at = sample.join(samples.len().to_string());
                    images.lay(Fate::Sectors, &at);
                    samples.push((at, moment));
                }
                // What is written through alone is durable; the rest of the file is not, if any.
                images.data.pending.pop();
                images.data.flushed.apply(op);
                if looks {
                    let after = images.told(Fate::Lost, op.end);
                    for told in under_way {
                        assert!(told == after || Some(&told) == before.as_ref(), "{op:?}");
                    }
                }
                looks = false;
            }
            _ => images.data.pending.push(op),
        }
    }
    println!("{} images of {commits} commits", images.made);
    assert!(images.made * 10 > wanted.min(commits * 12) * 9, "{} images", images.made);
    // Some of them with the whole program.
    let store = r.agent.dir.join("data/store");
    for (at, moment) in samples {
        fs::remove_dir_all(&store).expect("removed");
        fs::rename(&at, &store).expect("moved");
        r.agent.spawn();
        r.agent.until("a leader", serves);
        let held = held(&r.agent);
        for w in &r.written {
            let stays = w.removed.is_none_or(|(sent, _)| sent > moment);
            let must = stays && w.acknowledged <= moment;
            assert!(!must || held.contains(&w.path), "{moment}: lost {w:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
        r.agent.kill();
    }
}
