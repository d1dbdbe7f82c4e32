//! The operator's settings, and the system's housekeeping.

use serde_json::json;

use super::{Answer, Ctx, Outcome, invalid_method};
use crate::api::{ApiError, SchedulerConfiguration};
use crate::command::{Applied, Command};
use crate::http::{Method, Query};
use crate::stdx::json::records;
use crate::stdx::{duration, json as codec};
use crate::store::{Reader, StoreError, Table};

type Result = std::result::Result<Outcome, ApiError>;

/// `/v1/operator/scheduler/configuration`
pub(super) fn scheduler_config(ctx: &mut Ctx<'_>) -> Result {
    if ctx.is_get() {
        let config = ctx.reader.scheduler_config()?;
        let index = config.modify_index;
        let body = json!({
            "Index": index,
            "KnownLeader": ctx.agent.leader_addr.is_some(),
            "LastContact": 0,
            "NextToken": "",
            "SchedulerConfig": config,
        });
        return Ok(Answer::json(&body).query(index).into());
    }
    if !ctx.is_write() {
        return Err(invalid_method());
    }
    let config: SchedulerConfiguration = codec::decode(&ctx.req.body)
        .map_err(|e| ApiError::bad(format!("Error parsing scheduler config: {e}")))?;
    match config.scheduler_algorithm.as_str() {
        "" | "binpack" | "spread" => {}
        other => return Err(ApiError::bad(format!("invalid scheduler algorithm: {other}"))),
    }
    let check = check_param(ctx)?;
    Ok(Outcome::Propose(
        Box::new(Command::SchedulerConfig { config: Box::new(config), check }),
        Box::new(move |_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            applied => {
                let updated = !matches!(applied, Applied::Checked(false));
                Ok(Answer::json(&json!({ "Index": index, "Updated": updated })).index(index))
            }
        }),
    ))
}

fn check_param(ctx: &Ctx<'_>) -> std::result::Result<Option<u64>, ApiError> {
    let Some(text) = Query::new(ctx.req.query()).get("cas") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        ApiError::bad(format!(
            "Error parsing cas value: strconv.ParseUint: parsing \"{text}\": invalid syntax"
        ))
    })
}

records! {
/// The settings of autopilot, in the order in which the reference prints them.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase", rename = "")]
struct Autopilot {
    last_contact_threshold: String,
    server_stabilization_time: String,
    cleanup_dead_servers: bool,
    max_trailing_logs: u64,
    min_quorum: u64,
    enable_redundancy_zones: bool,
    disable_upgrade_migration: bool,
    enable_custom_upgrades: bool,
}
}

impl Autopilot {
    /// What holds where nobody has said anything; a configuration that is sent replaces the whole.
    fn initial() -> Self {
        Self {
            last_contact_threshold: "200ms".to_owned(),
            server_stabilization_time: "10s".to_owned(),
            cleanup_dead_servers: true,
            max_trailing_logs: 250,
            ..Self::default()
        }
    }

    fn print(&self, create: u64, modify: u64) -> String {
        format!(
            "{{\"LastContactThreshold\":\"{}\",\"ServerStabilizationTime\":\"{}\",\
             \"CleanupDeadServers\":{},\"MaxTrailingLogs\":{},\"MinQuorum\":{},\
             \"EnableRedundancyZones\":{},\"DisableUpgradeMigration\":{},\
             \"EnableCustomUpgrades\":{},\"CreateIndex\":{create},\"ModifyIndex\":{modify}}}",
            self.last_contact_threshold,
            self.server_stabilization_time,
            self.cleanup_dead_servers,
            self.max_trailing_logs,
            self.min_quorum,
            self.enable_redundancy_zones,
            self.disable_upgrade_migration,
            self.enable_custom_upgrades,
        )
    }
}

/// What autopilot does about servers that are dead.
pub struct CleanUp {
    /// They are taken out of the cluster at all.
    pub on: bool,
    /// As many voters stay.
    pub min_quorum: usize,
    /// How long a server must be gone, in nanoseconds: as long as a new one must be stable.
    pub after_ns: u64,
}

/// # Errors
/// Those of the store.
pub fn clean_up(reader: Reader<'_>) -> std::result::Result<CleanUp, StoreError> {
    let row = reader.row(Table::Operator, b"autopilot")?;
    let stored = row.and_then(|r| codec::decode(r.json).ok());
    let config: Autopilot = stored.unwrap_or_else(Autopilot::initial);
    let after = duration::parse(&config.server_stabilization_time).unwrap_or(0);
    Ok(CleanUp {
        on: config.cleanup_dead_servers,
        min_quorum: usize::try_from(config.min_quorum).unwrap_or(usize::MAX),
        after_ns: u64::try_from(after).unwrap_or(0),
    })
}

/// `/v1/operator/autopilot/configuration`
pub(super) fn autopilot_config(ctx: &mut Ctx<'_>) -> Result {
    let row = ctx.reader.row(Table::Operator, b"autopilot")?;
    if ctx.is_get() {
        let (create, modify) = row.as_ref().map_or((0, 0), |r| (r.create(), r.modify()));
        let stored = row.and_then(|r| codec::decode(r.json).ok());
        let config = stored.unwrap_or_else(Autopilot::initial);
        return Ok(Answer::bytes(config.print(create, modify).into_bytes()).into());
    }
    if ctx.req.method != Method::Put {
        return Err(ApiError::not_found("Invalid method"));
    }
    let mut config: Autopilot = codec::decode(&ctx.req.body)
        .map_err(|e| ApiError::bad(format!("Error parsing autopilot config: {e}")))?;
    for text in [&mut config.last_contact_threshold, &mut config.server_stabilization_time] {
        let ns = match text.as_str() {
            "" => 0,
            t => duration::parse(t).ok_or_else(|| {
                ApiError::bad(format!(
                    "Error parsing autopilot config: time: invalid duration \"{t}\""
                ))
            })?,
        };
        *text = duration::Go(ns).to_string();
    }
    let check = check_param(ctx)?;
    let json = config.print(0, 0);
    Ok(Outcome::Propose(
        Box::new(Command::OperatorDocument { name: "autopilot".to_owned(), json, check }),
        Box::new(move |_, _, applied| match applied {
            Applied::Refused(e) => Err(e),
            applied => Ok(Answer::json(&!matches!(applied, Applied::Checked(false)))),
        }),
    ))
}

/// `/v1/system/gc`
pub(super) fn system_gc(ctx: &mut Ctx<'_>) -> Result {
    if ctx.req.method != Method::Put {
        return Err(invalid_method());
    }
    Ok(Outcome::SystemGc)
}

/// `/v1/system/reconcile/summaries`
pub(super) fn reconcile_summaries(ctx: &mut Ctx<'_>) -> Result {
    if ctx.req.method != Method::Put {
        return Err(invalid_method());
    }
    Ok(Outcome::Propose(
        Box::new(Command::ReconcileSummaries),
        Box::new(|_, _, _| Ok(Answer::empty())),
    ))
}

/// `/.well-known/openid-configuration`
pub(super) fn openid(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let issuer = &ctx.agent.oidc_issuer;
    if issuer.is_empty() {
        return Err(ApiError::not_found("OIDC Discovery endpoint disabled"));
    }
    let keys = ctx.reader.root_keys()?;
    let mut kinds = vec!["RS256", "EdDSA"];
    kinds.retain(|kind| keys.iter().any(|k| k.algorithm() == *kind));
    let body = json!({
        "issuer": issuer,
        "jwks_uri": format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')),
        "id_token_signing_alg_values_supported": kinds,
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
    });
    Ok(Answer::json(&body).into())
}
