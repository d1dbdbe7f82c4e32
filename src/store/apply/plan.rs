//! Plans of the scheduler, checked again node by node.

use crate::api::{AllocDeploymentStatus, Allocation, Node, status};
use crate::command::{AllocStop, Applied, Placement, Plan};
use crate::sched::fit;
use crate::sched::volume::wants_alone;
use crate::stdx::{BTreeMap, BTreeSet, json};
use crate::store::rows::{Client, Desired, Facts, JobKind, NodeHead, NodeStatus, alloc_head};
use crate::store::schema::keys;
use crate::store::{Batch, Reader, StoreError, Table, typed};

use super::alloc::{By, merge};
use super::deployment::Placed;
use super::moves::Moves;

/// One node's part of a plan.
#[derive(Default)]
struct Part<'p> {
    stops: Vec<&'p AllocStop>,
    places: Vec<&'p Placement>,
}

impl Batch<'_> {
    pub(super) fn plan_apply(
        &mut self,
        index: u64,
        plan: &Plan,
        wall_ns: i64,
    ) -> Result<Applied, StoreError> {
        let mut parts: BTreeMap<&str, Part<'_>> = BTreeMap::new();
        for stop in &plan.stops {
            parts.entry(&stop.node_id).or_default().stops.push(stop);
        }
        for place in &plan.places {
            parts.entry(&place.alloc.node_id).or_default().places.push(place);
        }
        let mut refused = Vec::new();
        for (node, part) in &parts {
            if !accepts(self.reader(), node, part)? {
                refused.push((*node).to_owned());
            }
        }
        let whole = refused.is_empty();
        if whole || !plan.all_at_once {
            for node in &refused {
                parts.remove(node.as_str());
            }
            self.commit_plan(index, plan, &parts, whole, wall_ns)?;
        }
        let progress = whole || (!plan.all_at_once && !parts.is_empty());
        Ok(Applied::Plan { refused, refresh_index: if whole { 0 } else { index }, progress })
    }

    fn commit_plan(
        &mut self,
        index: u64,
        plan: &Plan,
        parts: &BTreeMap<&str, Part<'_>>,
        whole: bool,
        wall_ns: i64,
    ) -> Result<(), StoreError> {
        let mut moves = Moves::default();
        if let Some(d) = &plan.deployment {
            self.plan_deployment(index, d, wall_ns, &mut moves)?;
        }
        for update in &plan.deployment_updates {
            self.update_deployment(index, update, wall_ns, &mut moves)?;
        }
        let places = parts.values().any(|part| !part.places.is_empty());
        let signer = if places { self.reader().signing_key()? } else { None };
        let signer = signer.unwrap_or_default();
        let mut kind = Kind::default();
        let mut placed: BTreeMap<&str, Vec<Placed>> = BTreeMap::new();
        for part in parts.values() {
            for stop in &part.stops {
                self.stop_alloc(index, stop, wall_ns, &mut moves)?;
            }
            for place in &part.places {
                if self.place_alloc(index, place, &signer, wall_ns, &mut kind, &mut moves)? {
                    let a = &place.alloc;
                    placed.entry(&a.deployment_id).or_default().push(Placed {
                        group: a.task_group.clone(),
                        alloc: a.id.clone(),
                        canary: a.deployment_status.as_ref().is_some_and(|s| s.canary),
                        wall_ns,
                    });
                }
            }
        }
        for claim in &plan.claims {
            let key = keys::by_uuid(&claim.alloc_id).unwrap_or_default();
            if self.reader().has(Table::Alloc, &key)? {
                self.put_claim(index, claim)?;
            }
        }
        for (deployment, placed) in placed {
            self.count_placed(index, deployment, &placed, &mut moves)?;
        }
        if whole {
            for eval in &plan.evals {
                let mut eval = eval.clone();
                for time in [&mut eval.create_time, &mut eval.modify_time] {
                    if *time == 0 {
                        *time = wall_ns;
                    }
                }
                self.put_eval(index, eval, &mut moves)?;
            }
        }
        self.settle(index, moves)
    }

    fn stop_alloc(
        &mut self,
        index: u64,
        stop: &AllocStop,
        wall_ns: i64,
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let Some(key) = keys::by_uuid(&stop.id) else { return Ok(()) };
        self.change_alloc(index, &key, wall_ns, By::Server, moves, |a| {
            for (to, text) in [
                (&mut a.desired_status, &stop.desired_status),
                (&mut a.desired_description, &stop.desired_description),
                (&mut a.client_status, &stop.client_status),
                (&mut a.followup_eval_id, &stop.followup_eval_id),
                (&mut a.next_allocation, &stop.next_allocation),
                (&mut a.preempted_by_allocation, &stop.preempted_by),
            ] {
                if !text.is_empty() {
                    to.clone_from(text);
                }
            }
            if let Some(state) = &stop.state {
                a.alloc_states.push(state.clone());
            }
            if let Some(wish) = &stop.transition {
                merge(&mut a.desired_transition, wish);
            }
            if !stop.last_reschedule.is_empty() {
                let tracker = a.reschedule_tracker.get_or_insert_default();
                tracker.last_reschedule.clone_from(&stop.last_reschedule);
            }
        })?;
        Ok(())
    }

    /// Writes a new allocation, whose identities the key `signer` signs, or an update in place.
    /// True where it is new to its deployment.
    fn place_alloc(
        &mut self,
        index: u64,
        place: &Placement,
        signer: &str,
        wall_ns: i64,
        kind: &mut Kind,
        moves: &mut Moves,
    ) -> Result<bool, StoreError> {
        let kind = kind.of(self.reader(), &place.alloc)?;
        let Some(key) = keys::by_uuid(&place.alloc.id) else { return Ok(false) };
        if !self.reader().has(Table::Alloc, &key)? {
            self.new_alloc(index, place, signer, wall_ns, kind, moves)?;
            return Ok(!place.alloc.deployment_id.is_empty());
        }
        let mut alloc = place.alloc.clone();
        alloc.job_version = place.job_version;
        alloc.job_create_index = place.job_create_index;
        let Some(row) = self.reader().row(Table::Alloc, &key)? else { return Ok(false) };
        let (head, before) = (row.head, typed::alloc(&row)?);
        let fresh = !alloc.deployment_id.is_empty() && before.deployment_id != alloc.deployment_id;
        keep_client_part(&mut alloc, &before);
        if alloc.desired_status.is_empty() {
            status::DESIRED_RUN.clone_into(&mut alloc.desired_status);
        }
        alloc.modify_index = index;
        alloc.alloc_modify_index = index;
        alloc.modify_time = wall_ns;
        if let Some(AllocDeploymentStatus { modify_index: at @ 0, .. }) =
            &mut alloc.deployment_status
        {
            *at = index;
        }
        self.put_alloc(index, &alloc, Some(head), kind, By::Server, moves)?;
        Ok(fresh)
    }

    /// Writes a new allocation, printed as it came but for what is decided here.
    fn new_alloc(
        &mut self,
        index: u64,
        place: &Placement,
        signer: &str,
        wall_ns: i64,
        kind: JobKind,
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let alloc = &place.alloc;
        let id = |text: &str| keys::by_uuid(text).unwrap_or_default();
        let Some(node) = keys::by_uuid(&alloc.node_id) else { return Ok(()) };
        let ids = [id(&alloc.eval_id), node, id(&alloc.deployment_id)];
        let mut head = alloc_head(alloc, kind, ids);
        let quoted = |text: &str| json::encode(text);
        let or =
            |text: &str, other: &'static str| quoted(if text.is_empty() { other } else { text });
        let client = or(&alloc.client_status, status::CLIENT_PENDING);
        let desired = or(&alloc.desired_status, status::DESIRED_RUN);
        let (at, time, signer) = (index.to_string(), wall_ns.to_string(), quoted(signer));
        let health = alloc.deployment_status.clone().map(|mut s| {
            if s.modify_index == 0 {
                s.modify_index = index;
            }
            json::encode(&s)
        });
        let mut edits: Vec<(&str, &[u8])> = Vec::with_capacity(9);
        edits.push(("AllocModifyIndex", at.as_bytes()));
        edits.push(("ClientStatus", &client));
        edits.push(("CreateIndex", at.as_bytes()));
        edits.push(("CreateTime", time.as_bytes()));
        edits.extend(health.as_ref().map(|h| ("DeploymentStatus", h.as_slice())));
        edits.push(("DesiredStatus", &desired));
        edits.push(("ModifyIndex", at.as_bytes()));
        edits.push(("ModifyTime", time.as_bytes()));
        if signer != b"\"\"" {
            edits.push(("SigningKeyID", &signer));
        }
        (head.create, head.modify) = (index, index);
        if let Facts::Alloc(facts) = &mut head.facts {
            facts.job_version = place.job_version;
            facts.job_create = place.job_create_index;
            facts.alloc_modify = index;
            if alloc.client_status.is_empty() {
                facts.client = Client::Pending;
            }
            if alloc.desired_status.is_empty() {
                facts.desired = Desired::Run;
            }
        }
        self.put_alloc_as(index, alloc, head, &edits, None, By::Server, moves)?;
        if let Some(previous) = keys::by_uuid(&alloc.previous_allocation) {
            self.change_alloc(index, &previous, wall_ns, By::Server, moves, |p| {
                p.next_allocation.clone_from(&alloc.id);
            })?;
        }
        Ok(())
    }
}

