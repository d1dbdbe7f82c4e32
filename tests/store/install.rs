//! A whole state, taken over by a server that was too far behind.

use vardo::command::Command;
use vardo::store::{Extent, Foreign, Incoming, Kept, LogEntry, State, Store, Table};

use super::{World, id, job, node, register_node};

/// Reads a state out in pieces of about `most` bytes.
fn read_out(store: &mut Store, most: usize) -> Vec<u8> {
    let export = store.export(Extent::State).expect("begins");
    let mut bytes = Vec::new();
    while !store.read_export(export, &mut bytes, most).expect("reads").expect("goes on") {}
    store.end_export(export);
    bytes
}

/// Stages what comes, `most` bytes at a time.
fn stage(to: &mut World, bytes: &[u8], most: usize) -> Option<State> {
    let mut incoming = Incoming::default();
    for piece in bytes.chunks(most) {
        incoming.feed(piece);
        let pairs = incoming.take().expect("sound");
        let mut batch = to.store.batch().expect("a batch");
        batch.stage(&pairs).expect("stages");
        batch.commit().expect("commits");
    }
    incoming.state()
}

fn sweep(store: &mut Store) -> usize {
    let mut steps = 0;
    while store.is_dirty() {
        let mut batch = store.batch().expect("a batch");
        batch.sweep(1000).expect("sweeps");
        batch.commit().expect("commits");
        steps += 1;
    }
    steps
}

type Rows = Vec<(Vec<Pair>, u64)>;
type Pair = (Vec<u8>, Vec<u8>);

fn rows(w: &World) -> Rows {
    let of = |table| {
        w.read(|r| {
            let rows = r.raw(table).expect("rows").into_iter();
            let own = rows.map(|(k, v)| (k.to_vec(), v.to_vec()));
            (own.collect(), r.table_index(table))
        })
    };
    Table::ALL.into_iter().map(of).collect()
}

#[test]
fn a_state_is_taken_over_to_the_byte_or_not_at_all() {
    let mut from = World::with_node();
    for n in 0..20 {
        from.register(&job(&format!("a{n}")), 1);
    }
    let bytes = read_out(&mut from.store, usize::MAX);
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let mut incoming = Incoming::default();
        incoming.feed(&damaged);
        let taken = incoming.take();
        assert!(taken.is_err() || incoming.state().is_none(), "byte {at}");
        let mut incoming = Incoming::default();
        incoming.feed(&bytes[..at]);
        incoming.take().expect("sound so far");
        assert_eq!(incoming.state(), None, "cut at {at}");
    }
    let mut incoming = Incoming::default();
    incoming.feed(&[&bytes[..], b"x"].concat());
    assert_eq!(incoming.take(), Err(Foreign), "more than a state");

    // Read out while the store goes on: what comes is the state as it was.
    let (before, index) = (rows(&from), from.index);
    let export = from.store.export(Extent::State).expect("begins");
    let mut pieces = Vec::new();
    while !from.store.read_export(export, &mut pieces, 300).expect("reads").expect("goes on") {
        from.register(&job(&format!("b{}", pieces.len())), 3);
    }
    from.store.end_export(export);
    assert_eq!(pieces, bytes);

    let mut to = World::with_node();
    to.register(&job("b"), 2);
    to.run(&register_node(&node(7)));
    let old = rows(&to);
    for round in 0..3 {
        // The first time it breaks off in the middle: the old state is in force.
        let cut = if round == 0 { bytes.len() / 2 } else { bytes.len() };
        let state = stage(&mut to, &bytes[..cut], 100);
        if round == 0 {
            assert_eq!((state, rows(&to) == old), (None, true));
            to.reopen();
            assert!(rows(&to) == old && to.store.is_dirty());
            assert!(sweep(&mut to.store) > 2);
            continue;
        }
        let state = state.expect("whole");
        assert_eq!(state.index(), index);
        let mut batch = to.store.batch().expect("a batch");
        batch.install(&state, 3).expect("installs");
        let touched = batch.commit().expect("commits");
        assert_ne!(touched.tables & Table::Job.bit(), 0);
        for _ in 0..2 {
            assert!(rows(&to) == before, "round {round}");
            to.read(|r| {
                assert!(r.node(&id(b'd', 7)).expect("reads").is_none());
                let bounds = r.log_bounds().expect("bounds");
                assert_eq!((bounds.first, bounds.last), (index + 1, index));
                assert_eq!(r.log_term(index).expect("a term"), Some(3));
            });
            to.reopen();
        }
        assert!(to.store.is_dirty());
        sweep(&mut to.store);
        assert!(rows(&to) == before);
        assert_eq!(read_out(&mut to.store, 500), bytes);
    }
}

/// A snapshot from elsewhere is kept, and an entry puts it into force: indexes go on behind all
/// that was ever told, the log behind the entry, and nothing is lost by a restart in between.
#[test]
fn an_entry_puts_what_is_kept_into_force() {
    let mut from = World::with_node();
    for n in 0..20 {
        from.register(&job(&format!("a{n}")), 1);
    }
    let (before, newest) = (rows(&from), from.index);
    let mut to = World::with_node();
    let export = from.store.export(Extent::Archive).expect("begins");
    let (mut bytes, mut incoming) = (Vec::new(), Incoming::of_archive());
    while !from.store.read_export(export, &mut bytes, 100).expect("reads").expect("goes on") {}
    for piece in bytes.chunks(70) {
        assert!(incoming.finish().is_err() || incoming.waiting() == 0);
        incoming.feed(piece);
        let mut batch = to.store.batch().expect("a batch");
        batch.stage(&incoming.take().expect("sound")).expect("stages");
        batch.commit().expect("commits");
    }
    assert_eq!(incoming.finish(), Ok(newest));
    let kept = Kept { id: [7; 16], term: 3 };
    let id = vardo::stdx::uuid::from_bytes(&kept.id);
    let restore = Command::Restore { id: id.clone(), newest };
    let encoded = vardo::stdx::json::encode_lean(&restore);
    assert_eq!(Command::restores(&encoded), Some(id));
    let old = rows(&to);
    let apply = |to: &mut World, restore: &Command| {
        let entry = to.read(|r| r.applied()) + 1;
        let mut batch = to.store.batch().expect("a batch");
        let payload = vardo::stdx::json::encode_lean(restore);
        let row = LogEntry { index: entry, term: 3, kind: 1, payload: &payload };
        batch.append(&[row]).expect("appends");
        batch.apply(entry, restore).and_then(|_| batch.commit())
    };
    // Not before it is kept; and a sweep ends that.
    assert!(apply(&mut to, &restore).is_err());
    let mut batch = to.store.batch().expect("a batch");
    batch.keep(kept).expect("keeps");
    batch.commit().expect("commits");
    to.reopen();
    assert_eq!((to.store.kept(), rows(&to) == old), (Some(kept), true));
    let touched = apply(&mut to, &restore).expect("restores");
    assert!(touched.replaced && touched.index > newest);
    for _ in 0..2 {
        to.read(|r| {
            let bounds = r.log_bounds().expect("bounds");
            assert_eq!((bounds.first, bounds.last), (r.applied() + 1, r.applied()));
            assert_eq!(r.index(), touched.index);
            assert_eq!(r.table_index(Table::Job), touched.index);
        });
        let own = rows(&to);
        assert!(own.iter().zip(&before).all(|((a, _), (b, _))| a == b));
        assert!(to.store.is_dirty() && to.store.kept().is_none());
        to.reopen();
    }
    let job = Command::Bootstrap { wall_ns: 1 };
    assert!(apply(&mut to, &job).expect("goes on").index > touched.index);
}
