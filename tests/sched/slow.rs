//! The rules of placement once more, slowly and plainly: every fact is counted anew for every node
//! that is looked at. Random clusters and jobs must come out the same.
//!
//! `VARDO_SEED=n` replays one seed.

use vardo::api::{AllocMetric, AllocatedResources, Allocation, Constraint, Job, Node, TaskGroup};
use vardo::command::Plan;
use vardo::sched::{Seed, fit, schedule};
use vardo::stdx::BTreeMap;

use super::property::Dice;
use super::world::{Count, NOW, World};

/// Random clusters that are compared.
const SEEDS: u64 = 2_000;

#[test]
fn placements_are_those_of_the_plain_rules() {
    let seeds: std::ops::Range<u64> = match std::env::var_os("VARDO_SEED") {
        Some(text) => {
            let seed = text.to_str().and_then(|t| t.parse().ok()).expect("VARDO_SEED is a number");
            seed..seed + 1
        }
        None => 1..SEEDS + 1,
    };
    let (mut placed, mut failed) = (0, 0);
    for seed in seeds {
        let mut dice = Dice::new(seed);
        let text = cluster(&mut dice);
        let world = World::parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        let rng = seed * 31;
        let plan = schedule(&world, &world.eval, Seed { rng, wall_ns: NOW }, &mut Count(1 << 20));
        let wrong = Slow::new(&world, rng).compare(&plan);
        assert_eq!(wrong, None, "seed {seed}\n{text}\n{}", super::show::plan(&world, &plan));
        placed += plan.places.len();
        failed += usize::from(plan.evals.len() > 1);
    }
    if std::env::var_os("VARDO_SEED").is_none() {
        assert!(placed > 3_000 && failed > 400, "too tame: {placed} placed, {failed} failed");
    }
}

/// A cluster in which things are scarce, and a job with wishes.
fn cluster(dice: &mut Dice) -> String {
    let mut text = String::from("random\n");
    let nodes = 3 + dice.below(14);
    for i in 0..nodes {
        let rack = dice.pick(&["r1", "r1", "r2", "r3", "r,4"]);
        let zone = dice.pick(&[" meta.zone=a", " meta.zone=b", ""]);
        let class = dice.pick(&["", " class=big", " class=small"]);
        let unique = dice.pick(&["", "", " attr.unique.tag=x"]);
        let dc = dice.pick(&["dc1", "dc1", "dc1", "eu2"]);
        let state: &str = dice.pick(&[
            "",
            "",
            "",
            "",
            "",
            "",
            " status=down",
            " eligibility=ineligible",
            " drain=1",
            " pool=gpu",
        ]);
        let state = if i == 0 { "" } else { state };
        let cpu = 500 + 400 * dice.below(5);
        let memory = 600 + 500 * dice.below(4);
        let most = dice.pick(&["", "", "", " max_allocs=3"]);
        let ports = 20_001 + dice.below(6);
        let cores = dice.pick(&["", "", " cores=2"]);
        let drivers = dice.pick(&["", "", "", "", " drivers=docker", " drivers=raw_exec:sick"]);
        let volumes = dice.pick(&["", " volumes=data", " volumes=data:ro", " volumes=data[1]"]);
        text.push_str(&format!(
            "node n{i:02} cpu={cpu} memory={memory} dc={dc} meta.rack={rack} attr.gen={} \
             max_port={ports}{zone}{class}{unique}{state}{most}{cores}{drivers}{volumes}\n",
            dice.below(3)
        ));
        if dice.below(4) == 0 {
            text.push_str(
                "set /NodeResources/Devices [{\"Vendor\":\"acme\",\"Type\":\"gpu\",\"Name\":\"x\",\
                 \"Instances\":[{\"ID\":\"g1\",\"Healthy\":true},{\"ID\":\"g2\",\"Healthy\":true},\
                 {\"ID\":\"g3\",\"Healthy\":false}]}]\n",
            );
        }
    }
    let kind = dice.pick(&["service", "service", "batch"]);
    let count = 1 + dice.below(12);
    let ports =
        dice.pick(&["", "", " ports=a", " ports=a,b static=s:80", " static=s:20001 ports=a"]);
    let size = dice.pick(&["cpu=100", "cpu=250", "cpu=0 cores=1", "cpu=90 memory=200"]);
    let dc = dice.pick(&[
        "",
        "",
        "",
        "",
        " dc=dc1",
        " dc=dc1",
        " dc=dc*,eu2",
        " dc=dc*,eu2",
        " dc=nowhere",
    ]);
    text.push_str(&format!("job web type={kind} count={count} {size}{ports}{dc}\n"));
    wishes(dice, &mut text);
    for (i, job) in ["", "", " job=other", " job=other", " job=other"].iter().enumerate() {
        if dice.below(2) == 0 {
            continue;
        }
        // The job's own are on a node that is well: nothing is lost or moved.
        let node = if i < 2 { 0 } else { dice.below(nodes) };
        let over = dice.pick(&["", "", " client=complete", " desired=stop"]);
        // Nothing stands in the way of itself: each port is held once.
        let held = ["", "", " ports=80", " ports=20000", ""][i];
        let index = if i < 2 { i as u64 } else { 0 };
        text.push_str(&format!(
            "alloc x{i} node=n{node:02} index={index} cpu=150{job}{over}{held}\n"
        ));
    }
    text.push_str("other other\n");
    if dice.below(3) == 0 {
        text.push_str("config\nset /SchedulerAlgorithm \"spread\"\n");
        if dice.below(2) == 0 {
            text.push_str("set /NodeLimitForFeasibilityChecks 3\n");
        }
    }
    text
}

