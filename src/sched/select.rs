//! Finds a node for one placement after another, and keeps account of what the plan does to nodes.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::api::{AllocMetric, AllocatedResources, Allocation, Job, Node, status};

use super::View;
use super::ask::{Ask, Level};
use super::device;
use super::feasible::{self, Place};
use super::finish::Changes;
use super::fit;
use super::fleet::{Fleet, Wants};
use super::preempt::{Rivals, Victims};
use super::rank::{self, Algorithm, Parts};
use super::rng::Rng;
use super::tally::{Scores, Tally};

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

/// The job's asks and the nodes, for the length of one evaluation.
pub(super) struct Placer<'a> {
    pub(super) fleet: Fleet<'a>,
    pub(super) asks: Vec<Ask<'a>>,
    job: Level,
    /// Candidates in the order in which they are visited, and where the next visit begins.
    order: Vec<u32>,
    offset: usize,
    /// Live or proposed allocations of the job per node; of each group per node.
    of_job: Vec<u32>,
    of_group: Vec<Vec<u32>>,
    algorithm: Algorithm,
    batch: bool,
    wide: u64,
    rng: Rng,
    /// The part of metrics that all searches share.
    base: AllocMetric,
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
        let wants = asks.iter().map(Ask::wants).fold(Wants::default(), |a, b| Wants {
            ports: a.ports || b.ports,
            cores: a.cores || b.cores,
            devices: a.devices || b.devices,
        });
        let fleet = Fleet::new(view, wants);
        let mut rng = Rng::new(seed);
        let (mut order, available) = fleet.candidates(job);
        let base = AllocMetric {
            node_pool: job.node_pool.clone(),
            nodes_available: available,
            nodes_in_pool: i64::try_from(order.len()).unwrap_or(i64::MAX),
            ..AllocMetric::default()
        };
        rng.shuffle(&mut order);
        let mut placer = Self {
            of_job: vec![0; fleet.len()],
            of_group: vec![vec![0; fleet.len()]; asks.len()],
            asks,
            job: Level::job(job),
            order,
            offset: 0,
            algorithm: match config.scheduler_algorithm.as_str() {
                "spread" => Algorithm::Spread,
                _ => Algorithm::Binpack,
            },
            batch: job.kind == status::JOB_BATCH,
            wide: match config.node_limit_for_feasibility_checks {
                0 => RANKED_WIDE,
                n => n,
            },
            rng,
            base,
            fleet,
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
        self.asks.push(Ask::of(old, group, false));
        self.of_group.push(self.of_group[of].clone());
        self.asks.len() - 1
    }

    /// Nodes that the job may be placed on, in the order of visits.
    pub(super) fn candidates(&self) -> &[u32] {
        &self.order
    }

    /// The plan stops an allocation of the job.
    pub(super) fn stop(&mut self, alloc: &Allocation) {
        self.fleet.stop(alloc);
        if !fit::terminal(alloc) {
            self.count(alloc, -1);
        }
    }

    /// Takes back [`stop`](Self::stop).
    pub(super) fn keep(&mut self, alloc: &Allocation) {
        self.fleet.keep(alloc);
        if !fit::terminal(alloc) {
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
        if let Some(at) = wish.prefer.filter(|at| self.order.contains(at)) {
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
        feasible::check(&mut self.job, ask, &node, place, wish.index).ok()?;
        let devices = self.apart_from_size(wish.group, at, &node).ok()?;
        let capacity = self.fleet.capacity(at).clone();
        let need = self.asks[wish.group].need(capacity.core_mhz);
        let mut used = self.fleet.load(at).used;
        let victims = rivals.choose(&node.id, &capacity, &used, &need, stopped)?;
        used.add(&need);
        for victim in &victims.allocs {
            if let Some(r) = &victim.allocated_resources {
                used.sub(&fit::need(r));
            }
        }
        let score = rank::fit(self.algorithm, &capacity, &used);
        let scores = self.scores(wish, at, Fit { score, devices }, Some(victims.score));
        tally.score(at, scores);
        Some((scores.mean, victims))
    }

    pub(super) fn metric(&self, tally: &Tally) -> AllocMetric {
        tally.metric(&self.base, |at| self.fleet.node(at).id.clone())
    }

    fn search(&mut self, wish: &Wish, tally: &mut Tally) -> Option<u32> {
        let limit = self.limit(wish.group);
        let mut best: Option<(f64, u32)> = None;
        let mut aside: Vec<(f64, u32)> = Vec::new();
        let mut ranked = 0;
        let better = |best: &Option<(f64, u32)>, score: f64| best.is_none_or(|(b, _)| score > b);
        for _ in 0..self.order.len() {
            if ranked == limit {
                break;
            }
            if self.offset >= self.order.len() {
                self.offset = 0;
            }
            let at = self.order[self.offset];
            self.offset += 1;
            let Some(scores) = self.rank(wish, at, tally) else { continue };
            if scores.mean <= 0.0 && aside.len() < SET_ASIDE {
                aside.push((scores.mean, at));
                continue;
            }
            ranked += 1;
            if better(&best, scores.mean) {
                best = Some((scores.mean, at));
            }
        }
        for (score, at) in aside.into_iter().take(limit - ranked) {
            if better(&best, score) {
                best = Some((score, at));
            }
        }
        best.map(|(_, at)| at)
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
            classed: !self.fleet.node(at).computed_class.is_empty(),
            of_job: self.of_job[at as usize],
            of_group: self.of_group[group][at as usize],
        }
    }

    /// Feasibility alone, without counting: for updates in place.
    pub(super) fn feasible(&mut self, group: usize, at: u32, index: u32) -> bool {
        let place = self.place(group, at);
        let node = self.fleet.node(at).clone();
        feasible::check(&mut self.job, &mut self.asks[group], &node, place, index).is_ok()
    }

    /// Whether the node holds what runs on it (a node may have shrunk).
    pub(super) fn within_capacity(&mut self, at: u32) -> bool {
        let used = self.fleet.load(at).used;
        self.fleet.capacity(at).exceeded(&used).is_none()
    }

    /// The score of one node; `None` where it cannot take the placement, which `tally` then shows.
    fn rank(&mut self, wish: &Wish, at: u32, tally: &mut Tally) -> Option<Scores> {
        let fit = self.fits(wish, at, tally)?;
        let scores = self.scores(wish, at, fit, None);
        tally.score(at, scores);
        Some(scores)
    }

    fn scores(&mut self, wish: &Wish, at: u32, fit: Fit, preemption: Option<f64>) -> Scores {
        let ask = &mut self.asks[wish.group];
        let node = self.fleet.node(at);
        let devices = (ask.device_weights > 0.0).then(|| fit.devices / ask.device_weights);
        let collisions = self.of_group[wish.group][at as usize];
        let spread = (!ask.spreads.is_empty()).then(|| ask.spreads.score(node));
        rank::combine(&Parts {
            fit: fit.score,
            devices,
            anti_affinity: rank::anti_affinity(collisions, ask.count),
            penalty: wish.penalty.contains(&at),
            affinity: (!ask.affinities.is_empty()).then(|| ask.affinities.score(node)),
            spread,
            preemption,
        })
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
        let node = self.fleet.node(at).clone();
        let ask = &mut self.asks[wish.group];
        if let Err(reason) = feasible::check(&mut self.job, ask, &node, place, wish.index) {
            tally.filter(&node, &reason);
            return None;
        }
        match self.room(wish.group, at, &node) {
            Ok(fit) => Some(fit),
            Err(dimension) => {
                tally.exhaust(&node, &dimension);
                None
            }
        }
    }

    fn room(&mut self, group: usize, at: u32, node: &Node) -> Result<Fit, String> {
        let devices = self.apart_from_size(group, at, node)?;
        let capacity = self.fleet.capacity(at).clone();
        let mut used = self.fleet.load(at).used;
        used.add(&self.asks[group].need(capacity.core_mhz));
        match capacity.exceeded(&used) {
            Some(dimension) => Err(dimension.to_owned()),
            None => Ok(Fit { score: rank::fit(self.algorithm, &capacity, &used), devices }),
        }
    }

    /// Room for what cannot be shared: ports, devices, cores. Returns the matched weight of
    /// device affinities.
    fn apart_from_size(&mut self, group: usize, at: u32, node: &Node) -> Result<f64, String> {
        let ask = &self.asks[group];
        let load = self.fleet.load(at);
        if let Some(ports) = load.ports.as_ref().filter(|_| !ask.networks.is_empty()) {
            ports.check(&ask.networks_on(node)).map_err(|why| format!("network: {why}"))?;
        }
        let mut devices = 0.0;
        if !ask.devices.is_empty() {
            devices = device::assign(node, &ask.devices, &load.devices)
                .ok_or("devices: no devices match request")?
                .1;
        }
        if ask.cores > 0 {
            let free =
                fit::reservable_cores(node).iter().filter(|c| !load.cores.contains(c)).count();
            if i64::try_from(free).unwrap_or(i64::MAX) < ask.cores {
                return Err("cores".to_owned());
            }
        }
        Ok(devices)
    }

    /// Gives a placement its ports, cores and devices on the node that was found, and counts it.
    /// `None` where the node has no room after all.
    pub(super) fn take(&mut self, group: usize, at: u32) -> Option<AllocatedResources> {
        let core_mhz = self.fleet.capacity(at).core_mhz;
        let node = self.fleet.node(at).clone();
        let ask = &self.asks[group];
        let mut out = ask.resources(core_mhz);
        let load = self.fleet.load(at);
        if let Some(ports) = load.ports.as_mut().filter(|_| !ask.networks.is_empty()) {
            // `assign` takes the ports and `place` below takes them once more, which changes
            // nothing.
            let mut offers = ports.assign(&ask.networks_on(&node), &mut self.rng).ok()?.into_iter();
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
        let mut free = Vec::new();
        if ask.cores > 0 {
            free = fit::reservable_cores(&node);
            free.retain(|c| !load.cores.contains(c));
        }
        let mut free = free.into_iter();
        let mut devices = match ask.devices.is_empty() {
            true => Vec::new(),
            false => device::assign(&node, &ask.devices, &load.devices)?.0,
        }
        .into_iter();
        for task in &ask.group.tasks {
            let asked = task.resources.as_ref();
            let Some(given) = out.tasks.get_mut(&task.name) else { continue };
            let cores = usize::try_from(asked.map_or(0, |r| r.cores)).unwrap_or(0);
            given.cpu.reserved_cores.extend(free.by_ref().take(cores));
            given.devices.extend(devices.by_ref().take(asked.map_or(0, |r| r.devices.len())));
        }
        self.fleet.place(at, &out);
        self.count_at(Some(group), at, 1);
        Some(out)
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

/// Outcome of the check for room.
#[derive(Clone, Copy, Debug)]
struct Fit {
    score: f64,
    /// Matched weight of device affinities.
    devices: f64,
}
