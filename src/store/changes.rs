//! What entries of the log changed, for those who follow the changes: the rows as each entry left
//! them.

use super::{Row, Table};
use crate::command::Command;
use crate::stdx::BTreeMap;

/// The rows that one entry wrote or removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The entry.
    pub index: u64,
    /// In the order in which they were first written, each once.
    pub rows: Vec<ChangedRow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedRow {
    pub table: Table,
    /// What caused it, as the API calls it.
    pub kind: &'static str,
    pub deleted: bool,
    /// As it is now, or was last.
    pub json: Box<[u8]>,
}

/// Changes in the making.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    done: Vec<Change>,
    now: Change,
    kind: &'static str,
    at: BTreeMap<(Table, Box<[u8]>), usize>,
}

impl Recorder {
    /// What follows belongs to this entry.
    pub(super) fn begin(&mut self, index: u64, command: &Command) {
        self.end();
        self.now.index = index;
        self.kind = kind(command);
    }

    fn end(&mut self) {
        self.at.clear();
        let change = std::mem::take(&mut self.now);
        if !change.rows.is_empty() {
            self.done.push(change);
        }
    }

    pub(super) fn wrote(&mut self, table: Table, key: &[u8], row: &[u8]) {
        self.note(table, key, row, false);
    }

    /// `row`: what was removed.
    pub(super) fn removed(&mut self, table: Table, key: &[u8], row: &[u8]) {
        if !matches!(table, Table::Eval | Table::Alloc | Table::Deployment) {
            self.note(table, key, row, true);
        }
    }

    fn note(&mut self, table: Table, key: &[u8], row: &[u8], deleted: bool) {
        let kind = match (table, deleted) {
            // One that is collected too.
            (Table::Node, true) => "NodeDeregistration",
            (Table::Service, false) => "ServiceRegistration",
            (Table::Service, true) => "ServiceDeregistration",
            (Table::Token, false) => "ACLTokenUpserted",
            (Table::Token, true) => "ACLTokenDeleted",
            (Table::Policy, false) => "ACLPolicyUpserted",
            (Table::Policy, true) => "ACLPolicyDeleted",
            (Table::Role, false) => "ACLRoleUpserted",
            (Table::Role, true) => "ACLRoleDeleted",
            (Table::AuthMethod, false) => "ACLAuthMethodUpserted",
            (Table::AuthMethod, true) => "ACLAuthMethodDeleted",
            (Table::BindingRule, false) => "ACLBindingRuleUpserted",
            (Table::BindingRule, true) => "ACLBindingRuleDeleted",
            (Table::Volume, false) => "HostVolumeRegistered",
            (Table::Volume, true) => "HostVolumeDeleted",
            _ => self.kind,
        };
        let Some(row) = Row::decode(row).filter(|_| told(table) && !kind.is_empty()) else {
            return;
        };
        let row = ChangedRow { table, kind, deleted, json: row.json.into() };
        let at = *self.at.entry((table, key.into())).or_insert(self.now.rows.len());
        match self.now.rows.get_mut(at) {
            Some(before) => *before = row,
            None => self.now.rows.push(row),
        }
    }

    pub(super) fn finish(mut self) -> Vec<Change> {
        self.end();
        self.done
    }
}

/// Tables whose changes are told.
fn told(table: Table) -> bool {
    match table {
        Table::Job
        | Table::Node
        | Table::Alloc
        | Table::Eval
        | Table::Deployment
        | Table::Variable
        | Table::NodePool
        | Table::Service
        | Table::Token
        | Table::Policy
        | Table::Role
        | Table::AuthMethod
        | Table::BindingRule
        | Table::Volume => true,
        Table::JobVersion
        | Table::JobSummary
        | Table::JobSubmission
        | Table::Namespace
        | Table::Operator
        | Table::PeriodicLaunch
        | Table::ScalingEvent
        | Table::ScalingPolicy
        | Table::VolumeClaim
        | Table::OneTimeToken => false,
    }
}

/// What the API calls the changes that a command makes; empty: they are not told.
fn kind(command: &Command) -> &'static str {
    match command {
        Command::JobRegister { .. } | Command::JobScale { .. } => "JobRegistered",
        Command::JobDeregister { .. } => "JobDeregistered",
        Command::DeploymentSteer { update, .. } => {
            if !update.healthy.is_empty() || !update.unhealthy.is_empty() {
                "DeploymentAllocHealth"
            } else if update.status.is_empty() {
                "DeploymentPromotion"
            } else {
                "DeploymentStatusUpdate"
            }
        }
        Command::EvalUpsert { .. } => "EvaluationUpdated",
        Command::PlanApply { .. } => "PlanResult",
        Command::NodeRegister { .. } => "NodeRegistration",
        Command::NodeStatus { .. } => "NodeStreamEvent",
        Command::NodeEligibility { .. } => "NodeEligibility",
        Command::NodeDrain { .. } => "NodeDrain",
        Command::NodePurge { .. } => "NodeDeregistration",
        Command::AllocClientUpdate { .. } => "AllocationUpdated",
        Command::AllocTransition { .. } => "AllocationUpdateDesiredStatus",
        Command::VariablePut { .. }
        | Command::VariableDelete { .. }
        | Command::VariableAcquire { .. }
        | Command::VariableRelease { .. } => "VariableUpdated",
        Command::NodePoolUpsert { .. } => "NodePoolUpserted",
        Command::NodePoolDelete { .. } => "NodePoolDeleted",
        Command::Reap { .. } => "JobBatchDeregistered",
        _ => "",
    }
}