/// Constraints, affinities, spreads, volumes and devices of the job declared last.
fn wishes(dice: &mut Dice, text: &mut String) {
    let constraints = [
        r#"{"LTarget":"${meta.rack}","Operand":"set_contains_any","RTarget":"r1,r3"}"#,
        r#"{"LTarget":"${meta.zone}","Operand":"!=","RTarget":"a"}"#,
        r#"{"LTarget":"${meta.zone}","Operand":"is_set"}"#,
        r#"{"LTarget":"${attr.gen}","Operand":">=","RTarget":"1"}"#,
        r#"{"LTarget":"${attr.unique.tag}","Operand":"is_not_set"}"#,
        r#"{"LTarget":"${node.class}","Operand":"=","RTarget":"big"}"#,
        r#"{"Operand":"distinct_hosts"}"#,
        r#"{"LTarget":"${meta.rack}","Operand":"distinct_property","RTarget":"2"}"#,
        r#"{"LTarget":"${meta.zone}","Operand":"distinct_property"}"#,
    ];
    for (level, chance) in [("/Constraints", 3), ("/TaskGroups/0/Constraints", 3)] {
        let mut list = Vec::new();
        for c in constraints {
            if dice.below(chance * 9) == 0 {
                list.push(c);
            }
        }
        if !list.is_empty() {
            text.push_str(&format!("set {level} [{}]\n", list.join(",")));
        }
    }
    if dice.below(3) == 0 {
        text.push_str(
            "set /Affinities [{\"LTarget\":\"${meta.zone}\",\"Operand\":\"=\",\"RTarget\":\"a\",\
             \"Weight\":40},{\"LTarget\":\"${node.class}\",\"Operand\":\"=\",\"RTarget\":\"big\",\
             \"Weight\":-70}]\n",
        );
    }
    match dice.below(6) {
        0 => text.push_str("set /Spreads [{\"Attribute\":\"${meta.rack}\",\"Weight\":50}]\n"),
        1 => text.push_str(
            "set /Spreads [{\"Attribute\":\"${meta.zone}\",\"Weight\":30,\"SpreadTarget\":\
             [{\"Value\":\"a\",\"Percent\":70}]},{\"Attribute\":\"${meta.rack}\",\"Weight\":70}]\n",
        ),
        2 => text.push_str(
            "set /TaskGroups/0/Spreads [{\"Attribute\":\"${meta.rack}\",\"Weight\":100,\
             \"SpreadTarget\":[{\"Value\":\"r1\",\"Percent\":100},{\"Value\":\"r2\",\
             \"Percent\":0}]}]\n",
        ),
        _ => {}
    }
    if dice.below(8) == 0 {
        text.push_str(
            "set /TaskGroups/0/Tasks/0/Resources/Devices [{\"Name\":\"acme/gpu\",\"Count\":1}]\n",
        );
    }
    match dice.below(12) {
        0 => text.push_str(
            "set /TaskGroups/0/Volumes {\"v\":{\"Name\":\"v\",\"Type\":\"host\",\"Source\":\
             \"data\"}}\n",
        ),
        1 => text.push_str(
            "set /TaskGroups/0/Volumes {\"v\":{\"Name\":\"v\",\"Type\":\"host\",\"Source\":\
             \"data\",\"PerAlloc\":true}}\n",
        ),
        _ => {}
    }
}

