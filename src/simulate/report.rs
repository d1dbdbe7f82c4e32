//! What came of a simulation, as text for people and as JSON for machines.

use std::fmt::Write;

use super::cluster::{Cluster, Fault};
use super::{Asked, GroupId, Tallies, Tally};
use crate::api::{AllocMetric, Job};
use crate::sched::Fleet;
use crate::sched::fit::{Capacity, Usage};
use crate::stdx::{BTreeMap, BTreeSet, json};

/// Rows of a table that are shown unless all are asked for.
const ROWS: usize = 30;

/// One node at the end.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) site: String,
    pub(super) capacity: Capacity,
    pub(super) used: Usage,
    pub(super) dead: bool,
}

impl Line {
    /// Shares of cpu, memory and disk in use, in percent.
    pub(super) fn shares(&self) -> [f64; 3] {
        let (u, c) = (&self.used, &self.capacity);
        [(u.cpu, c.cpu), (u.memory, c.memory), (u.disk, c.disk)].map(|(u, c)| percent(u, c))
    }
}

/// What came of it.
pub struct Report {
    placed: Tallies,
    /// After nodes died.
    after: Option<Tallies>,
    wanted: BTreeMap<GroupId, i64>,
    pub(super) nodes: Vec<Line>,
    dead: Vec<String>,
    conflicts: u64,
    placing_ns: u64,
    /// Name and node of every allocation, where they were asked for.
    pub(super) each: Vec<(String, String)>,
    all_rows: bool,
}

impl Report {
    pub(super) fn new(
        asked: &Asked,
        cluster: &mut Cluster,
        jobs: &[Job],
        placed: Tallies,
        placing_ns: u64,
    ) -> Result<Self, Fault> {
        let mut wanted = BTreeMap::new();
        for (job, copy) in jobs.iter().flat_map(|j| (0..asked.copies).map(move |c| (j, c))) {
            let id = match asked.copies {
                1 => job.id.clone(),
                _ => format!("{}-{copy}", job.id),
            };
            for g in &job.task_groups {
                let group = (job.namespace.clone(), id.clone(), g.name.clone());
                wanted.insert(group, g.count.unwrap_or(1));
            }
        }
        Ok(Self {
            placed,
            after: None,
            wanted,
            nodes: lines(&cluster.fleet()?, &[]),
            dead: Vec::new(),
            conflicts: cluster.conflicts,
            placing_ns,
            each: Vec::new(),
            all_rows: asked.each,
        })
    }

    pub(super) fn killed(
        &mut self,
        dead: Vec<String>,
        after: Tallies,
        cluster: &mut Cluster,
    ) -> Result<(), Fault> {
        self.nodes = lines(&cluster.fleet()?, &dead);
        self.dead = dead;
        self.after = Some(after);
        self.conflicts = cluster.conflicts;
        Ok(())
    }

    /// Whether everything found a place, before and after nodes died.
    pub fn complete(&self) -> bool {
        let last = self.after.as_ref().unwrap_or(&self.placed);
        self.placed.values().chain(last.values()).all(|t| t.unplaced == 0)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let sum = |of: fn(&Tally) -> u64| self.placed.values().map(of).sum::<u64>();
        let placed = sum(|t| t.placed);
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let (seconds, count) = (self.placing_ns as f64 / 1e9, placed as f64);
        line(
            &mut out,
            format_args!(
                "{placed} allocations placed on {} nodes in {seconds:.3} s of processor time \
                 ({:.0} per second)",
                self.nodes.len(),
                count / seconds.max(1e-9),
            ),
        );
        if self.conflicts > 0 {
            line(&mut out, format_args!("{} plans met a conflict", self.conflicts));
        }
        self.groups(&mut out, "Jobs", &self.placed);
        self.reasons(&mut out, &self.placed);
        if let Some(after) = &self.after {
            let sum = |of: fn(&Tally) -> u64| after.values().map(of).sum::<u64>();
            line(
                &mut out,
                format_args!(
                    "\nAfter {} nodes died: {} allocations lost, {} out of reach, {} placed again, \
                     {} evicted for others, {} without a place",
                    self.dead.len(),
                    sum(|t| t.lost),
                    sum(|t| t.unknown),
                    sum(|t| t.placed),
                    sum(|t| t.evicted),
                    after.values().map(|t| t.unplaced).sum::<i64>(),
                ),
            );
            self.groups(&mut out, "Jobs after the deaths", after);
            self.reasons(&mut out, after);
        }
        self.packing(&mut out);
        for (name, node) in &self.each {
            line(&mut out, format_args!("{name}  {node}"));
        }
        out
    }

