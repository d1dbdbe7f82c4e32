//! Garbage collection.

use crate::command::Applied;
use crate::store::schema::{ix, keys};
use crate::store::{Batch, StoreError, Table, typed};

use super::moves::Moves;

/// Rows to remove, by id; jobs by (namespace, id).
pub(super) struct Reap<'c> {
    pub(super) evals: &'c [String],
    pub(super) allocs: &'c [String],
    pub(super) deployments: &'c [String],
    pub(super) jobs: &'c [(String, String)],
    pub(super) nodes: &'c [String],
}

impl Batch<'_> {
    pub(super) fn reap(&mut self, index: u64, reap: &Reap<'_>) -> Result<Applied, StoreError> {
        let mut moves = Moves::default();
        let mut any = false;
        for id in reap.allocs {
            any |= self.remove_alloc(index, id)?;
        }
        for id in reap.evals {
            any |= self.remove_by_job(index, Table::Eval, ix::EVAL_JOB, id, &mut moves)?;
            self.touched.evals_done.push(id.clone());
        }
        for id in reap.deployments {
            any |=
                self.remove_by_job(index, Table::Deployment, ix::DEPLOYMENT_JOB, id, &mut moves)?;
        }
        for (namespace, id) in reap.jobs {
            any |= self.remove_job(index, namespace, id, &mut moves)?;
        }
        for id in reap.nodes {
            any |= self.remove_node(index, id)?;
        }
        self.settle(index, moves)?;
        Ok(if any { Applied::Done } else { Applied::Nothing })
    }

    /// Removes an allocation, and the hidden version of its job that nothing else runs.
    fn remove_alloc(&mut self, index: u64, id: &str) -> Result<bool, StoreError> {
        let Some(key) = keys::by_uuid(id) else { return Ok(false) };
        let Some(row) = self.reader().row(Table::Alloc, &key)? else { return Ok(false) };
        let (head, create) = (row.alloc(), row.create());
        let (namespace, job) = owner(row.json);
        self.drop_services(index, &key)?;
        self.delete(index, Table::Alloc, &key)?;
        self.del_ix(&ix::created(Table::Alloc, create, &key))?;
        self.del_ix(&ix::by_job(ix::ALLOC_JOB, &namespace, &job, head.terminal(), &key))?;
        self.index_node(&key, Some(head), None)?;
        self.touched.nodes_allocs.insert(keys::uuid_text(&head.node));
        let version = keys::job_version(&namespace, &job, head.job_create, head.job_version);
        let row = self.reader().row(Table::JobVersion, &version)?;
        if row.is_some_and(|r| r.job().hidden)
            && !self.version_used(&namespace, &job, head.job_create, head.job_version)?
        {
            self.delete(index, Table::JobVersion, &version)?;
        }
        Ok(true)
    }

    /// Removes an evaluation or a deployment.
    fn remove_by_job(
        &mut self,
        index: u64,
        table: Table,
        kind: u8,
        id: &str,
        moves: &mut Moves,
    ) -> Result<bool, StoreError> {
        let Some(key) = keys::by_uuid(id) else { return Ok(false) };
        let Some(row) = self.reader().row(table, &key)? else { return Ok(false) };
        let (namespace, job) = owner(row.json);
        let create = row.create();
        let over = match table {
            Table::Eval => row.eval().status.terminal(),
            _ => !row.deployment().active,
        };
        self.delete(index, table, &key)?;
        self.del_ix(&ix::created(table, create, &key))?;
        self.del_ix(&ix::by_job(kind, &namespace, &job, over, &key))?;
        if !over {
            moves.job(&namespace, &job);
        }
        Ok(true)
    }
}

fn owner(json: &[u8]) -> (String, String) {
    let text = |name| typed::text(json, name).unwrap_or_default();
    (text("Namespace"), text("JobID"))
}