/// What one search saw.
#[derive(Debug, Default)]
struct Seen {
    evaluated: i64,
    filtered: BTreeMap<String, i64>,
    exhausted: BTreeMap<String, i64>,
    classes: BTreeMap<String, i64>,
    scores: Vec<(String, f64)>,
}

struct Slow<'w> {
    world: &'w World,
    job: &'w Job,
    group: &'w TaskGroup,
    /// Visited in this order, from `offset` on.
    order: Vec<&'w Node>,
    offset: usize,
    /// Of the plan, so far.
    placed: Vec<Allocation>,
    /// Classes that were looked at, by the job's and by the group's rules.
    job_classes: BTreeMap<String, bool>,
    group_classes: BTreeMap<String, bool>,
    lowest: f64,
}

impl<'w> Slow<'w> {
    fn new(world: &'w World, mut rng: u64) -> Self {
        let job = world.job.as_deref().expect("a job");
        let mut order: Vec<&Node> = world.nodes.iter().map(|n| &**n).collect();
        order.retain(|n| {
            let dc = job.datacenters.iter().any(|d| match d.strip_suffix('*') {
                Some(head) => n.datacenter.starts_with(head),
                None => *d == n.datacenter,
            });
            let takes = n.drain_strategy.is_none() && n.scheduling_eligibility == "eligible";
            n.status == "ready" && takes && dc && n.node_pool == "default"
        });
        for i in (1..order.len()).rev() {
            rng = rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = rng;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            let below = ((z >> 32) * (i as u64 + 1)) >> 32;
            order.swap(i, usize::try_from(below).unwrap());
        }
        Self {
            world,
            job,
            group: &job.task_groups[0],
            order,
            offset: 0,
            placed: Vec::new(),
            job_classes: BTreeMap::new(),
            group_classes: BTreeMap::new(),
            lowest: -1.0,
        }
    }

    /// The first difference.
    fn compare(&mut self, plan: &Plan) -> Option<String> {
        let done = self.world.allocs.iter().filter(|a| self.is_done(a)).count();
        let live = self.own().count() + done;
        let wanted = usize::try_from(self.group.count.unwrap()).unwrap().saturating_sub(live);
        let mut places = plan.places.iter();
        for _ in 0..wanted {
            let next = places.clone().next();
            // Without a placement the number in its name is not known; only volumes ask for it.
            let index = next.map_or(self.free_index(), |p| number(&p.alloc.name));
            let (found, seen) = self.search(index);
            match (found, next) {
                (Some(node), Some(p)) => {
                    places.next();
                    if p.alloc.node_id != node.id {
                        return Some(format!("{} belongs on {}, {seen:?}", p.alloc.name, node.id));
                    }
                    if let Some(wrong) = differ(p.alloc.metrics.as_ref().unwrap(), &seen) {
                        return Some(format!("{}: {wrong}", p.alloc.name));
                    }
                    self.placed.push(p.alloc.clone());
                    let here = self.on(node);
                    if let Err(why) = fit::fits(node, here) {
                        return Some(format!("{} does not fit: {why}", p.alloc.name));
                    }
                }
                (None, None) => {
                    let metric = plan.evals[0].failed_tg_allocs.get("app");
                    return match metric {
                        None => Some(format!("a failure is missing, {seen:?}")),
                        Some(m) => differ(m, &seen).map(|w| format!("failure: {w}")),
                    };
                }
                (found, next) => {
                    let found = found.map(|n| &n.id);
                    return Some(format!("{found:?} against {next:?}, {seen:?}"));
                }
            }
        }
        places.next().map(|p| format!("{} is too much", p.alloc.name))
    }

