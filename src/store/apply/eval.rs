//! Evaluations.

use crate::api::{Evaluation, status};
use crate::store::rows::{EvalStatus, Head};
use crate::store::schema::{ix, keys};
use crate::store::{Batch, StoreError, Table, typed};

use super::moves::Moves;

impl Batch<'_> {
    /// Writes evaluations as changed by `index`. One without a UUID is not written.
    pub(super) fn put_evals(
        &mut self,
        index: u64,
        evals: &[Evaluation],
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        for eval in evals {
            self.put_eval(index, eval.clone(), moves)?;
        }
        Ok(())
    }

    /// [`Self::put_evals`] for one; false where its id is no UUID.
    pub(super) fn put_eval(
        &mut self,
        index: u64,
        mut eval: Evaluation,
        moves: &mut Moves,
    ) -> Result<bool, StoreError> {
        let Some(key) = keys::by_uuid(&eval.id) else { return Ok(false) };
        let old = self.reader().row(Table::Eval, &key)?.map(|row| row.head);
        eval.create_index = old.map_or(index, |h| h.create);
        eval.modify_index = index;
        let head = eval.head();
        self.put(index, Table::Eval, &key, head, &eval)?;
        let now = EvalStatus::of(&eval.status);
        let by_job = |terminal: bool| {
            ix::by_job(ix::EVAL_JOB, &eval.namespace, &eval.job_id, terminal, &key)
        };
        match old {
            None => {
                let created = ix::created(Table::Eval, index, &key);
                self.put_ix(&created, eval.namespace.as_bytes())?;
                self.put_ix(&by_job(now.terminal()), &[])?;
            }
            Some(h) => {
                let was =
                    matches!(h.facts, crate::store::rows::Facts::Eval(e) if e.status.terminal());
                self.move_ix(Some(&by_job(was)), &by_job(now.terminal()))?;
            }
        }
        for (group, count) in &eval.queued_allocations {
            moves.queued(&eval.namespace, &eval.job_id, group, *count);
        }
        moves.job(&eval.namespace, &eval.job_id);
        if now == EvalStatus::Complete && eval.failed_tg_allocs.is_empty() {
            self.cancel_blocked(index, &eval)?;
        }
        if now.terminal() {
            self.touched.evals_done.push(eval.id);
        } else {
            self.touched.evals.push(eval);
        }
        Ok(true)
    }

    /// A run that placed everything makes the job's blocked evaluations pointless.
    fn cancel_blocked(&mut self, index: u64, done: &Evaluation) -> Result<(), StoreError> {
        let mut live = ix::job_prefix(ix::EVAL_JOB, &done.namespace, &done.job_id);
        live.push(0);
        for id in self.reader().ids(&live)? {
            let Some(row) = self.reader().row(Table::Eval, &id)? else { continue };
            if row.eval().status != EvalStatus::Blocked {
                continue;
            }
            let mut eval: Evaluation = typed::decode(Table::Eval, row.json)?;
            eval.status = status::EVAL_CANCELED.to_owned();
            eval.status_description = format!("evaluation \"{}\" successful", done.id);
            eval.modify_index = index;
            eval.modify_time = done.modify_time;
            let head = eval.head();
            self.put(index, Table::Eval, &id, head, &eval)?;
            let by_job = |t: bool| ix::by_job(ix::EVAL_JOB, &done.namespace, &done.job_id, t, &id);
            self.move_ix(Some(&by_job(false)), &by_job(true))?;
            self.touched.evals_done.push(eval.id);
        }
        Ok(())
    }
}
