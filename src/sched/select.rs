//! Finds a node for one placement after another, and keeps account of what the plan does to nodes.

use std::borrow::Cow;
use std::rc::Rc;

use crate::api::{AllocMetric, Allocation, Job, Node, status};
use crate::stdx::BTreeMap;

use super::View;
use super::ask::{Ask, Level};
use super::build::Given;
use super::device;
use super::feasible::{self, Place};
use super::finish::Changes;
use super::fit;
use super::fleet::Fleet;
use super::preempt::{Rivals, Victims};
use super::rank::{self, Algorithm, Parts};
use super::rng::Rng;
use super::tally::{Refusal, Refusals, Scores, Tally};
use super::volume::Shelf;

/// Options with a final score of zero or less that are set aside at first.
const SET_ASIDE: usize = 3;
/// Nodes ranked for batch jobs, and the least for service jobs.
const RANKED_MIN: usize = 2;
/// Nodes ranked for groups with affinities or spreads where the configuration says zero.
const RANKED_WIDE: u64 = 100;

/// One search.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// Position of the group among the job's.
    pub(super) group: usize,
    /// Number in the name of the allocation.
    pub(super) index: u32,
    /// Nodes that earlier tries failed on, by position.
    pub(super) penalty: Vec<u32>,
    /// Tried alone first (sticky disk).
    pub(super) prefer: Option<u32>,
}

/// What is known of a node for a group, as long as nothing changes there.
#[derive(Clone, Copy, Debug)]
enum Cell {
    Unknown,
    Refused {
        refusal: u32,
        exhausted: bool,
    },
    /// The sum and the number of the scores that depend on the node alone, and the combination of
    /// values that the spreads look at.
    Fits {
        sum: f64,
        scores: u8,
        combination: u32,
    },
}

/// The job's asks and the nodes, for the length of one evaluation.
pub(super) struct Placer<'a> {
    pub(super) fleet: Fleet,
    pub(super) asks: Vec<Ask<'a>>,
    job: Level,
    /// Candidates in the order in which they are visited, and where the next visit begins.
    order: Vec<u32>,
    offset: usize,
    /// Where each node stands in `order`, if it does.
    slots: Vec<Option<u32>>,
    /// By group and slot; empty until the group is first searched for.
    cells: Vec<Vec<Cell>>,
    refusals: Refusals,
    /// Live or proposed allocations of the job per node; of each group per node.
    of_job: Vec<u32>,
    of_group: Vec<Vec<u32>>,
    algorithm: Algorithm,
    batch: bool,
    oversubscribe: bool,
    wide: u64,
    rng: Rng,
    /// The part of metrics that all searches share.
    base: AllocMetric,
    pub(super) shelf: Shelf,
}

impl<'a> Placer<'a> {
    /// `live`: the allocations of the job that are not terminal.
    pub(super) fn new(
        view: &'a dyn View,
        job: &'a Job,
        live: &[Rc<Allocation>],
        seed: u64,
    ) -> Self {
        let config = view.config();
        let oversubscribe = config.memory_oversubscription_enabled;
        let asks: Vec<Ask<'_>> =
            job.task_groups.iter().map(|g| Ask::of(job, g, oversubscribe)).collect();
        let fleet = view.fleet();
        let mut rng = Rng::new(seed);
        let (mut order, available) = fleet.candidates(job);
        let base = AllocMetric {
            node_pool: job.node_pool.clone(),
            nodes_available: available,
            nodes_in_pool: i64::try_from(order.len()).unwrap_or(i64::MAX),
            ..AllocMetric::default()
        };
        rng.shuffle(&mut order);
        let nodes = fleet.len() as usize;
        let mut slots = vec![None; nodes];
        for (slot, at) in (0..).zip(&order) {
            slots[*at as usize] = Some(slot);
        }
        let mut placer = Self {
            slots,
            cells: vec![Vec::new(); asks.len()],
            refusals: Refusals::default(),
            of_job: vec![0; nodes],
            of_group: vec![vec![0; nodes]; asks.len()],
            asks,
            job: Level::job(job),
            order,
            offset: 0,
            algorithm: match config.scheduler_algorithm.as_str() {
                "spread" => Algorithm::Spread,
                _ => Algorithm::Binpack,
            },
            batch: job.kind == status::JOB_BATCH,
            oversubscribe,
            wide: match config.node_limit_for_feasibility_checks {
                0 => RANKED_WIDE,
                n => n,
            },
            rng,
            base,
            fleet,
            shelf: Shelf::of(view, job, live),
        };
        for alloc in live.iter().filter(|a| !fit::terminal(a)) {
            placer.count(alloc, 1);
        }
        placer
    }

