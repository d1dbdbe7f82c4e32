//! The queue of evaluations that wait for the scheduler, on the leader, in memory.
//!
//! Only what orders an evaluation is held, not the evaluation: the one who takes it reads it from
//! the store, as it is by then. Each job has at most one evaluation ready or outstanding; the
//! others wait behind it.

use crate::stdx::ordered::Entry;
use std::cmp::Reverse;
use std::rc::Rc;

use super::workers::KINDS;
use crate::api::{Evaluation, status};
use crate::stdx::json::Time;
use crate::stdx::meter::Span;
use crate::stdx::{BTreeMap, BTreeSet, Now};

const SECOND: u64 = 1_000_000_000;
/// An evaluation that is not answered for this long is given out again, in nanoseconds.
pub const NACK_TIMEOUT_NS: u64 = 60 * SECOND;
/// Wait before an evaluation that was given back once is tried again, in nanoseconds.
const FIRST_RETRY_NS: u64 = SECOND;
/// The same for later times, multiplied by one less than the number of deliveries.
const LATER_RETRY_NS: u64 = 20 * SECOND;
/// So many tries; then the evaluation fails.
pub const DELIVERY_LIMIT: u32 = 3;
/// A failed evaluation is followed by another after this, in nanoseconds, and a random share of
/// [`FOLLOW_UP_SPREAD_NS`] more.
const FOLLOW_UP_NS: i64 = 60 * SECOND.cast_signed();
const FOLLOW_UP_SPREAD_NS: u64 = 300 * SECOND;

type JobKey = (Rc<str>, Rc<str>);
/// Ready evaluations: highest priority first, then oldest. The number breaks ties by arrival.
type Rank = (Reverse<i64>, u64, u64);

/// An evaluation that was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Id of the evaluation.
    pub id: Rc<str>,
    pub namespace: Rc<str>,
    pub job_id: Rc<str>,
    /// To be shown with the answer; void once the time is up.
    pub token: u64,
}

/// How many evaluations are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub ready: usize,
    pub unacked: usize,
    /// Behind another one of their job.
    pub pending: usize,
    /// Until their time comes.
    pub waiting: usize,
}

#[derive(Debug)]
enum State {
    Ready,
    /// Behind another one of its job.
    Pending,
    /// Until a moment of the wall clock, in nanoseconds.
    Delayed(i64),
    /// Until a moment of the monotonic clock, after it was given back.
    Retry(u64),
    /// Given out, until `deadline`. `again`: changed meanwhile, so that another run is due.
    Out {
        token: u64,
        deadline: u64,
        again: bool,
    },
}

#[derive(Debug)]
struct Held {
    job: JobKey,
    rank: Rank,
    deliveries: u32,
    /// Of the job's type in [`KINDS`].
    kind: u8,
    state: State,
    /// When it was queued, and when it became ready or was given out; monotonic nanoseconds.
    came_ns: u64,
    since_ns: u64,
}

/// How long evaluations took, in nanoseconds, since that was asked last.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// From ready to given out.
    pub wait: Span,
    /// From given out to answered.
    pub process: Span,
    /// From queued to done.
    pub response: Span,
}

/// Invariant: `ready`, `delayed` and `timers` hold exactly the ids of the states of their name.
#[derive(Debug, Default)]
pub struct Broker {
    held: BTreeMap<Rc<str>, Held>,
    /// For each type of job.
    ready: [BTreeMap<Rank, Rc<str>>; KINDS.len()],
    delayed: BTreeSet<(i64, Rc<str>)>,
    /// Ends of `Retry` and `Out`.
    timers: BTreeSet<(u64, Rc<str>)>,
    jobs: BTreeMap<JobKey, Slot>,
    failed: Vec<Rc<str>>,
    arrivals: u64,
    tokens: u64,
    paused: bool,
    /// A bit for each type of job of which none is given out.
    left: u8,
    pub(super) times: Times,
}

/// A job's turn: whose it is, and who waits.
#[derive(Debug)]
struct Slot {
    turn: Rc<str>,
    pending: BTreeSet<(i64, u64, Rc<str>)>,
}

impl Broker {
    pub fn new() -> Self {
        Self::default()
    }

    /// While paused, evaluations are taken in, but none is given out.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Of types of jobs whose bit is set (by their place in [`KINDS`]) none is given out.
    pub fn leave(&mut self, left: u8) {
        self.left = left;
    }

