//! Follows an evaluation until its allocations run: what `job run` and `job stop` print.
//!
//! States: evaluation pending → evaluation ended → deployment, or the allocations of the
//! evaluation one by one. On a terminal the last line is a summary that is redrawn in place.

use super::args::Args;
use super::find::quoted;
use super::format::{count, row, short, table, time};
use super::http::Query;
use super::{Session, Stop, failed, system};
use crate::api::status::{
    CLIENT_COMPLETE, CLIENT_FAILED, CLIENT_LOST, CLIENT_PENDING, CLIENT_RUNNING, DEPLOYMENT_PAUSED,
    DEPLOYMENT_RUNNING, DEPLOYMENT_SUCCESSFUL, DESIRED_RUN, EVAL_BLOCKED, EVAL_CANCELED,
    EVAL_COMPLETE, EVAL_FAILED,
};
use crate::api::{AllocListStub, AllocMetric, Deployment, DeploymentState, Evaluation};
use crate::stdx::{BTreeMap, sort};

/// Exit status where the evaluation ended and something was not placed.
const NOT_PLACED: i32 = 2;

/// Longest wait for news of one request; the agent answers earlier where something changes.
const WAIT: &str = "1s";

/// Requests that a deployment of healthy allocations is given to say that it succeeded.
const TURNS_FOR_STATUS: u32 = 3;

/// Follows the evaluation of what was done, or tells its id.
pub(super) fn follow(session: &mut Session<'_>, args: &Args, eval: &str) -> Result<i32, Stop> {
    if eval.is_empty() {
        return Ok(0);
    }
    if args.on("detach") {
        session.say(&format!("Evaluation ID: {eval}"));
        return Ok(0);
    }
    Monitor::new(session, args.on("verbose")).evaluation(eval)
}

/// The state of following one evaluation.
pub(super) struct Monitor<'s, 'a> {
    session: &'s mut Session<'a>,
    verbose: bool,
    /// Status of the evaluation as printed last.
    status: String,
    deployment: String,
    /// Client status of each allocation as printed last.
    allocs: BTreeMap<String, String>,
    index: u64,
    /// A summary stands on the terminal's last line.
    drawn: bool,
}

impl<'s, 'a> Monitor<'s, 'a> {
    pub(super) fn new(session: &'s mut Session<'a>, verbose: bool) -> Self {
        Self {
            session,
            verbose,
            status: "pending".to_owned(),
            deployment: String::new(),
            allocs: BTreeMap::new(),
            index: 0,
            drawn: false,
        }
    }

    /// Follows the evaluation to its end and beyond; the command's exit status.
    pub(super) fn evaluation(mut self, id: &str) -> Result<i32, Stop> {
        self.title(&format!("Monitoring evaluation {}", quoted(id, self.verbose)));
        let eval = self.until_ended(id)?;
        let placed_all = self.report_end(&eval);
        let healthy = if eval.deployment_id.is_empty() {
            self.until_running(id)?
        } else {
            self.deployment(&eval.deployment_id)?
        };
        Ok(match (placed_all, healthy) {
            (false, _) => NOT_PLACED,
            (true, false) => 1,
            (true, true) => 0,
        })
    }

    /// Follows a deployment alone; the command's exit status.
    pub(super) fn rollout(mut self, id: &str) -> Result<i32, Stop> {
        Ok(i32::from(!self.deployment(id)?))
    }

    /// Follows the evaluation of a job that was stopped: it is over when the evaluation is.
    pub(super) fn stop(mut self, id: &str) -> Result<i32, Stop> {
        self.title(&format!("Monitoring evaluation {}", quoted(id, self.verbose)));
        let eval = self.until_ended(id)?;
        Ok(i32::from(!self.report_end(&eval)))
    }