    pub(super) fn group(&self, name: &str) -> Option<usize> {
        self.asks.iter().position(|a| a.group.name == name)
    }

    /// The ask of an older version of the job for the group at position `of`; made on first use.
    pub(super) fn ask_of(&mut self, old: &'a Job, of: usize) -> usize {
        let name = self.asks[of].group.name.clone();
        let Some(group) = old.task_groups.iter().find(|g| g.name == name) else { return of };
        if let Some(at) = self.asks.iter().position(|a| std::ptr::eq(a.group, group)) {
            return at;
        }
        self.asks.push(Ask::of(old, group, self.oversubscribe));
        self.of_group.push(self.of_group[of].clone());
        self.cells.push(Vec::new());
        self.asks.len() - 1
    }

    /// Nodes that the job may be placed on, in the order of visits.
    pub(super) fn candidates(&self) -> &[u32] {
        &self.order
    }

    /// The plan stops an allocation of the job.
    pub(super) fn stop(&mut self, alloc: &Allocation) {
        self.evict(alloc);
        self.shelf.stop(&alloc.id);
        if !fit::terminal(alloc) {
            self.count(alloc, -1);
        }
    }

    /// The plan stops an allocation of another job.
    pub(super) fn evict(&mut self, alloc: &Allocation) {
        self.fleet.stop(alloc);
        self.changed(self.fleet.position(&alloc.node_id));
    }

    /// What was known of a node holds no longer.
    fn changed(&mut self, at: Option<u32>) {
        let Some(slot) = at.and_then(|at| self.slots[at as usize]) else { return };
        for cells in &mut self.cells {
            if let Some(cell) = cells.get_mut(slot as usize) {
                *cell = Cell::Unknown;
            }
        }
    }

    /// Takes back [`stop`](Self::stop).
    pub(super) fn keep(&mut self, alloc: &Allocation) {
        self.fleet.keep(alloc);
        self.changed(self.fleet.position(&alloc.node_id));
        if !fit::terminal(alloc) {
            self.shelf.keep(&alloc.id);
            self.count(alloc, 1);
        }
    }

    fn count(&mut self, alloc: &Allocation, by: i64) {
        if let Some(at) = self.fleet.position(&alloc.node_id) {
            self.count_at(self.group(&alloc.task_group), at, by);
        }
    }

    fn count_at(&mut self, group: Option<usize>, at: u32, by: i64) {
        let step = |n: &mut u32| *n = if by > 0 { *n + 1 } else { n.saturating_sub(1) };
        step(&mut self.of_job[at as usize]);
        let node = self.fleet.node(at);
        for d in &mut self.job.distinct {
            d.census.add(node, by);
        }
        let Some(group) = group else { return };
        step(&mut self.of_group[group][at as usize]);
        let ask = &mut self.asks[group];
        for d in &mut ask.level.distinct {
            d.census.add(node, by);
        }
        ask.spreads.add(node, by);
    }

    /// The best node for a placement, with the metrics of the search. The choice is not yet
    /// counted; see [`take`](Self::take).
    pub(super) fn find(&mut self, wish: &Wish) -> (Option<u32>, AllocMetric) {
        let mut tally = Tally::default();
        let mut found = None;
        if let Some(at) = wish.prefer.filter(|at| self.slots[*at as usize].is_some()) {
            found = self.rank(wish, at, &mut tally).map(|_| at);
        }
        if found.is_none() {
            found = self.search(wish, &mut tally);
        }
        (found, self.metric(&tally))
    }