    /// Takes in an evaluation that is pending in the store, or blocked and now worth another try.
    /// One that is known already is not queued twice; one that is given out runs again afterwards.
    pub fn enqueue(&mut self, eval: &Evaluation, now: Now) {
        if let Some(held) = self.held.get_mut(eval.id.as_str()) {
            if let State::Out { again, .. } = &mut held.state {
                *again = true;
            }
            return;
        }
        let id: Rc<str> = eval.id.as_str().into();
        self.arrivals += 1;
        let held = Held {
            job: (eval.namespace.as_str().into(), eval.job_id.as_str().into()),
            rank: (Reverse(eval.priority), eval.create_index, self.arrivals),
            deliveries: 0,
            kind: KINDS.iter().position(|k| *k == eval.kind).unwrap_or(0) as u8,
            state: State::Pending,
            came_ns: now.mono_ns,
            since_ns: now.mono_ns,
        };
        self.held.insert(id.clone(), held);
        if eval.wait_until.0 > now.wall_ns {
            self.delayed.insert((eval.wait_until.0, id.clone()));
            self.set(&id, State::Delayed(eval.wait_until.0));
        } else {
            self.line_up(&id, now.mono_ns);
        }
    }

    /// Forgets an evaluation that ended in the store, unless it is given out right now.
    pub fn remove(&mut self, id: &str, now: Now) {
        if self.held.get(id).is_some_and(|h| !matches!(h.state, State::Out { .. })) {
            self.forget(id, now.mono_ns);
        }
    }

    /// The evaluation whose turn it is.
    pub fn dequeue(&mut self, now: Now) -> Option<Lease> {
        self.tick(now);
        let (_, kind) = self.next()?;
        let (_, id) = self.ready.get_mut(kind)?.pop_first()?;
        self.tokens += 1;
        let token = self.tokens;
        let deadline = now.mono_ns.saturating_add(NACK_TIMEOUT_NS);
        self.timers.insert((deadline, id.clone()));
        let held = self.held.get_mut(&id)?;
        held.deliveries += 1;
        let waited = now.mono_ns.saturating_sub(held.since_ns);
        held.since_ns = now.mono_ns;
        self.times.wait.note(waited as f64, 1);
        held.state = State::Out { token, deadline, again: false };
        let (namespace, job_id) = held.job.clone();
        Some(Lease { id, namespace, job_id, token })
    }

    /// True where [`Self::dequeue`] would give something out.
    pub fn has_ready(&self) -> bool {
        self.next().is_some()
    }

    /// The first that may be given out, and in which queue it is.
    fn next(&self) -> Option<(Rank, usize)> {
        let given = |at: &usize| !self.paused && self.left >> at & 1 == 0;
        let firsts = self.ready.iter().enumerate().map(|(at, q)| (q.first_key_value(), at));
        let firsts = firsts.filter(|(_, at)| given(at));
        firsts.filter_map(|(first, at)| Some((*first?.0, at))).min()
    }

    /// Done. The best of those behind it is next; the others are superfluous: their ids are
    /// returned, to be stored as [`canceled`]. False answers (a lease that ran out) do nothing.
    pub fn ack(&mut self, lease: &Lease, now: Now) -> Vec<Rc<str>> {
        let Some(again) = self.out(lease) else { return Vec::new() };
        self.answered(&lease.id, true, now);
        if again {
            self.stop_timer(&lease.id);
            if let Some(held) = self.held.get_mut(&lease.id) {
                held.deliveries = 0;
            }
            self.make_ready(&lease.id, now.mono_ns);
            return Vec::new();
        }
        let job = (lease.namespace.clone(), lease.job_id.clone());
        self.forget(&lease.id, now.mono_ns);
        let rest = self.jobs.get_mut(&job).map(|s| std::mem::take(&mut s.pending));
        rest.into_iter()
            .flatten()
            .map(|(_, _, id)| id)
            .inspect(|id| drop(self.held.remove(id)))
            .collect()
    }

    /// Given back: it is tried again later, or fails for good ([`Self::take_failed`]).
    pub fn nack(&mut self, lease: &Lease, now: Now) {
        if self.out(lease).is_some() {
            self.answered(&lease.id, false, now);
            self.give_back(&lease.id, now.mono_ns);
        }
    }

    /// Starts the time-out of a lease anew, while its plan waits to be committed.
    pub fn extend(&mut self, lease: &Lease, now: Now) {
        if self.out(lease).is_none() {
            return;
        }
        self.stop_timer(&lease.id);
        let until = now.mono_ns.saturating_add(NACK_TIMEOUT_NS);
        self.timers.insert((until, lease.id.clone()));
        if let Some(Held { state: State::Out { deadline, .. }, .. }) = self.held.get_mut(&lease.id)
        {
            *deadline = until;
        }
    }

