//! A cluster of one: elected at once, a write in one transaction.

use super::disk::Disk;
use vardo::raft::{
    Config, Effects, EntryKind, HardState, Input, Members, PeerId, Raft, Refusal, Role,
};
use vardo::stdx::Now;

const ME: PeerId = PeerId(7);

fn step(raft: &mut Raft, disk: &Disk, input: Input) -> Effects {
    let mut out = Effects::default();
    raft.step(Now { mono_ns: 5, wall_ns: 0 }, disk, input, &mut out);
    out
}

/// One transaction with what a turn asks for.
fn commit(raft: &mut Raft, disk: &mut Disk, out: &Effects) -> Effects {
    let mut next = Effects::default();
    if let Some(p) = &out.persist {
        disk.write(p);
        let now = Now { mono_ns: 5, wall_ns: 0 };
        raft.step(now, disk, Input::Persisted(p.ticket), &mut next);
    }
    if !out.apply.is_empty() {
        let last = out.apply.end - 1;
        disk.applied = last;
        raft.step(Now { mono_ns: 5, wall_ns: 0 }, disk, Input::Applied(last), &mut next);
    }
    next
}

#[test]
fn a_lone_voter_elects_itself_and_commits_in_one_step() {
    let mut disk = Disk::default();
    let mut raft = Raft::new(ME, disk.start(), Config::default()).unwrap();
    assert_eq!(raft.deadline(), u64::MAX, "a server without a cluster waits");
    assert!(step(&mut raft, &disk, Input::Tick).is_empty());

    let out = step(&mut raft, &disk, Input::Bootstrap(Members::lone(ME, "a:1".into())));
    let p = out.persist.as_ref().unwrap();
    assert_eq!(p.hard_state, Some(HardState { term: 2, vote: Some(ME) }));
    let kinds: Vec<_> = p.entries.iter().map(|e| (e.index, e.term, e.kind)).collect();
    assert_eq!(kinds, [(1, 1, EntryKind::Members), (2, 2, EntryKind::Empty)]);
    assert_eq!((out.role, out.apply.clone()), (Some(Role::Leader), 1..3));
    assert!(!raft.is_ready());
    assert!(commit(&mut raft, &mut disk, &out).is_empty());
    assert!(raft.is_ready());
    assert_eq!(raft.deadline(), u64::MAX, "nobody to send heartbeats to");

    // Two proposals and a read meet in one turn: one transaction.
    let mut out = step(&mut raft, &disk, Input::Propose(vec![b"x"[..].into()]));
    let now = Now::default();
    raft.step(now, &disk, Input::Propose(vec![b"y"[..].into(), b"z"[..].into()]), &mut out);
    raft.step(now, &disk, Input::ReadIndex(1), &mut out);
    assert_eq!(out.proposals, [Ok(3..4), Ok(4..6)]);
    assert_eq!(out.apply, 3..6);
    assert_eq!(out.persist.as_ref().unwrap().entries.len(), 3);
    assert!(out.reads.is_empty(), "what the read must see is not applied yet");
    assert_eq!(commit(&mut raft, &mut disk, &out).reads, [(1, 5)]);

    let huge = vec![0; vardo::raft::ENTRY_BYTES_MAX + 1].into();
    assert_eq!(
        step(&mut raft, &disk, Input::Propose(vec![huge])).proposals,
        [Err(Refusal::TooLarge)]
    );
    assert!(matches!(
        step(&mut raft, &disk, Input::Transfer(None)).proposals[..],
        [Err(Refusal::Invalid(_))]
    ));

    // A second bootstrap is ignored; a restart needs no timer either.
    assert!(step(&mut raft, &disk, Input::Bootstrap(Members::lone(ME, "b:1".into()))).is_empty());
    let mut raft = Raft::new(ME, disk.start(), Config::default()).unwrap();
    assert_eq!(raft.deadline(), 0);
    let out = step(&mut raft, &disk, Input::Tick);
    assert_eq!((raft.role(), raft.term(), out.apply), (Role::Leader, 3, 6..7));
}

#[test]
fn a_store_that_contradicts_itself_is_refused() {
    let mut disk = Disk::default();
    let mut raft = Raft::new(ME, disk.start(), Config::default()).unwrap();
    let out = step(&mut raft, &disk, Input::Bootstrap(Members::lone(ME, "a:1".into())));
    drop(commit(&mut raft, &mut disk, &out));
    for damage in [
        |d: &mut Disk| d.hard = HardState::default(),
        |d: &mut Disk| d.members.clear(),
        |d: &mut Disk| d.applied = 99,
        |d: &mut Disk| d.hard.term = 1,
        |d: &mut Disk| d.members.truncate(9),
    ] {
        let mut disk = disk.clone();
        damage(&mut disk);
        assert!(Raft::new(ME, disk.start(), Config::default()).is_err());
    }
}