    /// The second pass, where nothing was found: the best node on which others can make room.
    pub(super) fn find_evicting(
        &mut self,
        wish: &Wish,
        rivals: &mut Rivals<'_>,
        stopped: &Changes,
    ) -> Option<(u32, Victims, AllocMetric)> {
        let mut tally = Tally::default();
        let limit = self.limit(wish.group);
        let mut best: Option<(f64, u32, Victims)> = None;
        let mut ranked = 0;
        for at in self.order.clone() {
            if ranked == limit {
                break;
            }
            let Some((score, victims)) = self.evict_on(wish, at, rivals, stopped, &mut tally)
            else {
                continue;
            };
            ranked += 1;
            if best.as_ref().is_none_or(|(b, _, _)| score > *b) {
                best = Some((score, at, victims));
            }
        }
        let (_, at, victims) = best?;
        Some((at, victims, self.metric(&tally)))
    }

    /// Whether others can make room on one node, and what the node is then worth.
    pub(super) fn evict_on(
        &mut self,
        wish: &Wish,
        at: u32,
        rivals: &mut Rivals<'_>,
        stopped: &Changes,
        tally: &mut Tally,
    ) -> Option<(f64, Victims)> {
        tally.evaluated += 1;
        let place = self.place(wish.group, at);
        let node = self.fleet.node(at).clone();
        let ask = &mut self.asks[wish.group];
        feasible::check(&mut self.job, ask, &node, place, (&self.shelf, wish.index)).ok()?;
        let devices = self.apart_from_size(wish.group, at).ok()?;
        let capacity = self.fleet.capacity(at).clone();
        let need = self.asks[wish.group].need(capacity.core_mhz);
        let mut used = self.fleet.used(at);
        let victims = rivals.choose(&node.id, &capacity, &used, &need, stopped)?;
        used.add(&need);
        for victim in &victims.allocs {
            if let Some(r) = &victim.allocated_resources {
                used.sub(&fit::need(r));
            }
        }
        let score = rank::fit(self.algorithm, &capacity, &used);
        let parts = self.parts(wish.group, at, Fit { score, devices });
        let scores = self.scores(wish, at, parts, Some(victims.score));
        tally.score(at, scores);
        Some((scores.mean, victims))
    }

    pub(super) fn metric(&self, tally: &Tally) -> AllocMetric {
        tally.metric(&self.base, &self.refusals, &self.fleet)
    }

    fn search(&mut self, wish: &Wish, tally: &mut Tally) -> Option<u32> {
        let limit = self.limit(wish.group);
        let mut best: Option<(f64, u32)> = None;
        let mut aside: Vec<(f64, u32)> = Vec::new();
        let mut ranked = 0;
        let better = |best: &Option<(f64, u32)>, score: f64| best.is_none_or(|(b, _)| score > b);
        let keeps = self.keeps(wish.group);
        if keeps && self.cells[wish.group].is_empty() {
            self.cells[wish.group] = vec![Cell::Unknown; self.order.len()];
        }
        let mut left = self.order.len();
        let glides = keeps && wish.penalty.is_empty();
        loop {
            if glides {
                // Neither kept nor better than what was found.
                let bar = best.map_or(f64::NEG_INFINITY, |(b, _)| b.min(tally.bar()));
                let least = if aside.len() < SET_ASIDE { 0.0 } else { f64::NEG_INFINITY };
                ranked += self.glide(wish.group, (least, bar), limit - ranked, &mut left, tally);
            }
            if left == 0 || ranked == limit {
                break;
            }
            left -= 1;
            if self.offset >= self.order.len() {
                self.offset = 0;
            }
            let slot = self.offset;
            let at = self.order[slot];
            self.offset += 1;
            let score = match keeps {
                true => self.visit(wish, slot, at, tally),
                false => self.rank(wish, at, tally),
            };
            let Some(score) = score else { continue };
            if score <= 0.0 && aside.len() < SET_ASIDE {
                aside.push((score, at));
                continue;
            }
            ranked += 1;
            if better(&best, score) {
                best = Some((score, at));
            }
        }
        for (score, at) in aside.into_iter().take(limit - ranked) {
            if better(&best, score) {
                best = Some((score, at));
            }
        }
        best.map(|(_, at)| at)
    }