    /// Moves on whatever has its time come.
    pub fn tick(&mut self, now: Now) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now.mono_ns
            && let Some((_, id)) = self.timers.pop_first()
        {
            match self.held.get(&id).map(|h| &h.state) {
                Some(State::Out { .. }) => self.give_back(&id, now.mono_ns),
                Some(State::Retry(_)) => self.make_ready(&id, now.mono_ns),
                Some(State::Ready | State::Pending | State::Delayed(_)) | None => {}
            }
        }
        while let Some((at, _)) = self.delayed.first()
            && *at <= now.wall_ns
            && let Some((_, id)) = self.delayed.pop_first()
        {
            self.line_up(&id, now.mono_ns);
        }
    }

    /// When [`Self::tick`] is due, in nanoseconds of the monotonic clock.
    pub fn deadline(&self, now: Now) -> Option<u64> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let delayed = self.delayed.first().map(|(at, _)| {
            let wait = at.saturating_sub(now.wall_ns).max(0);
            now.mono_ns.saturating_add(wait.cast_unsigned())
        });
        timer.into_iter().chain(delayed).min()
    }

    /// Evaluations that were tried too often: to be stored as [`failed`] says.
    pub fn take_failed(&mut self) -> Vec<Rc<str>> {
        std::mem::take(&mut self.failed)
    }

    pub fn stats(&self) -> Stats {
        let pending = self.jobs.values().map(|s| s.pending.len()).sum();
        let ready = self.ready.iter().map(BTreeMap::len).sum();
        let waiting = self.delayed.len();
        Stats { ready, unacked: self.held.len() - pending - ready - waiting, pending, waiting }
    }

    fn set(&mut self, id: &str, state: State) {
        if let Some(held) = self.held.get_mut(id) {
            held.state = state;
        }
    }

    /// Notes how long a lease took.
    fn answered(&mut self, id: &str, done: bool, now: Now) {
        let Some(held) = self.held.get_mut(id) else { return };
        let took = |since: u64| now.mono_ns.saturating_sub(since) as f64;
        self.times.process.note(took(held.since_ns), 1);
        if done {
            self.times.response.note(took(held.came_ns), 1);
            held.came_ns = now.mono_ns;
        }
        held.since_ns = now.mono_ns;
    }

    /// `again` of a lease that still holds.
    fn out(&self, lease: &Lease) -> Option<bool> {
        match self.held.get(&lease.id)?.state {
            State::Out { token, again, .. } if token == lease.token => Some(again),
            _ => None,
        }
    }

    fn stop_timer(&mut self, id: &Rc<str>) {
        let at = match self.held.get(id).map(|h| &h.state) {
            Some(State::Retry(at) | State::Out { deadline: at, .. }) => *at,
            Some(State::Ready | State::Pending | State::Delayed(_)) | None => return,
        };
        self.timers.remove(&(at, id.clone()));
    }

    /// Takes the job's turn where it is free, the end of its line otherwise.
    fn line_up(&mut self, id: &Rc<str>, mono_ns: u64) {
        let Some(held) = self.held.get(id) else { return };
        let (Reverse(priority), create, _) = held.rank;
        match self.jobs.entry(held.job.clone()) {
            Entry::Occupied(slot) => {
                slot.into_mut().pending.insert((priority, create, id.clone()));
                self.set(id, State::Pending);
            }
            Entry::Vacant(free) => {
                free.insert(Slot { turn: id.clone(), pending: BTreeSet::new() });
                self.make_ready(id, mono_ns);
            }
        }
    }

    fn make_ready(&mut self, id: &Rc<str>, mono_ns: u64) {
        if let Some(held) = self.held.get_mut(id) {
            held.since_ns = mono_ns;
            held.state = State::Ready;
            self.ready[usize::from(held.kind)].insert(held.rank, id.clone());
        }
    }

    fn give_back(&mut self, id: &Rc<str>, mono_ns: u64) {
        self.stop_timer(id);
        let Some(held) = self.held.get_mut(id) else { return };
        let wait = match held.deliveries {
            n if n >= DELIVERY_LIMIT => {
                self.failed.push(id.clone());
                self.forget(id, mono_ns);
                return;
            }
            0 | 1 => FIRST_RETRY_NS,
            n => LATER_RETRY_NS * u64::from(n - 1),
        };
        let until = mono_ns.saturating_add(wait);
        held.state = State::Retry(until);
        self.timers.insert((until, id.clone()));
    }

    /// Drops an evaluation in any state; the next of its job takes the turn it may have had.
    fn forget(&mut self, id: &str, mono_ns: u64) {
        let Some((id, _)) = self.held.get_key_value(id) else { return };
        let id = id.clone();
        self.stop_timer(&id);
        let Some(held) = self.held.remove(&id) else { return };
        match held.state {
            State::Ready => drop(self.ready[usize::from(held.kind)].remove(&held.rank)),
            State::Delayed(at) => {
                self.delayed.remove(&(at, id));
                return;
            }
            State::Pending | State::Retry(_) | State::Out { .. } => {}
        }
        let Some(slot) = self.jobs.get_mut(&held.job) else { return };
        if slot.turn != id {
            let (Reverse(priority), create, _) = held.rank;
            slot.pending.remove(&(priority, create, id));
            return;
        }
        match slot.pending.pop_last() {
            Some((_, _, next)) => {
                slot.turn = next.clone();
                self.make_ready(&next, mono_ns);
            }
            None => drop(self.jobs.remove(&held.job)),
        }
    }
}

