//! What lasts, what is refused, what grows.

use std::os::unix::fs::{FileExt, PermissionsExt};

use vardo::command::Command;
use vardo::store::{LogBounds, LogEntry, Options, Store, StoreError, Table, crc32c};

use super::{Dir, FAST, WALL};

fn entry(index: u64, payload: &[u8]) -> LogEntry<'_> {
    LogEntry { index, term: index / 10 + 1, kind: 1, payload }
}

#[test]
fn committed_batches_survive_and_dropped_ones_do_not() {
    let dir = Dir::new();
    {
        let mut store = Store::open(dir.path(), Options::default()).expect("opens");
        let mut batch = store.batch().expect("batch");
        batch.append(&[entry(1, b"one"), entry(2, b"two")]).expect("appends");
        batch.hard_state(7, b"vote").expect("stores");
        batch.put_local(b"task/1", b"handle").expect("stores");
        batch.put_note("cluster", b"id").expect("stores");
        batch.apply(1, &Command::Bootstrap { wall_ns: WALL }).expect("applies");
        assert_eq!(batch.reader().index(), 1);
        let touched = batch.commit().expect("commits");
        assert_eq!(touched.index, 1);
        assert_ne!(touched.tables & Table::Namespace.bit(), 0);

        let mut batch = store.batch().expect("batch");
        batch.append(&[entry(3, b"three")]).expect("appends");
        batch.skip(2);
        drop(batch);
    }
    let mut store = Store::open(dir.path(), Options::default()).expect("opens again");
    {
        let snap = store.snap().expect("snap");
        let r = snap.reader();
        assert_eq!(r.index(), 1);
        assert_eq!(r.table_index(Table::Namespace), 1);
        assert_eq!(r.log_bounds().unwrap(), LogBounds { first: 1, last: 2, base_term: 0 });
        assert_eq!(r.log_entries(1, 1_000).unwrap(), [entry(1, b"one"), entry(2, b"two")]);
        assert_eq!(r.log_entries(1, 1).unwrap().len(), 1);
        assert_eq!(r.hard_state().unwrap(), (7, &b"vote"[..]));
        assert_eq!(r.local(b"task/1").unwrap(), Some(&b"handle"[..]));
        assert_eq!(r.note("cluster").unwrap(), Some(&b"id"[..]));
        assert_eq!(r.scheduler_config().unwrap().scheduler_algorithm, "binpack");
    }
    let mode = |p: &std::path::Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("data.mdb")), 0o600);
    let mut batch = store.batch().expect("batch");
    batch.del_local(b"task/1").expect("deletes");
    batch.commit().expect("commits");
    assert_eq!(store.snap().unwrap().reader().local_rows(b"").unwrap(), []);
}

/// What is held is seen by all that read, goes with the next commit, and is lost alone.
#[test]
fn a_batch_that_is_held_is_seen_before_it_lasts() {
    let dir = Dir::new();
    let applied = |store: &Store| store.snap().expect("snap").reader().applied();
    let mut store = Store::open(dir.path(), FAST).expect("opens");
    let hold = |store: &mut Store, index| {
        let mut batch = store.batch().expect("batch");
        batch.apply(index, &Command::Bootstrap { wall_ns: WALL }).expect("applies");
        assert_eq!(batch.hold().expect("holds").index, index);
        assert!(store.holds());
        assert_eq!(applied(store), index);
    };
    let mut batch = store.batch().expect("batch");
    batch.append(&[entry(1, b"one"), entry(2, b"two"), entry(3, b"three")]).expect("appends");
    batch.commit().expect("commits");
    // Ended without a commit.
    hold(&mut store, 1);
    drop(store);
    let mut store = Store::open(dir.path(), FAST).expect("opens again");
    assert_eq!(applied(&store), 0);
    assert_eq!(store.snap().unwrap().reader().log_bounds().unwrap().last, 3);
    // With the commit of the next batch, and by itself.
    hold(&mut store, 1);
    let mut batch = store.batch().expect("batch");
    batch.append(&[entry(4, b"four")]).expect("appends");
    assert_eq!(batch.reader().applied(), 1);
    batch.commit().expect("commits");
    assert!(!store.holds());
    hold(&mut store, 2);
    store.settle().expect("settles");
    assert!(!store.holds());
    drop(store);
    let mut store = Store::open(dir.path(), FAST).expect("opens again");
    assert_eq!(applied(&store), 2);
    // A batch behind it that fails takes it along; the sum of the rows is that of the disk then.
    hold(&mut store, 3);
    drop(store.batch().expect("batch"));
    store.fall_back().expect("reads");
    assert_eq!(applied(&store), 2);
    hold(&mut store, 3);
    // Whoever reads the state out has all of it.
    let mut scrub = store.begin_scrub().expect("begins");
    assert!(!store.holds());
    assert_eq!(store.scrub(&mut scrub, usize::MAX).expect("rows as written"), Some(true));
    drop(store);
    assert_eq!(applied(&Store::open(dir.path(), FAST).expect("opens again")), 3);
}

