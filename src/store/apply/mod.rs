//! Running commands of the log: a function of (state, index, command) alone.
//!
//! One file per family. Nothing here reads a clock or draws a number; ids and times come with the
//! command. A table's index moves only where one of its rows changes.

mod acl;
mod alloc;
mod deployment;
mod eval;
mod job;
mod keyring;
mod moves;
mod namespace;
mod node;
mod operator;
mod plan;
mod reap;
mod scaling;
mod service;
mod variable;
mod volume;

use super::{Batch, StoreError};
use crate::api::{RootKey, RootKeyMeta};
use crate::command::{Applied, Command};
use moves::Moves;

impl Batch<'_> {
    /// Applies an entry of the log. Entries that were applied before change nothing.
    ///
    /// # Errors
    /// After an error the batch is to be dropped; refusals of the command are values.
    pub fn apply(&mut self, entry: u64, command: &Command) -> Result<Applied, StoreError> {
        if entry <= self.indexes.applied {
            return Ok(Applied::Nothing);
        }
        self.skip(entry);
        let index = self.indexes.index();
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(index, command);
        }
        match command {
            Command::JobRegister { job, submission, eval, enforce } => {
                self.job_register(index, job, submission.as_deref(), eval.as_deref(), *enforce)
            }
            Command::JobScale { namespace, id, group, event, job, eval, enforce } => {
                let change = (job.as_ref(), eval.as_deref(), *enforce);
                self.job_scale(index, (namespace, id), change, (group, event))
            }
            Command::JobDeregister { namespace, id, purge, no_shutdown_delay, eval, wall_ns } => {
                let eval = eval.as_deref();
                self.job_deregister(
                    index,
                    (namespace, id),
                    *purge,
                    *no_shutdown_delay,
                    eval,
                    *wall_ns,
                )
            }
            Command::JobStability { namespace, id, version, stable } => {
                self.job_stability(index, (namespace, id), *version, *stable)
            }
            Command::JobTag { namespace, id, version, tag } => {
                self.job_tag(index, (namespace, id), *version, tag.as_ref())
            }
            Command::DeploymentSteer { update, eval, wall_ns } => {
                self.deployment_steer(index, update, eval.as_deref(), *wall_ns)
            }
            Command::EvalUpsert { evals } => {
                let mut moves = Moves::default();
                self.put_evals(index, evals, &mut moves)?;
                self.settle(index, moves)?;
                Ok(Applied::Done)
            }
            Command::PlanApply { plan, wall_ns } => self.plan_apply(index, plan, *wall_ns),
            Command::NodeRegister { node, secret, wall_ns, evals } => {
                self.node_register(index, node, secret, *wall_ns, evals)
            }
            Command::NodeStatus { id, status, event, wall_ns, evals } => {
                self.node_status(index, (id, status), event.as_ref(), *wall_ns, evals)
            }
            Command::NodeEligibility { id, eligibility, event, evals } => {
                self.node_eligibility(index, (id, eligibility), event, evals)
            }
            Command::NodeDrain { id, strategy, mark_eligible, last, event, evals } => self
                .node_drain(
                    index,
                    id,
                    strategy.as_ref(),
                    *mark_eligible,
                    last.as_ref(),
                    event,
                    evals,
                ),
            Command::NodePurge { ids, evals } => self.node_purge(index, ids, evals),
            Command::AllocClientUpdate { updates, evals, wall_ns } => {
                self.alloc_client_update(index, updates, evals, *wall_ns)
            }
            Command::ServiceDelete { namespace, id } => self.service_delete(index, namespace, id),
            Command::AllocTransition { transitions, evals, wall_ns } => {
                self.alloc_transition(index, transitions, evals, *wall_ns)
            }
            Command::VariablePut { variable, check, wall_ns } => {
                self.variable_put(index, variable, *check, *wall_ns)
            }
            Command::VariableDelete { namespace, path, check } => {
                self.variable_delete(index, namespace, path, *check)
            }
            Command::VariableRekey { variables } => self.variable_rekey(index, variables),
            Command::VariableAcquire { variable, wall_ns } => {
                self.variable_acquire(index, variable, *wall_ns)
            }
            Command::VariableRelease { namespace, path, id, wall_ns } => {
                self.variable_release(index, (namespace, path), id, *wall_ns)
            }
            Command::NamespaceUpsert { namespace } => self.namespace_upsert(index, namespace),
            Command::NamespaceDelete { name, region } => self.namespace_delete(index, name, region),
            Command::NodePoolUpsert { pool } => self.node_pool_upsert(index, pool),
            Command::NodePoolDelete { name, region } => self.node_pool_delete(index, name, region),
            Command::SchedulerConfig { config, check } => {
                self.scheduler_config(index, config, *check)
            }
            Command::OperatorDocument { name, json, check } => {
                self.operator_document(index, name, json, *check)
            }
            Command::Reap { evals, allocs, deployments, jobs, nodes } => {
                self.reap(index, &reap::Reap { evals, allocs, deployments, jobs, nodes })
            }
            Command::ReconcileSummaries => {
                let changed = self.reconcile_summaries(index)?;
                Ok(if changed { Applied::Done } else { Applied::Nothing })
            }
            Command::Bootstrap { .. } => self.bootstrap(index),
            Command::RootKey { id, public, modulus, secret, wall_ns, rotate, publish_ns, full } => {
                let meta = RootKeyMeta {
                    create_time: *wall_ns,
                    key_id: id.clone(),
                    publish_time: *publish_ns,
                    ..RootKeyMeta::default()
                };
                let (public_key, modulus) = (public.clone(), modulus.clone());
                let key = RootKey { meta, public_key, modulus };
                self.root_key(index, key, secret, *rotate, *full)
            }
            Command::RootKeyState { id, state } => self.root_key_state(index, id, state),
            Command::RootKeyRsa { id, modulus, secret } => {
                self.root_key_rsa(index, id, modulus, secret)
            }
            Command::RootKeyDelete { ids } => self.root_key_delete(index, ids),
            Command::AclBootstrap { token, reset } => self.acl_bootstrap(index, token, *reset),
            Command::AclPut { table, rows } => self.acl_put(index, table, rows),
            Command::AclDelete { table, ids } => self.acl_delete(index, table, ids),
            Command::HostVolumePut { volume, wall_ns } => {
                self.host_volume_put(index, volume, *wall_ns)
            }
            Command::HostVolumeDelete { namespace, id } => {
                self.host_volume_delete(index, namespace, id)
            }
            Command::VolumeClaimDelete { id } => self.volume_claim_delete(index, id),
            Command::Restore { id, newest } => self.restore(id, *newest),
        }
    }
}