    fn groups(&self, out: &mut String, title: &str, tallies: &Tallies) {
        let after = self.after.as_ref().is_some_and(|a| std::ptr::eq(a, tallies));
        let shown: Vec<(&GroupId, &Tally)> = tallies
            .iter()
            .filter(|(_, t)| {
                !after || t.lost + t.unknown + t.placed + t.evicted > 0 || t.unplaced > 0
            })
            .collect();
        let mut rows = vec![
            vec!["Job", "Group", "Wanted", "Placed", "Lost", "Unplaced"]
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        ];
        for (id, t) in shown.iter().take(self.limit()) {
            let wanted = self.wanted.get(*id).map_or_else(String::new, i64::to_string);
            rows.push(vec![
                id.1.clone(),
                id.2.clone(),
                wanted,
                t.placed.to_string(),
                t.lost.to_string(),
                t.unplaced.to_string(),
            ]);
        }
        table(out, title, &rows);
        more(out, shown.len(), self.limit(), "groups");
    }

    fn limit(&self) -> usize {
        if self.all_rows { usize::MAX } else { ROWS }
    }

    /// Why groups found no place, each reason once.
    fn reasons(&self, out: &mut String, tallies: &Tallies) {
        let mut seen = BTreeSet::new();
        for (id, t) in tallies.iter().filter(|(_, t)| t.unplaced > 0) {
            let Some(why) = &t.why else { continue };
            let text = reason(why);
            if seen.len() < self.limit() && seen.insert(text.clone()) {
                line(out, format_args!("\nNo place for {} of {}.{}:", t.unplaced, id.1, id.2));
                out.push_str(&text);
            }
        }
    }

    fn packing(&self, out: &mut String) {
        let living: Vec<&Line> = self.nodes.iter().filter(|n| !n.dead).collect();
        let mut total = Line {
            id: String::new(),
            name: String::new(),
            site: String::new(),
            capacity: Capacity::default(),
            used: Usage::default(),
            dead: false,
        };
        for n in &living {
            total.used.add(&n.used);
            total.capacity.cpu += n.capacity.cpu;
            total.capacity.memory += n.capacity.memory;
            total.capacity.disk += n.capacity.disk;
        }
        let used = living.iter().filter(|n| n.used.allocs > 0).count();
        let [cpu, memory, disk] = total.shares();
        line(
            out,
            format_args!(
                "\nPacking: {used} of {} nodes in use; cpu {cpu:.1} %, memory {memory:.1} %, \
                 disk {disk:.1} %",
                living.len()
            ),
        );
        let mut rows = vec![
            vec!["Node", "Allocations", "CPU %", "Memory %", "Disk %"]
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        ];
        let mut sorted: Vec<&Line> = self.nodes.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        for n in sorted.iter().take(self.limit()) {
            let [cpu, memory, disk] = n.shares();
            let name = if n.dead { format!("{} (dead)", n.name) } else { n.name.clone() };
            rows.push(vec![
                name,
                n.used.allocs.to_string(),
                format!("{cpu:.1}"),
                format!("{memory:.1}"),
                format!("{disk:.1}"),
            ]);
        }
        table(out, "Nodes", &rows);
        more(out, sorted.len(), self.limit(), "nodes");
    }

    /// For machines.
    pub fn json(&self) -> String {
        let mut out = String::from("{\"Jobs\":");
        self.json_groups(&mut out, &self.placed);
        if let Some(after) = &self.after {
            out.push_str(",\"AfterDeaths\":");
            self.json_groups(&mut out, after);
            let dead = String::from_utf8(json::encode(&self.dead)).unwrap_or_default();
            out.push_str(",\"DeadNodes\":");
            out.push_str(&dead);
        }
        out.push_str(",\"Nodes\":[");
        for (i, n) in self.nodes.iter().enumerate() {
            let [cpu, memory, disk] = n.shares();
            member(
                &mut out,
                format_args!(
                    "{}{{\"ID\":{},\"Name\":{},\"Dead\":{},\"Allocations\":{},\"CPU\":{},\
                     \"MemoryMB\":{},\"DiskMB\":{},\"CPUPercent\":{cpu:.2},\
                     \"MemoryPercent\":{memory:.2},\"DiskPercent\":{disk:.2}}}",
                    if i == 0 { "" } else { "," },
                    quoted(&n.id),
                    quoted(&n.name),
                    n.dead,
                    n.used.allocs,
                    n.used.cpu,
                    n.used.memory,
                    n.used.disk,
                ),
            );
        }
        out.push(']');
        if !self.each.is_empty() {
            out.push_str(",\"Placements\":[");
            for (i, (name, node)) in self.each.iter().enumerate() {
                let comma = if i == 0 { "" } else { "," };
                let (name, node) = (quoted(name), quoted(node));
                member(&mut out, format_args!("{comma}{{\"Name\":{name},\"Node\":{node}}}"));
            }
            out.push(']');
        }
        member(
            &mut out,
            format_args!(",\"Conflicts\":{},\"PlacingNs\":{}}}", self.conflicts, self.placing_ns),
        );
        out
    }