    fn until_ended(&mut self, id: &str) -> Result<Evaluation, Stop> {
        let mut first = true;
        let mut index = 0;
        loop {
            let query = wait(index);
            let (at, eval): (u64, Evaluation) = self
                .session
                .api
                .read_indexed(&format!("/v1/evaluation/{id}"), query)
                .map_err(failed("Error reading evaluation"))?;
            index = at;
            if std::mem::take(&mut first) {
                let by = match (eval.node_id.as_str(), eval.job_id.as_str()) {
                    ("", job) => format!("job \"{job}\""),
                    (node, _) => format!("node {}", quoted(node, self.verbose)),
                };
                self.line(&format!("Evaluation triggered by {by}"));
            }
            if self.deployment.is_empty() && !eval.deployment_id.is_empty() {
                self.deployment.clone_from(&eval.deployment_id);
                let shown = quoted(&eval.deployment_id, self.verbose);
                self.line(&format!("Evaluation within deployment: {shown}"));
            }
            self.allocations(id, 0)?;
            if eval.status != self.status {
                self.line(&format!(
                    "Evaluation status changed: \"{}\" -> \"{}\"",
                    self.status, eval.status
                ));
                self.status.clone_from(&eval.status);
            }
            let ended = [EVAL_COMPLETE, EVAL_FAILED, EVAL_CANCELED, EVAL_BLOCKED];
            if ended.contains(&eval.status.as_str()) {
                return Ok(eval);
            }
            if !self.session.open {
                return Err(Stop::Error("nobody reads the output".to_owned()));
            }
        }
    }

    /// Says how it ended; false where something was not placed.
    fn report_end(&mut self, eval: &Evaluation) -> bool {
        let shown = quoted(&eval.id, self.verbose);
        let ended = format!("Evaluation {shown} finished with status \"{}\"", eval.status);
        if eval.failed_tg_allocs.is_empty() {
            self.title(&ended);
            if !eval.status_description.is_empty() && eval.status != EVAL_COMPLETE {
                self.line(&format!("Evaluation status: {}", eval.status_description));
            }
            return eval.status == EVAL_COMPLETE;
        }
        self.title(&format!("{ended} but failed to place all allocations:"));
        for (group, metrics) in &eval.failed_tg_allocs {
            let n = metrics.coalesced_failures + 1;
            let allocations = count(n, "allocation");
            self.line(&format!("Task Group \"{group}\" (failed to place {allocations}):"));
            for reason in reasons(metrics) {
                self.session.say(&format!("      {reason}"));
            }
        }
        if !eval.blocked_eval.is_empty() {
            let blocked = quoted(&eval.blocked_eval, self.verbose);
            self.line(&format!(
                "Evaluation {blocked} waiting for additional capacity to place remainder"
            ));
        }
        false
    }

    /// Waits until no allocation of the evaluation is pending; false where one failed.
    fn until_running(&mut self, id: &str) -> Result<bool, Stop> {
        let mut index = 0;
        loop {
            let allocs = self.allocations(id, index)?;
            index = self.index;
            let wanted: Vec<_> =
                allocs.iter().filter(|a| a.desired_status == DESIRED_RUN).collect();
            let of = |status: &[&str]| {
                wanted.iter().filter(|a| status.contains(&a.client_status.as_str())).count()
            };
            if of(&[CLIENT_PENDING]) == 0 || !self.session.open {
                self.clear();
                return Ok(of(&[CLIENT_FAILED, CLIENT_LOST]) == 0);
            }
            let up = of(&[CLIENT_RUNNING, CLIENT_COMPLETE]);
            self.draw(&format!("{up}/{} running", wanted.len()));
        }
    }

    /// Reads the evaluation's allocations and prints what is new of them.
    fn allocations(&mut self, eval: &str, index: u64) -> Result<Vec<AllocListStub>, Stop> {
        let path = format!("/v1/evaluation/{eval}/allocations");
        let (at, mut allocs): (u64, Vec<AllocListStub>) = self
            .session
            .api
            .read_indexed(&path, wait(index))
            .map_err(failed("Error reading allocations"))?;
        self.index = at;
        sort::by(&mut allocs, |a, b| (a.create_index, &a.name).cmp(&(b.create_index, &b.name)));
        for a in &allocs {
            let shown = quoted(&a.id, self.verbose);
            match self.allocs.get(&a.id).cloned() {
                None => {
                    let node = quoted(&a.node_id, self.verbose);
                    let verb = if a.create_index < a.modify_index && a.eval_id != eval {
                        "modified"
                    } else {
                        "created"
                    };
                    self.line(&format!(
                        "Allocation {shown} {verb}: node {node}, group \"{}\"",
                        a.task_group
                    ));
                    if a.client_status != CLIENT_PENDING {
                        self.changed(&shown, CLIENT_PENDING, a);
                    }
                }
                Some(old) if old != a.client_status => self.changed(&shown, &old, a),
                Some(_) => {}
            }
            self.allocs.insert(a.id.clone(), a.client_status.clone());
        }
        Ok(allocs)
    }