    /// Goes on over nodes of which all is known and that change nothing: they are refused, or
    /// score above `range.0` and not above `range.1`. Most nodes of most searches are such, so
    /// this loop is what they cost. How many were ranked.
    fn glide(
        &mut self,
        group: usize,
        range: (f64, f64),
        limit: usize,
        left: &mut usize,
        tally: &mut Tally,
    ) -> usize {
        let (cells, boosts) = (self.cells[group].as_slice(), self.asks[group].spreads.boosts());
        let (before, mut ranked) = (*left, 0);
        loop {
            if self.offset >= cells.len() {
                self.offset = 0;
            }
            let end = cells.len().min(self.offset + *left);
            let mut seen = 0;
            for cell in &cells[self.offset..end] {
                if ranked == limit {
                    break;
                }
                match *cell {
                    Cell::Refused { refusal, exhausted } => tally.refuse(refusal, exhausted),
                    Cell::Fits { sum, scores, combination } => {
                        let spread = boosts.get(combination as usize).copied().unwrap_or(0.0);
                        let mean = mean(sum, scores, spread);
                        // Not where it is not a number either.
                        if !(mean > range.0 && mean <= range.1) {
                            break;
                        }
                        ranked += 1;
                    }
                    Cell::Unknown => break,
                }
                seen += 1;
            }
            let whole = self.offset + seen == end;
            self.offset += seen;
            *left -= seen;
            if !whole || *left == 0 {
                break;
            }
        }
        tally.evaluated += i64::try_from(before - *left).unwrap_or(0);
        ranked
    }

    /// Whether answers about a node hold for later placements of the group, until something
    /// changes on that node.
    fn keeps(&self, group: usize) -> bool {
        let ask = &self.asks[group];
        self.job.distinct.is_empty()
            && ask.level.distinct.is_empty()
            && ask.spreads.by_value()
            && !ask
                .host_volumes
                .iter()
                .chain(&ask.csi_volumes)
                .any(|v| v.per_alloc || v.sticky || !v.access_mode.is_empty())
    }

    /// As [`rank`](Self::rank), by what is known already.
    fn visit(&mut self, wish: &Wish, slot: usize, at: u32, tally: &mut Tally) -> Option<f64> {
        match self.cells[wish.group][slot] {
            Cell::Refused { refusal, exhausted } => {
                tally.evaluated += 1;
                tally.refuse(refusal, exhausted);
                return None;
            }
            Cell::Fits { sum, scores, combination }
                if wish.penalty.is_empty() || !wish.penalty.contains(&at) =>
            {
                let ask = &mut self.asks[wish.group];
                let spread = match ask.spreads.is_empty() {
                    true => 0.0,
                    false => ask.spreads.score_of(combination),
                };
                let mean = mean(sum, scores, spread);
                if mean <= tally.bar() {
                    tally.evaluated += 1;
                    return Some(mean);
                }
            }
            Cell::Fits { .. } | Cell::Unknown => {}
        }
        self.rank(wish, at, tally)
    }

    /// How many nodes are ranked for one placement.
    fn limit(&self, group: usize) -> usize {
        let ask = &self.asks[group];
        let n = self.order.len();
        if !ask.affinities.is_empty() || !ask.spreads.is_empty() {
            let wide = usize::try_from(self.wide).unwrap_or(usize::MAX);
            return usize::try_from(ask.count).unwrap_or(0).max(wide);
        }
        if self.batch || n < 2 {
            return RANKED_MIN;
        }
        let log = usize::try_from((n - 1).ilog2() + 1).unwrap_or(RANKED_MIN);
        log.max(RANKED_MIN)
    }

    fn place(&self, group: usize, at: u32) -> Place {
        Place {
            class: self.fleet.class(at),
            classed: self.fleet.is_classed(at),
            of_job: self.of_job[at as usize],
            of_group: self.of_group[group][at as usize],
        }
    }

    /// Feasibility alone, without counting: for updates in place.
    pub(super) fn feasible(&mut self, group: usize, at: u32, index: u32) -> bool {
        let place = self.place(group, at);
        let (node, ask) = (self.fleet.node(at), &mut self.asks[group]);
        feasible::check(&mut self.job, ask, node, place, (&self.shelf, index)).is_ok()
    }

    /// Whether the node holds what runs on it (a node may have shrunk).
    pub(super) fn within_capacity(&self, at: u32) -> bool {
        self.fleet.capacity(at).exceeded(&self.fleet.used(at)).is_none()
    }