/// A superfluous evaluation, as it is stored.
pub fn canceled(mut eval: Evaluation, wall_ns: i64) -> Evaluation {
    eval.status = status::EVAL_CANCELED.to_owned();
    eval.status_description = "canceled after more recent eval was processed".to_owned();
    eval.modify_time = wall_ns;
    eval
}

/// An evaluation that was tried too often, and the one that tries once more in a while.
/// `id`: of the new one; `jitter`: uniform.
pub fn failed(mut eval: Evaluation, id: String, wall_ns: i64, jitter: u64) -> [Evaluation; 2] {
    let spread = (jitter % FOLLOW_UP_SPREAD_NS).cast_signed();
    let follow_up = Evaluation {
        id,
        namespace: eval.namespace.clone(),
        priority: eval.priority,
        kind: eval.kind.clone(),
        triggered_by: status::TRIGGER_FAILED_FOLLOW_UP.to_owned(),
        job_id: eval.job_id.clone(),
        job_modify_index: eval.job_modify_index,
        status: status::EVAL_PENDING.to_owned(),
        wait_until: Time(wall_ns.saturating_add(FOLLOW_UP_NS).saturating_add(spread)),
        previous_eval: eval.id.clone(),
        create_time: wall_ns,
        modify_time: wall_ns,
        ..Evaluation::default()
    };
    eval.status = status::EVAL_FAILED.to_owned();
    eval.status_description = format!("evaluation reached delivery limit ({DELIVERY_LIMIT})");
    eval.next_eval.clone_from(&follow_up.id);
    eval.modify_time = wall_ns;
    [eval, follow_up]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(id: &str, job: &str, priority: i64, create_index: u64) -> Evaluation {
        Evaluation {
            id: id.into(),
            job_id: job.into(),
            namespace: "default".into(),
            priority,
            create_index,
            ..Evaluation::default()
        }
    }

    fn at(seconds: u64) -> Now {
        Now {
            mono_ns: seconds * SECOND,
            wall_ns: (1000 + seconds.cast_signed()) * FOLLOW_UP_NS / 60,
        }
    }

    fn next(b: &mut Broker, now: u64) -> Option<(String, Lease)> {
        b.dequeue(at(now)).map(|l| (l.id.to_string(), l))
    }

    #[test]
    fn priority_then_age_and_one_per_job() {
        let mut b = Broker::new();
        for e in [
            eval("a", "x", 50, 5),
            eval("b", "y", 50, 4),
            eval("c", "z", 70, 9),
            eval("d", "x", 90, 10),
            eval("e", "x", 60, 11),
            eval("f", "x", 90, 12),
            eval("a", "x", 50, 5),
        ] {
            b.enqueue(&e, at(0));
        }
        assert_eq!(b.stats(), Stats { ready: 3, unacked: 0, pending: 3, waiting: 0 });
        b.pause(true);
        assert!(next(&mut b, 0).is_none());
        b.pause(false);
        let order: Vec<_> = std::iter::from_fn(|| next(&mut b, 0)).collect();
        assert_eq!(order.iter().map(|o| o.0.as_str()).collect::<Vec<_>>(), ["c", "b", "a"]);
        assert_eq!(b.stats(), Stats { ready: 0, unacked: 3, pending: 3, waiting: 0 });
        // Best of those behind: highest priority, then newest. The others are superfluous.
        let rest = b.ack(&order[2].1, at(0));
        assert_eq!(rest.iter().map(|i| &**i).collect::<Vec<_>>(), ["e", "d"]);
        assert!(b.ack(&order[2].1, at(0)).is_empty(), "answered twice");
        assert_eq!(next(&mut b, 0).unwrap().0, "f");
    }

    #[test]
    fn given_back_then_failed() {
        let mut b = Broker::new();
        b.enqueue(&eval("a", "x", 50, 5), at(0));
        b.enqueue(&eval("b", "x", 50, 6), at(0));
        let (_, lease) = next(&mut b, 0).unwrap();
        b.nack(&lease, at(0));
        b.nack(&lease, at(0));
        assert_eq!(b.deadline(at(0)), Some(SECOND));
        assert!(next(&mut b, 0).is_none(), "its job has no other turn");
        let (_, lease) = next(&mut b, 1).unwrap();
        // Nobody answers: the lease is void after a minute.
        assert_eq!(b.deadline(at(1)), Some(61 * SECOND));
        b.extend(&lease, at(11));
        b.tick(at(61));
        assert!(next(&mut b, 61).is_none());
        b.tick(at(71));
        assert!(b.ack(&lease, at(0)).is_empty());
        assert_eq!(b.deadline(at(71)), Some(91 * SECOND));
        let (_, lease) = next(&mut b, 91).unwrap();
        b.nack(&lease, at(91));
        assert_eq!(b.take_failed(), ["a".into()]);
        assert_eq!(next(&mut b, 91).unwrap().0, "b");
        let [a, follow] = failed(eval("a", "x", 50, 5), "n".into(), 0, FOLLOW_UP_SPREAD_NS + 7);
        assert_eq!(a.status_description, "evaluation reached delivery limit (3)");
        assert_eq!((a.next_eval.as_str(), follow.wait_until.0), ("n", FOLLOW_UP_NS + 7));
    }

    #[test]
    fn types_that_are_left_wait_in_their_order() {
        let mut b = Broker::new();
        for (id, kind, priority) in
            [("a", "service", 90), ("b", "batch", 50), ("c", "service", 80), ("d", "system", 70)]
        {
            let kind = kind.to_owned();
            b.enqueue(&Evaluation { kind, ..eval(id, id, priority, 5) }, at(0));
        }
        b.leave(1 << KINDS.iter().position(|k| *k == "service").unwrap());
        assert_eq!(next(&mut b, 0).unwrap().0, "d");
        assert_eq!(next(&mut b, 0).unwrap().0, "b");
        assert_eq!((b.has_ready(), next(&mut b, 0)), (false, None));
        assert_eq!(b.stats(), Stats { ready: 2, unacked: 2, pending: 0, waiting: 0 });
        b.remove("c", at(0));
        b.leave(0);
        assert_eq!(next(&mut b, 0).unwrap().0, "a");
        assert_eq!((b.has_ready(), b.stats().ready), (false, 0));
    }

    #[test]
    fn delayed_removed_and_changed_meanwhile() {
        let mut b = Broker::new();
        let later = Evaluation { wait_until: Time(at(30).wall_ns), ..eval("a", "x", 50, 5) };
        b.enqueue(&later, at(0));
        assert_eq!(b.deadline(at(10)), Some(30 * SECOND));
        assert!(next(&mut b, 29).is_none());
        let (_, lease) = next(&mut b, 30).unwrap();
        b.enqueue(&later, at(30));
        assert!(b.ack(&lease, at(0)).is_empty());
        let (_, lease) = next(&mut b, 30).unwrap();
        assert!(b.ack(&lease, at(0)).is_empty());
        assert_eq!((b.stats(), b.deadline(at(30))), (Stats::default(), None));

        for (id, wait) in [("a", 0), ("b", 0), ("c", 9), ("d", 0)] {
            let e = Evaluation { wait_until: Time(wait), ..eval(id, "x", 50, 5) };
            b.enqueue(&e, Now::default());
        }
        for id in ["b", "c", "a", "nobody"] {
            b.remove(id, at(0));
        }
        assert_eq!(b.dequeue(Now::default()).map(|l| l.id), Some("d".into()));
        assert_eq!(b.stats(), Stats { unacked: 1, ..Stats::default() });
        assert_eq!(b.jobs.len(), 1);
    }
}