    fn free_index(&self) -> u32 {
        let stored = self.world.allocs.iter().map(|a| &**a).filter(|a| self.is_done(a));
        let taken: Vec<u32> = self.own().chain(stored).map(|a| number(&a.name)).collect();
        (0..).find(|i| !taken.contains(i)).unwrap()
    }

    /// Work that ended well is not done again.
    fn is_done(&self, a: &Allocation) -> bool {
        let over = a.client_status == "complete" && a.desired_status == "run";
        self.job.kind == "batch" && a.job_id == self.job.id && over
    }

    /// The job's allocations that are not over.
    fn own(&self) -> impl Iterator<Item = &Allocation> {
        let stored = self.world.allocs.iter().map(|a| &**a);
        stored.filter(|a| a.job_id == self.job.id && !fit::terminal(a)).chain(&self.placed)
    }

    /// Everything that holds room on a node.
    fn on(&self, node: &'w Node) -> impl Iterator<Item = &Allocation> {
        let stored = self.world.allocs.iter().map(|a| &**a).filter(|a| !fit::client_terminal(a));
        stored.chain(&self.placed).filter(|a| a.node_id == node.id)
    }

    fn search(&mut self, index: u32) -> (Option<&'w Node>, Seen) {
        let n = self.order.len();
        let wide = self.group.spreads.len() + self.job.spreads.len() + self.job.affinities.len();
        let limit = match (wide > 0, self.job.kind.as_str()) {
            (true, _) => {
                let width = self.world.config.node_limit_for_feasibility_checks;
                let width = if width == 0 { 100 } else { usize::try_from(width).unwrap() };
                width.max(usize::try_from(self.group.count.unwrap()).unwrap())
            }
            (false, "batch") => 2,
            (false, _) => 2.max((n as f64).log2().ceil() as usize),
        };
        let mut seen = Seen::default();
        let (mut ranked, mut aside) = (Vec::new(), Vec::new());
        for _ in 0..n {
            if ranked.len() == limit {
                break;
            }
            let node = self.order[self.offset % n];
            self.offset = self.offset % n + 1;
            seen.evaluated += 1;
            let class = |seen: &mut Seen| {
                if !node.node_class.is_empty() {
                    *seen.classes.entry(node.node_class.clone()).or_default() += 1;
                }
            };
            if let Err(reason) = self.feasible(node, index) {
                *seen.filtered.entry(reason).or_default() += 1;
                class(&mut seen);
                continue;
            }
            match self.room(node) {
                Err(reason) => {
                    *seen.exhausted.entry(reason).or_default() += 1;
                    class(&mut seen);
                }
                Ok(fit) => {
                    let score = self.score(node, fit);
                    seen.scores.push((node.id.clone(), score));
                    let list =
                        if score <= 0.0 && aside.len() < 3 { &mut aside } else { &mut ranked };
                    list.push((score, node));
                }
            }
        }
        let more = limit - ranked.len();
        ranked.extend(aside.into_iter().take(more));
        let best = ranked.iter().map(|r| r.0).fold(f64::NEG_INFINITY, f64::max);
        (ranked.into_iter().find(|r| r.0 == best).map(|r| r.1), seen)
    }

