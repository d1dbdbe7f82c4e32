//! A whole state, taken over by a server that was too far behind.

use vardo::store::{State, Table};

use super::{World, id, job, node, register_node};

#[test]
fn a_state_is_taken_over_to_the_byte_or_not_at_all() {
    let mut from = World::with_node();
    from.register(&job("a"), 1);
    let bytes = from.read(|r| r.state().expect("a state"));
    let mut to = World::with_node();
    to.register(&job("b"), 2);
    to.run(&register_node(&node(7)));
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(State::read(&damaged).is_none(), "byte {at}");
        assert!(State::read(&bytes[..at]).is_none(), "cut at {at}");
    }
    let state = State::read(&bytes).expect("a whole state");
    assert_eq!(state.index(), from.index);
    let mut batch = to.store.batch().expect("a batch");
    batch.install(&state, 3).expect("installs");
    let touched = batch.commit().expect("commits");
    assert_ne!(touched.tables & Table::Job.bit(), 0);
    for table in Table::ALL {
        let raw = |w: &World| {
            w.read(|r| {
                let rows = r.raw(table).expect("rows");
                let own = rows.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec()));
                (own.collect::<Vec<_>>(), r.table_index(table))
            })
        };
        assert_eq!(raw(&to), raw(&from), "{}", table.name());
    }
    to.read(|r| {
        assert!(r.node(&id(b'd', 7)).expect("reads").is_none());
        let bounds = r.log_bounds().expect("bounds");
        assert_eq!((bounds.first, bounds.last), (from.index + 1, from.index));
        assert_eq!(r.log_term(from.index).expect("a term"), Some(3));
    });
    assert_eq!(to.read(|r| r.state().expect("a state")), bytes);
}