    /// The score of one node; `None` where it cannot take the placement, which `tally` then shows.
    fn rank(&mut self, wish: &Wish, at: u32, tally: &mut Tally) -> Option<f64> {
        let fit = self.fits(wish, at, tally)?;
        let parts = self.parts(wish.group, at, fit);
        let scores = self.scores(wish, at, parts, None);
        tally.score(at, scores);
        if !self.cells[wish.group].is_empty() {
            let combination = self.asks[wish.group].spreads.combination(self.fleet.node(at));
            let (sum, scored) = parts.of_node();
            self.know(wish.group, at, Cell::Fits { sum, scores: scored, combination });
        }
        Some(scores.mean)
    }

    /// Keeps an answer for later visits, where the group's answers keep.
    fn know(&mut self, group: usize, at: u32, cell: Cell) {
        if let Some(slot) = self.slots[at as usize]
            && let Some(known) = self.cells[group].get_mut(slot as usize)
        {
            *known = cell;
        }
    }

    /// The scores of a node that depend on nothing else.
    fn parts(&self, group: usize, at: u32, fit: Fit) -> Parts {
        let ask = &self.asks[group];
        Parts {
            fit: fit.score,
            devices: (ask.device_weights > 0.0).then(|| fit.devices / ask.device_weights),
            anti_affinity: rank::anti_affinity(self.of_group[group][at as usize], ask.count),
            affinity: (!ask.affinities.is_empty())
                .then(|| ask.affinities.score(self.fleet.node(at))),
            ..Parts::default()
        }
    }

    /// All scores of a node.
    fn scores(&mut self, wish: &Wish, at: u32, parts: Parts, preemption: Option<f64>) -> Scores {
        let ask = &mut self.asks[wish.group];
        let node = self.fleet.node(at);
        let spread = (!ask.spreads.is_empty()).then(|| ask.spreads.score(node));
        let penalty = wish.penalty.contains(&at);
        rank::combine(&Parts { penalty, spread, preemption, ..parts })
    }

    /// Feasibility and room alone: system jobs.
    pub(super) fn fits_on(&mut self, wish: &Wish, at: u32, tally: &mut Tally) -> bool {
        let fit = self.fits(wish, at, tally);
        if let Some(fit) = &fit {
            tally.score(at, rank::only_fit(fit.score));
        }
        fit.is_some()
    }

    fn fits(&mut self, wish: &Wish, at: u32, tally: &mut Tally) -> Option<Fit> {
        tally.evaluated += 1;
        let place = self.place(wish.group, at);
        let (node, ask) = (self.fleet.node(at), &mut self.asks[wish.group]);
        let (exhausted, reason, once) =
            match feasible::check(&mut self.job, ask, node, place, (&self.shelf, wish.index)) {
                Err(unfit) => (false, unfit.reason, unfit.once),
                Ok(()) => match self.room(wish.group, at) {
                    Ok(fit) => return Some(fit),
                    Err(dimension) => (true, dimension, false),
                },
            };
        let kind = self.fleet.kind(at);
        let refusal = self.refusals.number(Refusal { exhausted, reason, kind });
        tally.refuse(refusal, exhausted);
        if !once {
            self.know(wish.group, at, Cell::Refused { refusal, exhausted });
        }
        None
    }

