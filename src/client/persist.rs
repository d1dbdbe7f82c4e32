//! The node-local rows of the client.
//!
//! ```text
//! client/alloc/<id>        description and job        client/run/<id>     state of the allocation
//! client/task/<id>/<task>  state of a task            client/meta         metadata set by users
//! client/supply/<id>       what servers gave it        client/remove/<id>  a directory that goes
//! client/volume/<id>       a host volume that was made by a request
//! ```

use std::rc::Rc;

use crate::stdx::json::Decode;
use serde::Serialize;

use crate::api::{Allocation, HostVolume, Job};
use crate::client::ClientEffect;
use crate::client::meta::Dynamic;
use crate::client::supply::SupplyRow;
use crate::client::task::TaskRow;
use crate::stdx::json::records;
use crate::stdx::{BTreeMap, json};

/// An allocation as it was left.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) alloc: Rc<Allocation>,
    pub(crate) run: RunRow,
    pub(crate) supply: SupplyRow,
    pub(crate) tasks: BTreeMap<String, TaskRow>,
}

/// Everything that was left.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) allocs: BTreeMap<String, Kept>,
    pub(crate) metadata: Option<Dynamic>,
    /// Allocations whose directories were being removed.
    pub(crate) removals: Vec<String>,
    pub(crate) volumes: Vec<HostVolume>,
    /// Keys of rows that are of no use.
    pub(crate) broken: Vec<Vec<u8>>,
}

records! {
/// What is kept of an allocation besides its description and its tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RunRow {
    pub(crate) built: bool,
    pub(crate) begun_wall_ns: i64,
    pub(crate) healthy: Option<bool>,
    pub(crate) healthy_at: i64,
    pub(crate) over: bool,
}

#[derive(Default)]
struct AllocRow {
    alloc: Allocation,
    job: Option<Rc<Job>>,
}
}

/// [`AllocRow`] as it is printed.
#[derive(Serialize)]
struct AllocRowOf<'a> {
    alloc: &'a Allocation,
    job: Option<&'a Job>,
}

/// Makes sense of the rows. What cannot be read is named for deletion instead of stopping the
/// agent.
pub(crate) fn read(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Restored {
    let mut out = Restored::default();
    let mut runs: BTreeMap<String, (Vec<u8>, RunRow)> = BTreeMap::new();
    let mut supplies: BTreeMap<String, (Vec<u8>, SupplyRow)> = BTreeMap::new();
    let mut tasks: BTreeMap<String, Vec<(Vec<u8>, String, TaskRow)>> = BTreeMap::new();
    for (key, value) in rows {
        let parts = std::str::from_utf8(&key).map(|k| k.split('/').collect::<Vec<_>>());
        let understood = match parts.as_deref() {
            Ok(["client", "alloc", id]) => decode::<AllocRow>(&value).map(|row| {
                let mut alloc = row.alloc;
                alloc.job = row.job;
                let alloc = Rc::new(alloc);
                let (run, supply) = Default::default();
                let kept = Kept { alloc, run, supply, tasks: BTreeMap::new() };
                out.allocs.insert((*id).to_owned(), kept);
            }),
            Ok(["client", "run", id]) => decode(&value).map(|row| {
                runs.insert((*id).to_owned(), (key.clone(), row));
            }),
            Ok(["client", "supply", id]) => decode(&value).map(|row| {
                supplies.insert((*id).to_owned(), (key.clone(), row));
            }),
            Ok(["client", "task", id, task @ ..]) => decode(&value).map(|row| {
                tasks.entry((*id).to_owned()).or_default().push((key.clone(), task.join("/"), row));
            }),
            Ok(["client", "volume", _]) => decode(&value).map(|v| out.volumes.push(v)),
            Ok(["client", "meta"]) => decode(&value).map(|meta| out.metadata = Some(meta)),
            Ok(["client", "remove", id]) => {
                out.removals.push((*id).to_owned());
                Some(())
            }
            _ => None,
        };
        if understood.is_none() {
            out.broken.push(key);
        }
    }
    for (id, (key, run)) in runs {
        match out.allocs.get_mut(&id) {
            Some(kept) => kept.run = run,
            None => out.broken.push(key),
        }
    }
    for (id, (key, supply)) in supplies {
        match out.allocs.get_mut(&id) {
            Some(kept) => kept.supply = supply,
            None => out.broken.push(key),
        }
    }
    for (id, rows) in tasks {
        for (key, name, row) in rows {
            match out.allocs.get_mut(&id) {
                Some(kept) => {
                    kept.tasks.insert(name, row);
                }
                None => out.broken.push(key),
            }
        }
    }
    out
}

pub(crate) fn put_alloc(alloc: &Rc<Allocation>) -> ClientEffect {
    let row = AllocRowOf { alloc, job: alloc.job.as_deref() };
    ClientEffect::LocalPut(key("alloc", &alloc.id), encode(&row))
}

pub(crate) fn put_run(id: &str, row: &RunRow) -> ClientEffect {
    ClientEffect::LocalPut(key("run", id), encode(row))
}

pub(crate) fn put_supply(id: &str, row: &SupplyRow) -> ClientEffect {
    ClientEffect::LocalPut(key("supply", id), encode(row))
}

pub(crate) fn put_task(id: &str, task: &str, row: &TaskRow) -> ClientEffect {
    ClientEffect::LocalPut(task_key(id, task), encode(row))
}

pub(crate) fn put_metadata(dynamic: &Dynamic) -> ClientEffect {
    ClientEffect::LocalPut(b"client/meta".to_vec(), encode(dynamic))
}

/// Notes that a directory is being removed, so that a restart finishes the work.
pub(crate) fn put_removal(id: &str) -> ClientEffect {
    ClientEffect::LocalPut(key("remove", id), Vec::new())
}

pub(crate) fn delete_removal(id: &str) -> ClientEffect {
    ClientEffect::LocalDelete(key("remove", id))
}

/// Deletes all rows of an allocation.
pub(crate) fn delete<'a>(
    id: &str,
    tasks: impl Iterator<Item = &'a str>,
    out: &mut Vec<ClientEffect>,
) {
    out.push(ClientEffect::LocalDelete(key("alloc", id)));
    out.push(ClientEffect::LocalDelete(key("run", id)));
    out.push(ClientEffect::LocalDelete(key("supply", id)));
    out.extend(tasks.map(|task| ClientEffect::LocalDelete(task_key(id, task))));
}

/// JSON of a type whose maps have text keys, which cannot fail to print.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    json::encode(value)
}

fn decode<T: Decode + Default>(bytes: &[u8]) -> Option<T> {
    json::decode(bytes).ok()
}

fn key(kind: &str, id: &str) -> Vec<u8> {
    format!("client/{kind}/{id}").into_bytes()
}

fn task_key(id: &str, task: &str) -> Vec<u8> {
    format!("client/task/{id}/{task}").into_bytes()
}