    fn feasible(&mut self, node: &'w Node, index: u32) -> Result<(), String> {
        let unique = |all: &[Constraint]| all.iter().any(|c| c.ltarget.contains("unique"));
        let plain = |c: &&Constraint| !c.operand.starts_with("distinct");
        let broken = |all: &[Constraint]| {
            let first = all.iter().filter(plain).find(|c| !holds(c, node));
            first.map(|c| format!("{} {} {}", c.ltarget, c.operand, c.rtarget))
        };
        let classed = "computed class ineligible".to_owned();
        if unique(&self.job.constraints) {
            broken(&self.job.constraints).map_or(Ok(()), Err)?;
        } else {
            match self.job_classes.get(&node.computed_class) {
                Some(false) => return Err(classed),
                Some(true) => {}
                None => {
                    let why = broken(&self.job.constraints);
                    self.job_classes.insert(node.computed_class.clone(), why.is_none());
                    why.map_or(Ok(()), Err)?;
                }
            }
        }
        let by_class = || {
            let driver = node.drivers.get("raw_exec");
            if !driver.is_some_and(|d| d.detected && d.healthy) {
                return Err("missing drivers".to_owned());
            }
            broken(&self.group.constraints).map_or(Ok(()), Err)?;
            if self.gpus() > 0 && healthy(node).is_empty() {
                return Err("missing devices".to_owned());
            }
            Ok(())
        };
        if unique(&self.group.constraints) {
            by_class()?;
        } else {
            match self.group_classes.get(&node.computed_class) {
                Some(false) => return Err(classed),
                Some(true) => {}
                None => {
                    let outcome = by_class();
                    self.group_classes.insert(node.computed_class.clone(), outcome.is_ok());
                    outcome?;
                }
            }
        }
        for v in self.group.volumes.values() {
            let source = if v.per_alloc { format!("data[{index}]") } else { "data".to_owned() };
            if node.host_volumes.get(&source).is_none_or(|have| have.read_only) {
                return Err("missing compatible host volumes".to_owned());
            }
        }
        let all = self.job.constraints.iter().chain(&self.group.constraints);
        if all.clone().any(|c| c.operand == "distinct_hosts")
            && self.own().any(|a| a.node_id == node.id)
        {
            return Err("distinct_hosts".to_owned());
        }
        for c in all.filter(|c| c.operand == "distinct_property") {
            let Some(value) = target(&c.ltarget, node) else {
                return Err(format!("missing property \"{}\"", c.ltarget));
            };
            let used = self.with(&c.ltarget, value);
            if used >= c.rtarget.parse().unwrap_or(1) {
                return Err(format!(
                    "distinct_property: {}={value} used by {used} allocs",
                    c.ltarget
                ));
            }
        }
        Ok(())
    }

    fn gpus(&self) -> usize {
        self.group.tasks[0].resources.as_ref().map_or(0, |r| r.devices.len())
    }

    /// How many of the job's allocations are on nodes with a value.
    fn with(&self, attribute: &str, value: &str) -> i64 {
        let has = |a: &&Allocation| {
            let node = self.world.nodes.iter().find(|n| n.id == a.node_id);
            node.and_then(|n| target(attribute, n)) == Some(value)
        };
        self.own().filter(has).count() as i64
    }