    fn room(&self, group: usize, at: u32) -> Result<Fit, Cow<'static, str>> {
        let devices = self.apart_from_size(group, at)?;
        let capacity = self.fleet.capacity(at);
        let mut used = self.fleet.used(at);
        used.add(&self.asks[group].need(capacity.core_mhz));
        match capacity.exceeded(&used) {
            Some(dimension) => Err(dimension.into()),
            None => Ok(Fit { score: rank::fit(self.algorithm, capacity, &used), devices }),
        }
    }

    /// Room for what cannot be shared: ports, devices, cores. Returns the matched weight of
    /// device affinities.
    fn apart_from_size(&self, group: usize, at: u32) -> Result<f64, Cow<'static, str>> {
        let (node, ask) = (self.fleet.node(at), &self.asks[group]);
        if !ask.networks.is_empty() {
            let checked = self.fleet.ports(at).check(&ask.networks_on(node));
            checked.map_err(|why| format!("network: {why}"))?;
        }
        let mut devices = 0.0;
        if !ask.devices.is_empty() {
            devices = device::assign(node, &ask.devices, |id| self.fleet.has_device(at, id))
                .ok_or("devices: no devices match request")?
                .1;
        }
        if ask.cores > 0 {
            let free = self.free_cores(node, at).count();
            if i64::try_from(free).unwrap_or(i64::MAX) < ask.cores {
                return Err("cores".into());
            }
        }
        Ok(devices)
    }

    fn free_cores(&self, node: &Node, at: u32) -> impl Iterator<Item = i64> {
        let all = fit::reservable_cores(node).into_iter();
        all.filter(move |c| !self.fleet.has_core(at, *c))
    }

    /// Gives a placement its ports, cores and devices on the node that was found, and counts it.
    /// `None` where the node has no room after all.
    pub(super) fn take(&mut self, group: usize, at: u32) -> Option<Given> {
        let core_mhz = self.fleet.capacity(at).core_mhz;
        let node = self.fleet.node(at).clone();
        let ask = &self.asks[group];
        if let Some(given) = &ask.given {
            let given = given.clone();
            self.count_taken(group, at, &given);
            return Some(given);
        }
        let mut out = ask.resources(core_mhz);
        if !ask.networks.is_empty() {
            let asked = ask.networks_on(&node);
            let mut offers = self.fleet.ports(at).offer(&asked, &mut self.rng).ok()?.into_iter();
            if ask.group_network
                && let Some(offer) = offers.next()
            {
                out.shared.networks.push(offer.network);
                out.shared.ports.extend(offer.ports);
            }
            for task in &ask.group.tasks {
                let asked = task.resources.as_ref().map_or(0, |r| r.networks.len());
                for mut offer in offers.by_ref().take(asked) {
                    offer.network.device = offer.device;
                    if let Some(given) = out.tasks.get_mut(&task.name) {
                        given.networks.push(offer.network);
                    }
                }
            }
        }
        let mut free: Vec<i64> = Vec::new();
        if ask.cores > 0 {
            free.extend(self.free_cores(&node, at));
        }
        let mut free = free.into_iter();
        let mut devices = match ask.devices.is_empty() {
            true => Vec::new(),
            false => device::assign(&node, &ask.devices, |id| self.fleet.has_device(at, id))?.0,
        }
        .into_iter();
        for task in &ask.group.tasks {
            let asked = task.resources.as_ref();
            let Some(given) = out.tasks.get_mut(&task.name) else { continue };
            let cores = usize::try_from(asked.map_or(0, |r| r.cores)).unwrap_or(0);
            given.cpu.reserved_cores.extend(free.by_ref().take(cores));
            given.devices.extend(devices.by_ref().take(asked.map_or(0, |r| r.devices.len())));
        }
        let given = Given::of(ask.group, out);
        if ask.gives_all_the_same() {
            self.asks[group].given = Some(given.clone());
        }
        self.count_taken(group, at, &given);
        Some(given)
    }

    fn count_taken(&mut self, group: usize, at: u32, given: &Given) {
        self.fleet.hold(at, &given.new);
        self.count_at(Some(group), at, 1);
        self.changed(Some(at));
    }

    /// Eligibility per computed class for a blocked evaluation, and whether some constraint
    /// escapes the classes (the map is then empty).
    pub(super) fn eligibility(&self) -> (BTreeMap<String, bool>, bool) {
        if self.job.unique || self.asks.iter().any(|a| a.level.unique) {
            return (BTreeMap::new(), true);
        }
        let mut out = BTreeMap::new();
        for (class, name) in self.fleet.class_names().iter().enumerate() {
            if name.is_empty() {
                continue;
            }
            let groups = || self.asks.iter().filter_map(|a| a.level.memo.get(class));
            let eligible = match self.job.memo.get(class) {
                Some(false) => Some(false),
                _ => groups().reduce(|a, b| a || b),
            };
            if let Some(eligible) = eligible {
                out.insert(name.clone(), eligible);
            }
        }
        (out, false)
    }
}

/// The mean of what scores of a node alone come to, and of what the spreads say, if they do.
fn mean(sum: f64, scores: u8, spread: f64) -> f64 {
    match spread != 0.0 {
        true => (sum + spread) / f64::from(scores + 1),
        false => sum / f64::from(scores),
    }
}

/// Outcome of the check for room.
#[derive(Clone, Copy, Debug)]
struct Fit {
    score: f64,
    /// Matched weight of device affinities.
    devices: f64,
}