    fn changed(&mut self, shown: &str, old: &str, alloc: &AllocListStub) {
        let why = match alloc.client_description.as_str() {
            "" => String::new(),
            text => format!(" ({text})"),
        };
        self.line(&format!(
            "Allocation {shown} status changed: \"{old}\" -> \"{}\"{why}",
            alloc.client_status
        ));
    }

    /// Follows a deployment until it ends; true where it succeeded.
    fn deployment(&mut self, id: &str) -> Result<bool, Stop> {
        self.title(&format!("Monitoring deployment {}", quoted(id, self.verbose)));
        let (mut index, mut last, mut turns_complete) = (0, String::new(), 0);
        loop {
            let (at, deployment): (u64, Deployment) = self
                .session
                .api
                .read_indexed(&format!("/v1/deployment/{id}"), wait(index))
                .map_err(failed("Error reading deployment"))?;
            index = at;
            let snapshot = deployment_text(&deployment, self.verbose);
            let running =
                [DEPLOYMENT_RUNNING, DEPLOYMENT_PAUSED].contains(&deployment.status.as_str());
            if snapshot != last && (!running || !self.session.terminal) {
                self.clear();
                let now = time(system::wall_ns());
                let text = format!("    {now}\n{}", indent(&snapshot, "    "));
                self.session.say(&text);
                last = snapshot;
            }
            if !running || !self.session.open {
                return Ok(deployment.status == DEPLOYMENT_SUCCESSFUL);
            }
            // Everything is healthy: the status follows, but nothing is left to wait for.
            turns_complete = if is_complete(&deployment) { turns_complete + 1 } else { 0 };
            if turns_complete > TURNS_FOR_STATUS {
                self.clear();
                return Ok(true);
            }
            let sum = |f: fn(&DeploymentState) -> i64| {
                deployment.task_groups.values().map(f).sum::<i64>()
            };
            let (placed, healthy) = (sum(|g| g.placed_allocs), sum(|g| g.healthy_allocs));
            let desired = sum(|g| g.desired_total);
            self.draw(&format!("{placed}/{desired} placed, {healthy} healthy"));
        }
    }

    /// A line with `==> ` and the time before it.
    fn title(&mut self, text: &str) {
        self.clear();
        let line = format!("==> {}: {text}", time(system::wall_ns()));
        self.session.say(&line);
    }

    /// An indented line with the time before it.
    fn line(&mut self, text: &str) {
        self.clear();
        let line = format!("    {}: {text}", time(system::wall_ns()));
        self.session.say(&line);
    }

    /// Replaces the summary on the terminal's last line; nothing where it is no terminal.
    fn draw(&mut self, text: &str) {
        if self.session.terminal {
            self.session.write(format!("\r\x1b[K    {text}").as_bytes());
            self.drawn = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            self.session.write(b"\r\x1b[K");
        }
    }
}

/// Whether every wanted allocation is healthy, and no canary waits to be promoted.
fn is_complete(d: &Deployment) -> bool {
    let done = |g: &DeploymentState| {
        g.healthy_allocs >= g.desired_total && (g.desired_canaries == 0 || g.promoted)
    };
    d.status == DEPLOYMENT_RUNNING && d.task_groups.values().all(done)
}

/// Parameters that hold a request until something is newer than `index`.
fn wait(index: u64) -> Query {
    if index == 0 {
        return Query::default();
    }
    Query::default().with("index", &index.to_string()).with("wait", WAIT)
}

/// Why a group could not be placed, one bullet each.
pub(super) fn reasons(metrics: &AllocMetric) -> Vec<String> {
    let mut out = Vec::new();
    let mut say = |text: String| out.push(format!("* {text}"));
    if metrics.nodes_evaluated == 0 {
        say("No nodes were eligible for evaluation".to_owned());
    }
    for (datacenter, n) in &metrics.nodes_available {
        if *n == 0 {
            say(format!("No nodes are available in datacenter \"{datacenter}\""));
        }
    }
    for (class, n) in &metrics.class_filtered {
        say(format!("Class \"{class}\": {} excluded by filter", count(*n, "node")));
    }
    for (constraint, n) in &metrics.constraint_filtered {
        say(format!("Constraint \"{constraint}\": {} excluded by filter", count(*n, "node")));
    }
    if metrics.nodes_exhausted > 0 {
        say(format!("Resources exhausted on {}", count(metrics.nodes_exhausted, "node")));
    }
    for (class, n) in &metrics.class_exhausted {
        say(format!("Class \"{class}\" exhausted on {}", count(*n, "node")));
    }
    for (dimension, n) in &metrics.dimension_exhausted {
        say(format!("Dimension \"{dimension}\" exhausted on {}", count(*n, "node")));
    }
    for quota in &metrics.quota_exhausted {
        say(format!("Quota limit hit \"{quota}\""));
    }
    out
}