    /// The fit, or what is short.
    fn room(&self, node: &'w Node) -> Result<f64, String> {
        let here: Vec<&AllocatedResources> =
            self.on(node).filter_map(|a| a.allocated_resources.as_deref()).collect();
        let have = node.node_resources.as_ref().unwrap();
        let asked = self.group.tasks[0].resources.as_ref().unwrap();
        let networks = self.group.networks.first();
        let ports: Vec<i64> =
            here.iter().flat_map(|r| r.shared.ports.iter().map(|p| p.value)).collect();
        if let Some(net) = networks {
            for p in &net.reserved_ports {
                if ports.contains(&p.value) {
                    return Err(format!(
                        "network: reserved port collision {}={}",
                        p.label, p.value
                    ));
                }
            }
            let range = 20_000..=have.max_dynamic_port;
            let fixed = net.reserved_ports.iter().map(|p| p.value);
            let taken = ports.iter().copied().chain(fixed).filter(|p| range.contains(p)).count();
            if range.count() - taken < net.dynamic_ports.len() {
                return Err("network: dynamic port selection failed".to_owned());
            }
        }
        let tasks = || here.iter().flat_map(|r| r.tasks.values());
        if self.gpus() > 0 {
            let used: Vec<&String> =
                tasks().flat_map(|t| &t.devices.0).flat_map(|d| &d.device_ids.0).collect();
            if healthy(node).iter().all(|id| used.contains(&id)) {
                return Err("devices: no devices match request".to_owned());
            }
        }
        let cores: usize = tasks().map(|t| t.cpu.reserved_cores.len()).sum();
        if asked.cores > have.cpu.reservable_cpu_cores.len() as i64 - cores as i64 {
            return Err("cores".to_owned());
        }
        let mhz = match have.cpu.total_cpu_cores {
            0 => 0,
            n => have.cpu.cpu_shares / n,
        };
        let shares = if asked.cores > 0 { mhz * asked.cores } else { asked.cpu.unwrap() };
        let cpu = shares + tasks().map(|t| t.cpu.cpu_shares).sum::<i64>();
        let memory = asked.memory_mb.unwrap() + tasks().map(|t| t.memory.memory_mb).sum::<i64>();
        let disk = 100 + here.iter().map(|r| r.shared.disk_mb).sum::<i64>();
        let most = node.node_max_allocs;
        if most > 0 && here.len() as i64 + 1 > most {
            return Err("max allocation exceeded".to_owned());
        }
        for (name, used, of) in [
            ("cpu", cpu, have.cpu.cpu_shares),
            ("memory", memory, have.memory.memory_mb),
            ("disk", disk, have.disk.disk_mb),
        ] {
            if used > of {
                return Err(name.to_owned());
            }
        }
        let free = |used: i64, of: i64| libm::pow(10.0, 1.0 - used as f64 / of as f64);
        let total = free(cpu, have.cpu.cpu_shares) + free(memory, have.memory.memory_mb);
        let raw = match self.world.config.scheduler_algorithm.as_str() {
            "spread" => total - 2.0,
            _ => 20.0 - total,
        };
        Ok(raw.clamp(0.0, 18.0) / 18.0)
    }

    fn score(&mut self, node: &'w Node, fit: f64) -> f64 {
        let mut all = vec![fit];
        let count = self.group.count.unwrap() as f64;
        let collisions = self.own().filter(|a| a.node_id == node.id).count() as f64;
        if collisions > 0.0 {
            all.push(-(collisions + 1.0) / count);
        }
        if !self.job.affinities.is_empty() {
            let weight = |a: &vardo::api::Affinity| f64::from(a.weight.unwrap());
            let total: f64 = self.job.affinities.iter().map(|a| weight(a).abs()).sum();
            let matching = self
                .job
                .affinities
                .iter()
                .filter(|a| target(&a.ltarget, node) == Some(a.rtarget.as_str()));
            all.push(matching.map(weight).sum::<f64>() / total);
        }
        let spread = self.spread(node, count);
        if spread != 0.0 {
            all.push(spread);
        }
        all.iter().sum::<f64>() / all.len() as f64
    }

    fn spread(&mut self, node: &'w Node, count: f64) -> f64 {
        let spreads = || self.group.spreads.iter().chain(&self.job.spreads);
        let weights: f64 = spreads().map(|s| f64::from(s.weight.unwrap())).sum();
        let mut total = 0.0;
        let mut lowest = self.lowest;
        for s in spreads() {
            let Some(value) = target(&s.attribute, node) else {
                total -= 1.0;
                continue;
            };
            let used = self.with(&s.attribute, value);
            if s.spread_target.is_empty() {
                total += self.even(&s.attribute, used);
                continue;
            }
            let listed: f64 = s.spread_target.iter().map(|t| f64::from(t.percent)).sum();
            let own = s.spread_target.iter().find(|t| t.value == value);
            let percent = match own {
                Some(t) => f64::from(t.percent),
                None if listed < 100.0 => 100.0 - listed,
                None => {
                    total -= 1.0;
                    continue;
                }
            };
            let desired = percent / 100.0 * count;
            if desired == 0.0 {
                total += lowest;
                continue;
            }
            let share = f64::from(s.weight.unwrap()) / weights;
            let boost = (desired - (used as f64 + 1.0)) / desired * share;
            lowest = f64::min(lowest, boost);
            total += boost;
        }
        self.lowest = lowest;
        total
    }