/// The kind of the job that was last asked for, which does not change from version to version.
#[derive(Default)]
struct Kind {
    key: Vec<u8>,
    kind: JobKind,
}

impl Kind {
    fn of(&mut self, reader: Reader<'_>, alloc: &Allocation) -> Result<JobKind, StoreError> {
        let key = keys::job(&alloc.namespace, &alloc.job_id);
        if key != self.key {
            let row = reader.row(Table::Job, &key)?;
            self.kind = row.map(|r| r.job().kind).unwrap_or_default();
            self.key = key;
        }
        Ok(self.kind)
    }
}

/// What the node has reported stays when the servers update an allocation in place.
fn keep_client_part(alloc: &mut Allocation, before: &Allocation) {
    alloc.create_index = before.create_index;
    alloc.create_time = before.create_time;
    alloc.client_status.clone_from(&before.client_status);
    alloc.client_description.clone_from(&before.client_description);
    alloc.task_states.clone_from(&before.task_states);
    alloc.network_status.clone_from(&before.network_status);
}

/// True where a node can take its part of a plan, as things stand now.
fn accepts(reader: Reader<'_>, node_id: &str, part: &Part<'_>) -> Result<bool, StoreError> {
    if part.places.is_empty() {
        return Ok(true);
    }
    let Some(key) = keys::by_uuid(node_id) else { return Ok(false) };
    let Some(row) = reader.row(Table::Node, &key)? else { return Ok(false) };
    let node = row.node();
    // What comes and what leaves; an update in place does both.
    let mut used = reader.node_sum(&key)?;
    let mut leaving = BTreeSet::new();
    let mut fresh = false;
    let ids = part.places.iter().map(|p| (&p.alloc.id, true));
    for (id, placed) in ids.chain(part.stops.iter().map(|s| (&s.id, false))) {
        let Some(id) = keys::by_uuid(id) else {
            if placed {
                return Ok(false);
            }
            continue;
        };
        let row = reader.row(Table::Alloc, &id)?;
        fresh |= placed && row.is_none();
        let held = row.map(|r| r.alloc()).filter(|h| h.node == key && !h.client_terminal());
        if leaving.insert(id)
            && let Some(held) = held
        {
            used.sub(&held.usage());
        }
    }
    if node.status != NodeStatus::Ready || (fresh && !node.eligible) {
        return Ok(false);
    }
    let mut exclusive = false;
    for place in &part.places {
        if let Some(r) = &place.alloc.allocated_resources {
            used.add(&fit::need(r));
            exclusive |= fit::exclusive(r);
        }
    }
    if capacity(&node).exceeded(&used).is_some() {
        return Ok(false);
    }
    if fresh && !volumes_free(reader, node_id, &leaving, part)? {
        return Ok(false);
    }
    // Only of interest where the node's owners of ports, cores or devices may clash.
    if !exclusive {
        return Ok(true);
    }
    let mut owners = reader.exclusive_on(&key)?;
    owners.retain(|id| !leaving.contains(id));
    owners_fit(reader, &typed::decode(Table::Node, row.json)?, &owners, part)
}

