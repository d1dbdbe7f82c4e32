//! The duties of a server over the state: evaluations are scheduled, nodes watched, garbage
//! collected. Memory only; all of it is rebuilt from the state when this server begins to lead.

pub mod blocked;
pub mod broker;
pub mod heartbeat;
mod interim;
mod node_evals;
mod reports;
mod view;

use std::rc::Rc;

pub use node_evals::node_evals;
pub use reports::client_update_evals;

use crate::api::Allocation;
use crate::command::{AllocClientState, Applied, Command};
use crate::sched::{Seed, schedule};
use crate::stdx::{Entropy, Now};
use crate::store::{Reader, StoreError, Touched};
use interim::Broker;
use view::{InFlight, NodeCache, StateView};

pub struct Server {
    broker: Broker,
    nodes: NodeCache,
    in_flight: InFlight,
}

impl Server {
    pub fn new() -> Self {
        Self {
            broker: Broker::default(),
            nodes: NodeCache::default(),
            in_flight: InFlight::default(),
        }
    }

    pub fn deadline(&self) -> Option<u64> {
        None
    }

    pub fn has_work(&self) -> bool {
        self.broker.has_ready()
    }

    pub fn heartbeat(&mut self, _node: &str, _now: Now, _entropy: &mut dyn Entropy) -> u64 {
        15_000_000_000
    }

    pub fn reported<'a>(&mut self, _updates: impl Iterator<Item = &'a AllocClientState>) {}

    pub fn force_gc(&mut self) {}

    /// Called when leadership begins.
    pub fn lead(&mut self, _now: Now, _reader: Reader<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    pub fn touched(
        &mut self,
        _now: Now,
        _reader: Reader<'_>,
        touched: &Touched,
    ) -> Result<(), StoreError> {
        self.in_flight.clear();
        for eval in &touched.evals {
            if eval.status == "pending" {
                self.broker.enqueue(eval.clone());
            }
        }
        Ok(())
    }

    /// Schedules one evaluation; true where more wait.
    pub fn work(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        entropy: &mut dyn Entropy,
        out: &mut Vec<(Command, Option<String>)>,
    ) -> Result<bool, StoreError> {
        let Some(eval) = self.broker.dequeue() else { return Ok(false) };
        let plan = {
            let view = StateView::new(reader, &mut self.nodes, &self.in_flight)?;
            let seed = Seed { rng: entropy.u64(), wall_ns: now.wall_ns };
            let plan = schedule(&view, &eval, seed, entropy);
            view.check()?;
            plan
        };
        self.in_flight.add(&plan);
        let plan = Box::new(plan);
        out.push((Command::PlanApply { plan, wall_ns: now.wall_ns }, Some(eval.id)));
        Ok(self.broker.has_ready())
    }

    pub fn plan_applied(&mut self, eval: &str, _now: Now, _result: &Applied) {
        self.broker.ack(eval);
    }

    pub fn plan_failed(&mut self, eval: &str) {
        self.broker.ack(eval);
    }
}

/// All allocations of a node, each with its job.
pub fn allocs_of_node(reader: Reader<'_>, node: &str) -> Result<Vec<Rc<Allocation>>, StoreError> {
    let mut jobs = std::collections::BTreeMap::new();
    let mut out = Vec::new();
    for mut alloc in reader.allocs_by_node(node)? {
        let at = (
            alloc.namespace.clone(),
            alloc.job_id.clone(),
            alloc.job_create_index,
            alloc.job_version,
        );
        let job = match jobs.get(&at) {
            Some(job) => Rc::clone(job),
            None => {
                let Some(job) = reader.job_version(&at.0, &at.1, at.2, at.3)? else { continue };
                let job = Rc::new(job);
                jobs.insert(at, job.clone());
                job
            }
        };
        alloc.job = Some(job);
        out.push(Rc::new(alloc));
    }
    Ok(out)
}
