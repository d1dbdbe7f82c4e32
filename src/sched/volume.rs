//! Host volumes as one evaluation sees them: which node has one that fits, and whose it is.
//!
//! A claim names the volume that an allocation of a sticky group was placed with. Once that
//! allocation does not go on, the claim is open, and the next one goes where its volume is.

use std::rc::Rc;

use crate::api::{Allocation, HostVolume, HostVolumeClaim, Job, Node, VolumeRequest};
use crate::stdx::{BTreeMap, BTreeSet, Entropy, uuid};

use super::View;
use super::fit;

/// The access mode that one writing group has for itself.
const SINGLE_WRITER: &str = "single-node-single-writer";

#[derive(Default)]
pub(super) struct Shelf {
    /// The job asks for host volumes; of one that does not, nothing is kept.
    asked: bool,
    /// Those of the job's namespace, by id.
    volumes: BTreeMap<String, HostVolume>,
    claims: Vec<HostVolumeClaim>,
    /// Allocations of the job that go on.
    live: BTreeSet<String>,
    /// Allocations that write to volumes with one writer, by volume.
    writers: BTreeMap<String, BTreeSet<String>>,
    /// Those of them that the plan stops, as volume and allocation.
    stopped: Vec<(String, String)>,
}

fn requests(job: &Job) -> impl Iterator<Item = &VolumeRequest> {
    let all = job.task_groups.iter().flat_map(|g| g.volumes.values());
    all.filter(|v| v.kind == "host")
}

/// Whether whoever asks so wants to be the only one that writes.
pub fn wants_alone(request: &VolumeRequest) -> bool {
    request.access_mode == SINGLE_WRITER && !request.read_only
}

impl Shelf {
    /// `live`: the allocations of the job that are not terminal.
    pub(super) fn of(view: &dyn View, job: &Job, live: &[Rc<Allocation>]) -> Self {
        let asked = requests(job).next().is_some();
        let mut shelf = Self { asked, ..Self::default() };
        if !asked {
            return shelf;
        }
        for volume in view.host_volumes(&job.namespace) {
            shelf.volumes.insert(volume.id.clone(), volume);
        }
        for request in requests(job).filter(|r| wants_alone(r)) {
            for volume in shelf.volumes.values() {
                if volume.name.starts_with(&request.source) {
                    let writers = view.volume_writers(volume).into_iter().collect();
                    shelf.writers.insert(volume.id.clone(), writers);
                }
            }
        }
        shelf.claims = view.volume_claims(&job.namespace, &job.id);
        for alloc in live.iter().filter(|a| !fit::terminal(a)) {
            shelf.live.insert(alloc.id.clone());
        }
        shelf
    }

    /// The plan stops an allocation.
    pub(super) fn stop(&mut self, id: &str) {
        self.live.remove(id);
        for (volume, writers) in &mut self.writers {
            if writers.remove(id) {
                self.stopped.push((volume.clone(), id.to_owned()));
            }
        }
    }

    /// Takes back [`stop`](Self::stop).
    pub(super) fn keep(&mut self, id: &str) {
        if !self.asked {
            return;
        }
        self.live.insert(id.to_owned());
        while let Some(at) = self.stopped.iter().position(|(_, alloc)| alloc == id) {
            let (volume, alloc) = self.stopped.swap_remove(at);
            self.writers.entry(volume).or_default().insert(alloc);
        }
    }

    /// Claims of a group that nobody lives up to.
    fn open<'s>(&'s self, group: &'s str) -> impl Iterator<Item = &'s HostVolumeClaim> {
        let mine = self.claims.iter().filter(move |c| c.task_group_name == group);
        mine.filter(|c| !self.live.contains(&c.alloc_id))
    }

    /// Whether a node has what a group asks for. Volumes without an id are those of the node's
    /// configuration: they are never sticky and may be read-only.
    pub(super) fn has(&self, node: &Node, group: &str, ask: &VolumeRequest, name: &str) -> bool {
        let Some(have) = node.host_volumes.get(name) else { return false };
        if have.id.is_empty() {
            return !ask.sticky && (ask.read_only || !have.read_only);
        }
        let Some(volume) = self.volumes.get(&have.id) else { return false };
        let access = match (ask.access_mode.as_str(), ask.read_only) {
            ("", false) => "single-node-writer",
            ("", true) => "single-node-reader-only",
            (mode, _) => mode,
        };
        let attachment = match ask.attachment_mode.as_str() {
            "" => "file-system",
            mode => mode,
        };
        if volume.state != HostVolume::READY || !volume.allows(access, attachment) {
            return false;
        }
        let written = |id| self.writers.get(id).is_some_and(|w: &BTreeSet<String>| !w.is_empty());
        if wants_alone(ask) && written(&volume.id) {
            return false;
        }
        let mut open = self.open(group).filter(|c| c.volume_name == name).peekable();
        !ask.sticky || open.peek().is_none() || open.any(|c| c.volume_id == volume.id)
    }

    /// An allocation of a group is placed: the claims that it has, and those that it takes over.
    pub(super) fn place(
        &mut self,
        node: &Node,
        (job, group): (&Job, &str),
        alloc: &Allocation,
        entropy: &mut dyn Entropy,
    ) -> Vec<HostVolumeClaim> {
        let mut out = Vec::new();
        if !self.asked {
            return out;
        }
        self.live.insert(alloc.id.clone());
        let asked = job.task_groups.iter().find(|g| g.name == group);
        let asked = asked.into_iter().flat_map(|g| g.volumes.values());
        for request in asked.filter(|v| v.kind == "host") {
            let name = request.named(&alloc.name);
            let Some(have) = node.host_volumes.get(&name).filter(|h| !h.id.is_empty()) else {
                continue;
            };
            if wants_alone(request) {
                self.writers.entry(have.id.clone()).or_default().insert(alloc.id.clone());
            }
            if !request.sticky {
                continue;
            }
            let open = self.open(group).find(|c| c.volume_id == have.id).map(|c| c.id.clone());
            let claim = HostVolumeClaim {
                alloc_id: alloc.id.clone(),
                id: open.unwrap_or_else(|| uuid::of_row(entropy)),
                job_id: job.id.clone(),
                namespace: job.namespace.clone(),
                task_group_name: group.to_owned(),
                volume_id: have.id.clone(),
                volume_name: name,
                ..HostVolumeClaim::default()
            };
            self.claims.retain(|c| c.id != claim.id);
            self.claims.push(claim.clone());
            out.push(claim);
        }
        out
    }
}