    fn even(&self, attribute: &str, used: i64) -> f64 {
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for a in self.own() {
            let node = self.world.nodes.iter().find(|n| n.id == a.node_id);
            if let Some(value) = node.and_then(|n| target(attribute, n)) {
                *counts.entry(value).or_default() += 1;
            }
        }
        let (Some(least), Some(most)) = (counts.values().min(), counts.values().max()) else {
            return 0.0;
        };
        let min = if used == 0 { 0.0 } else { *least as f64 };
        let (max, used) = (*most as f64, used as f64);
        match (used == min, min == 0.0) {
            (false, _) => (min - used) / min,
            (true, _) if min == max => -1.0,
            (true, true) => 1.0,
            (true, false) => (max - min) / min,
        }
    }
}

fn healthy(node: &Node) -> Vec<String> {
    let groups = node.node_resources.iter().flat_map(|r| &r.devices.0);
    groups.flat_map(|g| &g.instances.0).filter(|i| i.healthy).map(|i| i.id.clone()).collect()
}

fn number(name: &str) -> u32 {
    let index = name.rsplit('[').next().and_then(|t| t.strip_suffix(']'));
    index.and_then(|t| t.parse().ok()).expect("a name with a number")
}

fn target<'a>(text: &'a str, node: &'a Node) -> Option<&'a str> {
    match text.strip_prefix("${").and_then(|t| t.strip_suffix('}')) {
        None => Some(text),
        Some("node.class") => Some(&node.node_class),
        Some(inner) => match inner.split_once('.') {
            Some(("meta", key)) => node.meta.get(key).map(String::as_str),
            Some(("attr", key)) => node.attributes.get(key).map(String::as_str),
            _ => None,
        },
    }
}

/// The operators that the generator uses.
fn holds(c: &Constraint, node: &Node) -> bool {
    let (l, r) = (target(&c.ltarget, node), c.rtarget.as_str());
    match c.operand.as_str() {
        "is_set" => l.is_some(),
        "is_not_set" => l.is_none(),
        "!=" => l != Some(r),
        "=" => l == Some(r),
        ">=" => l.is_some_and(|l| l.parse::<i64>().unwrap() >= r.parse::<i64>().unwrap()),
        "set_contains_any" => l.is_some_and(|l| r.split(',').any(|w| l.split(',').any(|h| h == w))),
        other => panic!("{other}"),
    }
}

/// The first difference between what a search told and what it should have seen.
fn differ(told: &AllocMetric, seen: &Seen) -> Option<String> {
    let sum = |m: &BTreeMap<String, i64>| m.values().sum::<i64>();
    let mut classes = told.class_filtered.0.clone();
    for (class, n) in &told.class_exhausted {
        *classes.entry(class.clone()).or_default() += n;
    }
    let mut best = seen.scores.clone();
    best.sort_by(|a, b| b.1.total_cmp(&a.1));
    best.truncate(5);
    let scores = told.score_meta_data.iter().zip(&best);
    let close = told.score_meta_data.len() == best.len()
        && scores.clone().all(|(t, s)| t.node_id == s.0 && (t.norm_score - s.1).abs() < 1e-12);
    let same = told.nodes_evaluated == seen.evaluated
        && told.nodes_filtered == sum(&seen.filtered)
        && told.nodes_exhausted == sum(&seen.exhausted)
        && told.constraint_filtered.0 == seen.filtered
        && told.dimension_exhausted.0 == seen.exhausted
        && classes == seen.classes
        && close;
    (!same).then(|| format!("{told:?}\nagainst {seen:?}"))
}