/// The power went before the first commit of all: there is a file, and nothing in it.
#[test]
fn a_store_that_was_half_made_is_begun_anew() {
    let dir = Dir::new();
    let data = dir.path().join("data.mdb");
    for len in [512, 4096, 16_384] {
        std::fs::write(&data, vec![0; len]).expect("a file");
        drop(Store::open(dir.path(), FAST).expect("opens"));
        std::fs::remove_file(dir.path().join("agent.lock")).expect("removed");
    }
    // One that was in use is never taken for such a one.
    std::fs::write(&data, vec![0; 5 << 20]).expect("a file");
    let refused = Store::open(dir.path(), FAST).err();
    assert!(matches!(refused, Some(StoreError::Damaged(_))), "{refused:?}");
}

#[test]
fn the_log_is_cut_at_both_ends() {
    let dir = Dir::new();
    let mut store = Store::open(dir.path(), FAST).expect("opens");
    let mut batch = store.batch().expect("batch");
    let payload = [b'x'; 500];
    let entries: Vec<_> = (1..=40).map(|i| entry(i, &payload)).collect();
    batch.append(&entries).expect("appends");
    batch.truncate_from(36).expect("truncates");
    batch.skip(30);
    // Not beyond what is applied.
    batch.compact_log(33).expect("compacts");
    let r = batch.reader();
    assert_eq!(r.log_bounds().unwrap(), LogBounds { first: 31, last: 35, base_term: 4 });
    assert_eq!(r.log_term(30).unwrap(), Some(4));
    assert_eq!(r.log_term(29).unwrap(), None);
    assert_eq!(r.log_term(0).unwrap(), Some(0));
    assert_eq!(r.log_entry(36).unwrap(), None);
    batch.append(&[entry(36, b"again")]).expect("appends");
    batch.skip(36);
    batch.compact_log(36).expect("compacts");
    assert_eq!(
        batch.reader().log_bounds().unwrap(),
        LogBounds { first: 37, last: 36, base_term: 4 }
    );
    batch.append(&[entry(37, b"next")]).expect("appends");
    batch.reset_log(100, 9).expect("resets");
    assert_eq!(
        batch.reader().log_bounds().unwrap(),
        LogBounds { first: 101, last: 100, base_term: 9 }
    );
}

#[test]
fn a_second_agent_is_told_who_holds_the_store() {
    let dir = Dir::new();
    let first = Store::open(dir.path(), FAST).expect("opens");
    match Store::open(dir.path(), FAST) {
        Err(StoreError::Locked { pid }) => assert_eq!(pid, std::process::id()),
        other => panic!("{:?}", other.err()),
    }
    drop(first);
    Store::open(dir.path(), FAST).expect("opens after the first has gone");
}

/// A store with some content, closed.
fn filled() -> Dir {
    let dir = Dir::new();
    let mut store = Store::open(dir.path(), FAST).expect("opens");
    let payload = vec![b'x'; 3_000];
    for i in 1..=50 {
        let mut batch = store.batch().expect("batch");
        batch.append(&[entry(i, &payload)]).expect("appends");
        batch.commit().expect("commits");
    }
    dir
}