    fn json_groups(&self, out: &mut String, tallies: &Tallies) {
        out.push('[');
        for (i, (id, t)) in tallies.iter().enumerate() {
            let why = t.why.as_ref().map(json::encode).unwrap_or_else(|| b"null".to_vec());
            member(
                out,
                format_args!(
                    "{}{{\"Namespace\":{},\"Job\":{},\"Group\":{},\"Wanted\":{},\"Placed\":{},\
                     \"Lost\":{},\"Unknown\":{},\"Evicted\":{},\"Unplaced\":{},\"Metric\":{}}}",
                    if i == 0 { "" } else { "," },
                    quoted(&id.0),
                    quoted(&id.1),
                    quoted(&id.2),
                    self.wanted.get(id).copied().unwrap_or(0),
                    t.placed,
                    t.lost,
                    t.unknown,
                    t.evicted,
                    t.unplaced,
                    String::from_utf8_lossy(&why),
                ),
            );
        }
        out.push(']');
    }
}

/// The nodes in the order of their ids.
fn lines(fleet: &Fleet, dead: &[String]) -> Vec<Line> {
    let one = |at: u32| {
        let node = fleet.node(at);
        Line {
            id: node.id.clone(),
            name: node.name.clone(),
            site: match node.meta.get("rack") {
                Some(rack) => format!("{} {rack}", node.datacenter),
                None => node.datacenter.clone(),
            },
            capacity: fleet.capacity(at).clone(),
            used: fleet.used(at),
            dead: dead.contains(&node.id),
        }
    };
    (0..fleet.len()).map(one).collect()
}

/// Why something found no place, one line per cause.
fn reason(why: &AllocMetric) -> String {
    let mut out = String::new();
    line(
        &mut out,
        format_args!(
            "  {} nodes looked at, {} cannot run it, {} have no room",
            why.nodes_evaluated, why.nodes_filtered, why.nodes_exhausted
        ),
    );
    if why.nodes_evaluated == 0 {
        line(&mut out, format_args!("  no node of its datacenters and pool is ready"));
    }
    for (text, n) in why.constraint_filtered.iter() {
        line(&mut out, format_args!("  {n} nodes: {text}"));
    }
    for (text, n) in why.dimension_exhausted.iter() {
        line(&mut out, format_args!("  {n} nodes have not enough: {text}"));
    }
    out
}

fn quoted(text: &str) -> String {
    String::from_utf8(json::encode(text)).unwrap_or_default()
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    member(out, text);
    out.push('\n');
}

fn member(out: &mut String, text: std::fmt::Arguments<'_>) {
    if out.write_fmt(text).is_err() {
        unreachable!("a string takes everything");
    }
}

/// Columns, the first two to the left and numbers to the right.
fn table(out: &mut String, title: &str, rows: &[Vec<String>]) {
    line(out, format_args!("\n{title}"));
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
    for row in rows {
        let mut text = String::new();
        for (c, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if c == 0 { "" } else { "  " };
            let number = cell.starts_with(|c: char| c.is_ascii_digit());
            match number || (c > 0 && rows.len() > 1 && numeric(rows, c)) {
                true => member(&mut text, format_args!("{gap}{cell:>width$}")),
                false => member(&mut text, format_args!("{gap}{cell:<width$}")),
            }
        }
        line(out, format_args!("{}", text.trim_end()));
    }
}

/// Whether a column holds numbers below its head.
fn numeric(rows: &[Vec<String>], column: usize) -> bool {
    let cells = rows.iter().skip(1).filter_map(|r| r.get(column));
    cells.clone().all(|c| c.parse::<f64>().is_ok())
}

fn more(out: &mut String, all: usize, limit: usize, what: &str) {
    if all > limit {
        line(out, format_args!("… and {} more {what} (-verbose shows all)", all - limit));
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of nodes are far below 2^53")]
fn percent(used: i64, of: i64) -> f64 {
    if of > 0 { used as f64 * 100.0 / of as f64 } else { 0.0 }
}
