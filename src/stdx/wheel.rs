//! A hierarchical timer wheel: cheap to set, cheap to cancel, with ten thousand timers as with ten.
//!
//! Eight levels of 64 slots; a slot of level n is 64^n milliseconds wide, so the wheel spans
//! centuries. A timer sits in the slot of its deadline at the coarsest level that still tells it
//! from now, and moves down as its time comes near. Timers never fire early, and at most one
//! millisecond late of the moment they are asked for.

use super::slab::{Key, Slab};

/// Names a timer; stale ones are harmless.
pub type TimerId = Key;

const LEVELS: usize = 8;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const NONE: u32 = u32::MAX;
const MS: u64 = 1_000_000;

struct Entry<T> {
    /// Deadline in whole milliseconds, rounded up.
    due: u64,
    value: T,
    /// Doubly linked within its slot.
    prev: u32,
    next: u32,
    slot: u16,
}

pub struct Wheel<T> {
    entries: Slab<Entry<T>>,
    /// First entry of each slot.
    heads: [u32; LEVELS * SLOTS],
    /// Which slots of a level hold something.
    used: [u64; LEVELS],
    /// The present, in milliseconds; all timers due before it have fired.
    now: u64,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Wheel<T> {
    pub fn new() -> Self {
        Self { entries: Slab::default(), heads: [NONE; LEVELS * SLOTS], used: [0; LEVELS], now: 0 }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A timer for a moment in mono nanoseconds; one in the past fires at the next `expire`.
    pub fn insert(&mut self, deadline_ns: u64, value: T) -> TimerId {
        let due = deadline_ns.div_ceil(MS);
        let key = self.entries.insert(Entry { due, value, prev: NONE, next: NONE, slot: 0 });
        self.link(key);
        key
    }

    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.entries.get(id)?;
        self.unlink(id);
        self.entries.remove(id).map(|e| e.value)
    }

    /// Hands out everything that is due, in the order of milliseconds.
    pub fn expire(&mut self, now_ns: u64, out: &mut Vec<T>) {
        let target = now_ns / MS;
        while let Some(next) = self.next_due().filter(|n| *n <= target) {
            self.advance(next);
            self.drain((next % SLOTS as u64) as usize, out);
        }
        self.advance(target);
    }

    /// Moves the present on and takes apart the coarse slots that begin with it. What lies between
    /// must be empty.
    fn advance(&mut self, to: u64) {
        self.now = self.now.max(to);
        self.cascade();
    }

    /// The earliest moment at which `expire` may have something; never later than the first timer.
    pub fn next_deadline(&self) -> Option<u64> {
        self.next_due().map(|ms| ms.saturating_mul(MS))
    }

    /// Begin of the earliest used slot, in milliseconds, not before `now`.
    fn next_due(&self) -> Option<u64> {
        let mut best: Option<u64> = None;
        for (level, used) in self.used.iter().enumerate() {
            if *used == 0 {
                continue;
            }
            let shift = SLOT_BITS * u32::try_from(level).unwrap_or(0);
            let at = (self.now >> shift) % SLOTS as u64;
            // Slots before the current one belong to the next turn of this level.
            let ahead =
                u64::from(used.rotate_right(u32::try_from(at).unwrap_or(0)).trailing_zeros());
            let begin = ((self.now >> shift) + ahead) << shift;
            let begin = begin.max(self.now);
            best = Some(best.map_or(begin, |b| b.min(begin)));
        }
        best
    }

    /// Moves timers of coarse slots that have begun to finer levels.
    fn cascade(&mut self) {
        for level in (1..LEVELS).rev() {
            let shift = SLOT_BITS * u32::try_from(level).unwrap_or(0);
            let slot = ((self.now >> shift) % SLOTS as u64) as usize;
            let Some(used) = self.used.get(level) else { continue };
            if used & (1 << slot) == 0 {
                continue;
            }
            let mut at = self.take(level * SLOTS + slot);
            while let Some(key) = self.entries.key_at(at) {
                at = self.entries.get(key).map_or(NONE, |e| e.next);
                self.link(key);
            }
        }
    }

    /// Empties a slot's list and returns its first entry; the links between entries stay.
    fn take(&mut self, slot: usize) -> u32 {
        if let Some(used) = self.used.get_mut(slot / SLOTS) {
            *used &= !(1 << (slot % SLOTS));
        }
        self.heads.get_mut(slot).map_or(NONE, |h| std::mem::replace(h, NONE))
    }

    fn drain(&mut self, slot: usize, out: &mut Vec<T>) {
        let mut at = self.take(slot);
        while let Some(key) = self.entries.key_at(at) {
            let Some(entry) = self.entries.remove(key) else { return };
            at = entry.next;
            out.push(entry.value);
        }
    }

    fn link(&mut self, key: TimerId) {
        let now = self.now;
        let Some(entry) = self.entries.get_mut(key) else { return };
        let due = entry.due.max(now);
        let apart = due ^ now;
        let level = match apart {
            0 => 0,
            n => ((63 - n.leading_zeros()) / SLOT_BITS).min(LEVELS as u32 - 1),
        };
        let within = ((due >> (SLOT_BITS * level)) % SLOTS as u64) as usize;
        let slot = level as usize * SLOTS + within;
        entry.slot = u16::try_from(slot).unwrap_or(0);
        entry.prev = NONE;
        let Some(head) = self.heads.get_mut(slot) else { return };
        let first = std::mem::replace(head, key.index);
        entry.next = first;
        if let Some(used) = self.used.get_mut(level as usize) {
            *used |= 1 << within;
        }
        if let Some(next) = self.entries.key_at(first)
            && let Some(next) = self.entries.get_mut(next)
        {
            next.prev = key.index;
        }
    }

    fn unlink(&mut self, key: TimerId) {
        let Some(entry) = self.entries.get(key) else { return };
        let (prev, next, slot) = (entry.prev, entry.next, entry.slot as usize);
        if let Some(key) = self.entries.key_at(next)
            && let Some(next) = self.entries.get_mut(key)
        {
            next.prev = prev;
        }
        if let Some(key) = self.entries.key_at(prev)
            && let Some(prev) = self.entries.get_mut(key)
        {
            prev.next = next;
            return;
        }
        if let Some(head) = self.heads.get_mut(slot) {
            *head = next;
        }
        if next == NONE
            && let Some(used) = self.used.get_mut(slot / SLOTS)
        {
            *used &= !(1 << (slot % SLOTS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel<u64>, now: u64) -> Vec<u64> {
        let mut out = Vec::new();
        wheel.expire(now, &mut out);
        out
    }

    #[test]
    fn timers_fire_at_their_time_and_not_before() {
        let mut wheel = Wheel::new();
        let delays = [0, 1, 63, 64, 65, 4095, 4096, 300_000, 600_000, 86_400_000, 1 << 40];
        for ms in delays {
            wheel.insert(ms * MS, ms);
        }
        for ms in delays {
            if ms > 0 {
                assert_eq!(fired(&mut wheel, ms * MS - 1), Vec::<u64>::new(), "before {ms}");
            }
            assert!(wheel.next_deadline().is_some_and(|d| d <= ms * MS), "deadline of {ms}");
            assert_eq!(fired(&mut wheel, ms * MS), [ms]);
        }
        assert!(wheel.is_empty());
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn cancelled_timers_do_not_fire() {
        let mut wheel = Wheel::new();
        let ids: Vec<TimerId> = (0..1000).map(|n| wheel.insert(n % 7 * 100 * MS, n)).collect();
        for id in ids.iter().step_by(2) {
            assert!(wheel.cancel(*id).is_some());
            assert!(wheel.cancel(*id).is_none());
        }
        let mut left = fired(&mut wheel, 1000 * MS);
        left.sort_unstable();
        assert_eq!(left, (0..1000).filter(|n| n % 2 == 1).collect::<Vec<_>>());
    }

    #[test]
    fn agrees_with_a_sorted_list_over_random_steps() {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let mut wheel = Wheel::new();
        let mut model: Vec<(u64, u64, TimerId)> = Vec::new();
        let mut now = 0;
        for n in 0..20_000 {
            match random(4) {
                0 | 1 => {
                    let span = [50, 5_000, 700_000, 100_000_000][random(4) as usize];
                    let due = now + random(span);
                    model.push((due, n, wheel.insert(due * MS, n)));
                }
                2 if !model.is_empty() => {
                    let at = random(model.len() as u64) as usize;
                    let (_, value, id) = model.swap_remove(at);
                    assert_eq!(wheel.cancel(id), Some(value));
                }
                _ => {
                    now += random(if n % 10 == 0 { 1_000_000 } else { 40 });
                    let mut got = fired(&mut wheel, now * MS);
                    got.sort_unstable();
                    let mut want: Vec<u64> =
                        model.iter().filter(|m| m.0 <= now).map(|m| m.1).collect();
                    want.sort_unstable();
                    model.retain(|m| m.0 > now);
                    assert_eq!(got, want, "at {now}");
                    let first = model.iter().map(|m| m.0).min();
                    let deadline = wheel.next_deadline().map(|d| d / MS);
                    assert_eq!(first.is_some(), deadline.is_some());
                    if let (Some(f), Some(d)) = (first, deadline) {
                        assert!(d <= f, "deadline {d} after the first timer {f}");
                    }
                }
            }
        }
    }
}