#[test]
fn a_cut_file_is_refused() {
    for keep in [0, 5_000, 40_960, 80_000] {
        let dir = filled();
        let path = dir.path().join("data.mdb");
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("the file");
        file.set_len(keep).expect("cuts");
        // Children that other tests begin at this moment hold the lock until they run.
        let mut tries = 0..100;
        let opened = loop {
            match Store::open(dir.path(), FAST) {
                Err(StoreError::Locked { .. }) if tries.next().is_some() => {
                    std::thread::park_timeout(std::time::Duration::from_millis(10));
                }
                other => break other,
            }
        };
        match opened {
            Err(StoreError::Damaged(text)) => println!("{keep}: {text}"),
            other => panic!("{keep}: {:?}", other.err()),
        }
    }
    let dir = filled();
    std::fs::remove_file(dir.path().join("data.mdb")).expect("removes");
    assert!(matches!(Store::open(dir.path(), FAST), Err(StoreError::Damaged(_))));
}

#[test]
fn a_zeroed_meta_page_is_refused() {
    for page in [0, 1] {
        let dir = filled();
        let path = dir.path().join("data.mdb");
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("the file");
        file.write_all_at(&[0; 4096], page * 4096).expect("writes");
        match Store::open(dir.path(), FAST) {
            Err(StoreError::Damaged(text)) => {
                assert!(text.ends_with(&format!("meta page {page} is bad")), "{text}");
            }
            other => panic!("{:?}", other.err()),
        }
    }
}

#[test]
fn a_newer_format_is_refused() {
    let dir = filled();
    std::fs::write(dir.path().join("agent.lock"), "1\nformat 2\n").expect("writes");
    match Store::open(dir.path(), FAST) {
        Err(StoreError::Newer(format)) => assert_eq!(format, "format 2"),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_flipped_bit_of_the_log_is_seen() {
    let dir = filled();
    let path = dir.path().join("data.mdb");
    let mut bytes = std::fs::read(&path).expect("reads");
    let at = bytes.windows(3_000).rposition(|w| w.iter().all(|b| *b == b'x')).expect("a payload");
    bytes[at + 10] ^= 1;
    std::fs::write(&path, bytes).expect("writes");
    let store = Store::open(dir.path(), FAST).expect("opens");
    let snap = store.snap().expect("snap");
    let all = snap.reader().log_entries(1, usize::MAX);
    assert!(matches!(all, Err(StoreError::Damaged(_))), "{all:?}");
    assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
}

#[test]
fn a_full_map_takes_no_more_until_something_is_removed() {
    let dir = Dir::new();
    let options = Options { map_bytes: 4 << 20, sync: false, ..Options::default() };
    let mut store = Store::open(dir.path(), options).expect("opens");
    let payload = vec![b'x'; 64 << 10];
    let mut index = 0;
    let last = loop {
        let next = index + 1;
        let mut batch = store.batch().expect("batch");
        let done = batch
            .append(&[entry(next, &payload)])
            .and_then(|()| batch.put_local(b"n", &next.to_be_bytes()));
        match done.and_then(|()| batch.commit()) {
            Ok(_) => index = next,
            Err(e) => break e,
        }
        let bounds = store.snap().unwrap().reader().log_bounds().unwrap();
        assert_eq!(bounds.last, index, "nothing is half done");
    };
    assert!(matches!(last, StoreError::NoSpace), "{last}");
    assert!(index > 20, "{index}");
    assert!(store.used_bytes() <= 4 << 20);
    // Deletions still work and make room.
    let mut batch = store.batch().expect("batch");
    batch.truncate_from(2).expect("truncates");
    batch.commit().expect("commits");
    // Pages are free for others one transaction later.
    let mut batch = store.batch().expect("batch");
    batch.skip(1);
    batch.commit().expect("commits");
    let mut batch = store.batch().expect("batch");
    batch.append(&[entry(2, &payload)]).expect("appends");
    batch.commit().expect("commits");
}
