//! A cluster of one: elected at once, a write in one transaction.

use super::disk::Disk;
use vardo::raft::{
    Body, Change, Config, Effects, Entry, EntryKind, HardState, Input, Members, Message, PeerId,
    Persist, Raft, Refusal, Role,
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

/// A disk and a server that leads alone, with a learner that has everything.
fn with_learner(config: Config) -> (Disk, Raft) {
    let mut disk = Disk::default();
    let mut raft = Raft::new(ME, disk.start(), config).unwrap();
    let learner = PeerId(8);
    let mut turn = |raft: &mut Raft, input: Input| {
        let mut out = step(raft, &disk, input);
        while !out.is_empty() {
            out = commit(raft, &mut disk, &out);
            out.send_free.clear();
            out.send_gated.clear();
        }
    };
    turn(&mut raft, Input::Bootstrap(Members::lone(ME, "a:1".into())));
    turn(&mut raft, Input::Change(Change::AddLearner(learner, "b:1".into()), None));
    let term = raft.term();
    turn(&mut raft, Input::Message(learner, Message { term, body: Body::AppendOk { matched: 3 } }));
    (disk, raft)
}

#[test]
fn what_was_counted_alone_is_told_only_when_it_is_durable() {
    let (mut disk, mut raft) = with_learner(Config::default());
    // In one turn: a write, which is committed with the open transaction, and another voter.
    let mut out = step(&mut raft, &disk, Input::Propose(vec![b"x"[..].into()]));
    let promote = Input::Change(Change::Promote(PeerId(8)), None);
    raft.step(Now { mono_ns: 5, wall_ns: 0 }, &disk, promote, &mut out);
    assert_eq!(out.proposals, [Ok(4..5), Ok(5..6)]);
    let told = |out: &Effects| {
        let of = |(_, m): &(PeerId, Message)| match m.body {
            Body::Append { commit, .. } | Body::Heartbeat { commit, .. } => Some(commit),
            _ => None,
        };
        out.send_free.iter().chain(&out.send_gated).filter_map(of).max()
    };
    assert_eq!(told(&out), Some(3), "the write may yet be lost");
    let next = commit(&mut raft, &mut disk, &out);
    assert_eq!(told(&next), Some(4));
}

#[test]
fn the_membership_of_what_is_applied_is_known_after_a_restart() {
    // More is committed than is applied in a turn.
    let (mut disk, mut raft) = with_learner(Config { apply_ahead: 1, ..Config::default() });
    let mut out = step(&mut raft, &disk, Input::Propose(vec![b"x"[..].into(), b"y"[..].into()]));
    let address = Input::Change(Change::Address(PeerId(8), "c:1".into()), None);
    raft.step(Now { mono_ns: 5, wall_ns: 0 }, &disk, address, &mut out);
    drop(commit(&mut raft, &mut disk, &out));
    assert_eq!((raft.commit_index(), disk.applied), (6, 4));
    let raft = Raft::new(ME, disk.start(), Config::default()).unwrap();
    assert!(raft.members_at(disk.applied).is_some(), "no snapshot could be sent");
}

/// R10: what follows in this log may be of another leader, and is not what was committed.
#[test]
fn a_message_commits_no_more_than_it_brings() {
    let mut disk = Disk::default();
    let other = PeerId(8);
    let member = |n: u64| vardo::raft::Member { address: format!("{n}:1"), voter: true };
    let members = Members([(ME, member(1)), (other, member(2))].into());
    let entry =
        |index, term, kind, payload: Vec<u8>| Entry { index, term, kind, payload: payload.into() };
    disk.write(&Persist {
        hard_state: Some(HardState { term: 2, vote: None }),
        entries: (1..=5).map(|n| entry(n, 2, EntryKind::Command, Vec::new())).collect(),
        members: Some(vardo::raft::forced_members(members)),
        ..Persist::default()
    });
    let mut raft = Raft::new(ME, disk.start(), Config::default()).unwrap();
    let mut told = |prev, commit, entries| {
        let body = Body::Append { prev, prev_term: 2, commit, entries };
        let out = step(&mut raft, &disk, Input::Message(other, Message { term: 3, body }));
        (raft.commit_index(), out.apply)
    };
    assert_eq!(told(2, 5, Vec::new()), (2, 1..3));
    let same = entry(3, 2, EntryKind::Command, Vec::new());
    assert_eq!(told(2, 5, vec![same]), (3, 3..4));
}