/// A deployment as key-value list and table.
pub(super) fn deployment_text(d: &Deployment, verbose: bool) -> String {
    let head = super::format::pairs(&[
        ("ID", short(&d.id, verbose)),
        ("Job ID", d.job_id.clone()),
        ("Job Version", d.job_version.to_string()),
        ("Status", d.status.clone()),
        ("Description", d.status_description.clone()),
    ]);
    format!("{head}\n\nDeployed\n{}", deployed(d))
}

/// The table of a deployment's groups; columns that no group uses are left out.
pub(super) fn deployed(d: &Deployment) -> String {
    let groups = || d.task_groups.iter();
    let revert = groups().any(|(_, g)| g.auto_revert);
    let canary = groups().any(|(_, g)| g.desired_canaries > 0);
    let pick = |cells: [String; 9]| -> Vec<String> {
        let keep = |i: &usize| match *i {
            1 => revert,
            2 | 4 => canary,
            _ => true,
        };
        cells.into_iter().enumerate().filter(|(i, _)| keep(i)).map(|(_, c)| c).collect()
    };
    let mut rows = vec![pick(
        row([
            "Task Group",
            "Auto Revert",
            "Promoted",
            "Desired",
            "Canaries",
            "Placed",
            "Healthy",
            "Unhealthy",
            "Progress Deadline",
        ])
        .try_into()
        .unwrap_or_default(),
    )];
    for (name, g) in groups() {
        rows.push(pick([
            name.clone(),
            g.auto_revert.to_string(),
            if g.desired_canaries > 0 { g.promoted.to_string() } else { "N/A".to_owned() },
            g.desired_total.to_string(),
            g.desired_canaries.to_string(),
            g.placed_allocs.to_string(),
            g.healthy_allocs.to_string(),
            g.unhealthy_allocs.to_string(),
            time(g.require_progress_by.0),
        ]));
    }
    table(&rows)
}

fn indent(text: &str, by: &str) -> String {
    let line = |l: &str| if l.is_empty() { String::new() } else { format!("{by}{l}") };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_placements_name_their_reasons() {
        let metrics: AllocMetric = crate::stdx::json::decode(
            br#"{"NodesEvaluated":2,"NodesExhausted":1,"ClassFiltered":{"a":1},
                "ConstraintFiltered":{"${attr.kernel.name} = x":2},
                "DimensionExhausted":{"memory":1},"NodesAvailable":{"dc1":2,"dc2":0}}"#,
        )
        .unwrap();
        assert_eq!(
            reasons(&metrics),
            [
                "* No nodes are available in datacenter \"dc2\"",
                "* Class \"a\": 1 node excluded by filter",
                "* Constraint \"${attr.kernel.name} = x\": 2 nodes excluded by filter",
                "* Resources exhausted on 1 node",
                "* Dimension \"memory\" exhausted on 1 node",
            ]
        );
        let none = reasons(&AllocMetric::default());
        assert_eq!(none, ["* No nodes were eligible for evaluation"]);
    }

    #[test]
    fn deployments_show_only_columns_in_use() {
        let mut d: Deployment = crate::stdx::json::decode(
            br#"{"TaskGroups":{"g":{"DesiredTotal":3,"PlacedAllocs":2,"HealthyAllocs":1}}}"#,
        )
        .unwrap();
        let plain = "Task Group  Desired  Placed  Healthy  Unhealthy  Progress Deadline\n\
                     g           3        2       1        0          N/A";
        assert_eq!(deployed(&d), plain);
        d.task_groups.get_mut("g").unwrap().desired_canaries = 1;
        assert!(deployed(&d).starts_with("Task Group  Promoted  Desired  Canaries  Placed"));
    }
}