/// True where volumes that someone wants to write to alone have no other that writes: another
/// job's plan may have come first.
fn volumes_free(
    reader: Reader<'_>,
    node_id: &str,
    leaving: &BTreeSet<[u8; 16]>,
    part: &Part<'_>,
) -> Result<bool, StoreError> {
    // Most clusters have none, and then no job is read.
    if reader.scan(Table::Volume, &[], None, false)?.next().is_none() {
        return Ok(true);
    }
    let mut taken = BTreeSet::new();
    for place in &part.places {
        let Placement { alloc, job_version: version, job_create_index: create } = place;
        let job = reader.job_version(&alloc.namespace, &alloc.job_id, *create, *version)?;
        let Some(job) = job else { continue };
        let group = job.task_groups.iter().find(|g| g.name == alloc.task_group);
        let requests = group.into_iter().flat_map(|g| g.volumes.values());
        let names: Vec<String> = requests
            .filter(|r| r.kind == "host" && wants_alone(r))
            .map(|r| r.named(&alloc.name))
            .collect();
        if names.is_empty() {
            continue;
        }
        for volume in reader.host_volumes(&alloc.namespace)? {
            if volume.node_id != node_id || !names.contains(&volume.name) {
                continue;
            }
            let stays = |id: &String| keys::by_uuid(id).is_none_or(|id| !leaving.contains(&id));
            if reader.volume_writers(&volume)?.iter().any(stays) || !taken.insert(volume.id) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// True where ports, cores and devices have one owner each.
fn owners_fit(
    reader: Reader<'_>,
    node: &Node,
    owners: &[[u8; 16]],
    part: &Part<'_>,
) -> Result<bool, StoreError> {
    let mut there = Vec::with_capacity(owners.len());
    for id in owners {
        if let Some(row) = reader.row(Table::Alloc, id)? {
            there.push(typed::alloc(&row)?);
        }
    }
    let all = there.iter().chain(part.places.iter().map(|p| &p.alloc));
    Ok(fit::fits(node, all).is_ok())
}

fn capacity(node: &NodeHead) -> fit::Capacity {
    fit::Capacity {
        cpu: i64::from(node.cpu),
        memory: i64::from(node.memory),
        disk: i64::from(node.disk),
        core_mhz: 0,
        allocs: i64::from(node.allocs),
    }
}
