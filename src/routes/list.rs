//! Lists that can be filtered and read page by page (contract: conventions, section 5).

use super::page::{Page, hex_prefix};
use super::params::bool_param;
use super::{Answer, Ctx, Outcome, Params, Watch, invalid_method};
use crate::acl::{ns, pool, var};
use crate::api::{
    Allocation, ApiError, Deployment, Evaluation, Job, JobListStub, Node, NodeListStub, NodePool,
};
use crate::http::Query;
use crate::stdx::json::records;
use crate::stdx::json::{self, Any, Map};
use crate::stdx::parse_bool;
use crate::stdx::uuid;
use crate::store::{Listed, Reader, Table, keys};

type Result<T = Outcome> = std::result::Result<T, ApiError>;

/// `*` asks for all namespaces.
const ALL: &str = "*";

records! {
/// What lists look at besides the filter.
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct Brief {
    namespace: String,
    node_pool: String,
    #[serde(rename = "JobID")]
    job_id: String,
    status: String,
}
}

fn brief(object: &[u8]) -> Result<Brief> {
    decode(object)
}

fn decode<T: json::Decode + Default>(object: &[u8]) -> Result<T> {
    json::decode(object).map_err(|e| ApiError::failed(format!("a stored row is damaged: {e}")))
}

/// A row whose key is namespace and name, with its place in the list as `ns.name`.
struct Named<'p> {
    prefix: Vec<u8>,
    start: Option<Vec<u8>>,
    /// Where all namespaces are asked for: what the name begins with.
    name_prefix: &'p str,
}

impl<'p> Named<'p> {
    fn new(p: &'p Params) -> Self {
        let all = p.namespace == ALL;
        let prefix = if all { Vec::new() } else { keys::job(&p.namespace, &p.prefix) };
        let start = (!p.next_token.is_empty()).then(|| match p.next_token.split_once('.') {
            Some((namespace, name)) => keys::job(namespace, name),
            None => p.next_token.as_bytes().to_vec(),
        });
        Self { prefix, start, name_prefix: if all { &p.prefix } else { "" } }
    }

    fn wants(&self, key: &[u8]) -> bool {
        self.name_prefix.is_empty()
            || keys::split(key).is_some_and(|(_, name)| name.starts_with(self.name_prefix))
    }
}

/// The namespace of a row whose key begins with it.
fn space(key: &[u8]) -> &str {
    keys::split(key).unwrap_or_default().0
}

fn dotted(key: &[u8]) -> String {
    let (namespace, name) = keys::split(key).unwrap_or_default();
    format!("{namespace}.{name}")
}

/// `/v1/jobs`
pub(super) fn jobs(ctx: &mut Ctx<'_>) -> Result {
    let meta = bool_param(&Query::new(ctx.req.query()), "meta").map_err(ApiError::failed)?;
    job_stubs(ctx, meta, None, ctx.params.reverse)
}

/// `/v1/node/pool/{name}/jobs`
pub(super) fn pool_jobs(ctx: &mut Ctx<'_>, pool: &str) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    if !ctx.params.prefix.is_empty() {
        return Err(ApiError::bad("prefix argument not allowed"));
    }
    let meta = bool_param(&Query::new(ctx.req.query()), "meta").map_err(ApiError::failed)?;
    let reverse = ctx.params.reverse && ctx.params.namespace != ALL;
    job_stubs(ctx, meta, Some(pool), reverse)
}

fn job_stubs(ctx: &Ctx<'_>, meta: bool, pool: Option<&str>, reverse: bool) -> Result {
    ctx.need_ns(&ctx.params.namespace, ns::LIST_JOBS)?;
    let mut page = Page::new::<Job>(ctx.params)?;
    let named = Named::new(ctx.params);
    let rows = ctx.reader.stubs(Table::Job, &named.prefix, named.start.as_deref(), reverse)?;
    for pair in rows {
        let (key, stub) = pair?;
        if !named.wants(key) || !ctx.may_ns(space(key), ns::LIST_JOBS) {
            continue;
        }
        if let Some(pool) = pool
            && brief(stub.json)?.node_pool != pool
        {
            continue;
        }
        if page.filters() {
            let Some(row) = ctx.reader.row(Table::Job, key)? else { continue };
            if !page.passes(row.json)? {
                continue;
            }
        }
        let Some(out) = page.room(|| dotted(key)) else { break };
        if meta {
            json::encode_into(&job_stub_with_meta(ctx.reader, key, stub.json)?, out);
        } else {
            out.extend_from_slice(stub.json);
        }
    }
    let mask = Table::Job.bit() | Table::JobSummary.bit();
    Ok(page.answer(ctx.reader.tables_index(mask), Watch::Tables(mask)).into())
}

fn job_stub_with_meta(reader: Reader<'_>, key: &[u8], stub: &[u8]) -> Result<JobListStub> {
    records! {
    #[derive(Default)]
    #[serde(rename_all = "PascalCase")]
    struct OnlyMeta {
        meta: Map<String>,
    }
    }
    let mut out: JobListStub = decode(stub)?;
    if let Some(row) = reader.row(Table::Job, key)? {
        out.meta = decode::<OnlyMeta>(row.json)?.meta;
    }
    Ok(out)
}

/// `/v1/nodes`
pub(super) fn nodes(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let index = ctx.reader.table_index(Table::Node);
    node_stubs(ctx, None, index)
}

/// `/v1/node/pool/{name}/nodes`
pub(super) fn pool_nodes(ctx: &mut Ctx<'_>, pool: &str) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    if !ctx.params.prefix.is_empty() {
        return Err(ApiError::bad("prefix argument not allowed"));
    }
    if !ctx.reader.has(Table::NodePool, &keys::name(pool))? {
        let watch = Watch::Tables(Table::NodePool.bit());
        return Ok(Answer::bytes(b"[]".to_vec()).query(0).watching(watch).into());
    }
    let index = ctx.reader.table_index(Table::Node).max(1);
    let pool = (pool != crate::api::status::POOL_ALL).then_some(pool);
    node_stubs(ctx, pool, index)
}

fn node_stubs(ctx: &Ctx<'_>, pool: Option<&str>, index: u64) -> Result {
    let q = Query::new(ctx.req.query());
    let flag = |name: &str| {
        bool_param(&q, name)
            .map_err(|e| ApiError::bad(format!("Failed to parse node list fields: {e}")))
    };
    let (resources, os) = (flag("resources")?, flag("os")?);
    let mut page = Page::new::<Node>(ctx.params)?;
    let prefix = hex_prefix("node", &ctx.params.prefix)?;
    let start = start_id(&ctx.params.next_token);
    let rows =
        ctx.reader.stubs(Table::Node, &prefix, start.as_ref().map(<[u8; 16]>::as_slice), false)?;
    for pair in rows {
        let (key, stub) = pair?;
        if let Some(pool) = pool
            && brief(stub.json)?.node_pool != pool
        {
            continue;
        }
        if page.filters() {
            let Some(row) = ctx.reader.row(Table::Node, key)? else { continue };
            if !page.passes(row.json)? {
                continue;
            }
        }
        let Some(out) = page.room(|| text_id(key)) else { break };
        if !(resources || os) {
            out.extend_from_slice(stub.json);
            continue;
        }
        let mut stub: NodeListStub = decode(stub.json)?;
        if let Some(row) = ctx.reader.row(Table::Node, key)? {
            let node: Node = decode(row.json)?;
            if resources {
                stub.node_resources = node.node_resources.unwrap_or_default();
                stub.reserved_resources = Some(node.reserved_resources.unwrap_or_default());
            }
            if os && let Some(name) = node.attributes.get("os.name") {
                stub.attributes.insert("os.name".to_owned(), name.clone());
            }
        }
        json::encode_into(&stub, out);
    }
    Ok(page.answer(index, Watch::Tables(Table::Node.bit())).into())
}

/// `/v1/node/pools`
pub(super) fn pools(ctx: &mut Ctx<'_>) -> Result {
    let p = ctx.params;
    ctx.open();
    let mut page = Page::new::<NodePool>(p)?;
    let start = (!p.next_token.is_empty()).then_some(p.next_token.as_bytes());
    for pair in ctx.reader.scan(Table::NodePool, p.prefix.as_bytes(), start, p.reverse)? {
        let (key, row) = pair?;
        let name = String::from_utf8_lossy(key);
        if !ctx.may(|a| a.node_pool(&name, pool::READ)) || !page.passes(row.json)? {
            continue;
        }
        let Some(out) = page.room(|| String::from_utf8_lossy(key).into_owned()) else { break };
        out.extend_from_slice(row.json);
    }
    let index = ctx.reader.table_index(Table::NodePool).max(1);
    Ok(page.answer(index, Watch::Tables(Table::NodePool.bit())).into())
}

records! {
/// What a filter of variables is about: the parts of which the reference makes one.
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct VariableParts {
    variable_data: Any,
    variable_metadata: Any,
}
}

/// `/v1/vars`: everything of a variable but its items.
pub(super) fn variables(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    ctx.open();
    let mut page = Page::new::<VariableParts>(ctx.params)?;
    let named = Named::new(ctx.params);
    let rows = ctx.reader.scan(Table::Variable, &named.prefix, named.start.as_deref(), false)?;
    for pair in rows {
        let (key, row) = pair?;
        let (namespace, path) = keys::split(key).unwrap_or_default();
        if !named.wants(key) || !ctx.may_var(namespace, path, var::LIST) {
            continue;
        }
        let bytes = super::locks::metadata(ctx, row.json)?;
        if page.filters() && !page.passes(&[b"{\"VariableMetadata\":", &*bytes, b"}"].concat())? {
            continue;
        }
        let Some(out) = page.room(|| dotted(key)) else { break };
        out.extend_from_slice(&bytes);
    }
    let index = ctx.reader.table_index(Table::Variable);
    Ok(page.answer(index, Watch::Tables(Table::Variable.bit())).into())
}

/// `/v1/allocations`
pub(super) fn allocations(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let q = Query::new(ctx.req.query());
    let resources = bool_param(&q, "resources").map_err(ApiError::failed)?;
    let states = match q.get("task_states") {
        None => true,
        Some(v) if v.is_empty() => true,
        Some(v) => match parse_bool(&v) {
            Some(b) => b,
            None => bool_param(&q, "task_states").map_err(ApiError::failed)?,
        },
    };
    let mut page = Page::new::<Allocation>(ctx.params)?;
    let reader = ctx.reader;
    each(ctx, ctx.params, Table::Alloc, "alloc", |id, token| {
        let Some(row) = reader.row(Table::Alloc, id)? else { return Ok(true) };
        if !page.passes(row.json)? {
            return Ok(true);
        }
        let Some(out) = page.room(token) else { return Ok(false) };
        reader.alloc_line(&row, resources, states, out)?;
        Ok(true)
    })?;
    let index = reader.table_index(Table::Alloc);
    Ok(page.answer(index, Watch::Tables(Table::Alloc.bit())).into())
}

/// The older, exact filters of evaluations.
pub(super) struct ExactFilter {
    status: String,
    job: String,
}

impl ExactFilter {
    /// # Errors
    /// 400 beside a filter expression.
    pub(super) fn parse(ctx: &Ctx<'_>) -> Result<Self> {
        let q = Query::new(ctx.req.query());
        let text = |name: &str| q.get(name).unwrap_or_default().into_owned();
        let out = Self { status: text("status"), job: text("job") };
        let exact = !out.status.is_empty() || !out.job.is_empty();
        if exact && !ctx.params.filter.is_empty() {
            return Err(ApiError::bad(
                "Filter expression cannot be used with other filter parameters",
            ));
        }
        Ok(out)
    }

    fn passes(&self, object: &[u8]) -> Result<bool> {
        if self.status.is_empty() && self.job.is_empty() {
            return Ok(true);
        }
        let b = brief(object)?;
        Ok((self.status.is_empty() || b.status == self.status)
            && (self.job.is_empty() || b.job_id == self.job))
    }
}

/// `/v1/evaluations`
pub(super) fn evaluations(ctx: &mut Ctx<'_>) -> Result {
    let exact = ExactFilter::parse(ctx)?;
    whole::<Evaluation>(ctx, Table::Eval, "eval", |json| exact.passes(json))
}

/// `/v1/deployments`
pub(super) fn deployments(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    whole::<Deployment>(ctx, Table::Deployment, "deployment", |_| Ok(true))
}

/// A list of whole objects.
fn whole<T: json::Record + Default>(
    ctx: &Ctx<'_>,
    table: Table,
    what: &str,
    wants: impl Fn(&[u8]) -> Result<bool>,
) -> Result {
    let mut page = Page::new::<T>(ctx.params)?;
    let reader = ctx.reader;
    each(ctx, ctx.params, table, what, |id, token| {
        let Some(row) = reader.row(table, id)? else { return Ok(true) };
        if !wants(row.json)? || !page.passes(row.json)? {
            return Ok(true);
        }
        let Some(out) = page.room(token) else { return Ok(false) };
        out.extend_from_slice(row.json);
        Ok(true)
    })?;
    Ok(page.answer(reader.table_index(table), Watch::Tables(table.bit())).into())
}

/// How many evaluations a list would show.
///
/// # Errors
/// 500 for a filter that does not parse or suit.
pub(super) fn count_evaluations(ctx: &Ctx<'_>) -> Result<u64> {
    let failed = |e: ApiError| ApiError::failed(e.text);
    let page = Page::new::<Evaluation>(ctx.params).map_err(failed)?;
    let params = Params { next_token: String::new(), reverse: false, ..ctx.params.clone() };
    let reader = ctx.reader;
    let mut count = 0;
    each(ctx, &params, Table::Eval, "eval", |id, _| {
        let matches = if page.filters() {
            match reader.row(Table::Eval, id)? {
                Some(row) => page.passes(row.json).map_err(failed)?,
                None => false,
            }
        } else {
            true
        };
        count += u64::from(matches);
        Ok(true)
    })?;
    Ok(count)
}

/// Walks what the caller may see of a table with UUIDs in the order of its list: by creation, or by
/// id where a prefix is given. Calls `f` with the id and the maker of the item's token until it
/// answers false.
fn each(
    ctx: &Ctx<'_>,
    p: &Params,
    table: Table,
    what: &str,
    mut f: impl FnMut(&[u8], &dyn Fn() -> String) -> Result<bool>,
) -> Result<()> {
    ctx.need_ns(&p.namespace, ns::READ_JOB)?;
    let reader = ctx.reader;
    let wanted = |namespace: &str| match p.namespace.as_str() {
        ALL => ctx.may_ns(namespace, ns::READ_JOB),
        asked => namespace == asked,
    };
    if p.prefix.is_empty() {
        let start = if p.next_token.is_empty() { None } else { start_created(&p.next_token) };
        for listed in reader.created(table, start, p.reverse)? {
            let Listed { create, id, namespace } = listed?;
            if !wanted(namespace) {
                continue;
            }
            if !f(&id, &|| format!("{create}.{}", uuid::from_bytes(&id)))? {
                break;
            }
        }
        return Ok(());
    }
    let prefix = hex_prefix(what, &p.prefix)?;
    let start = start_id(&p.next_token);
    let rows = reader.scan(table, &prefix, start.as_ref().map(<[u8; 16]>::as_slice), p.reverse)?;
    for pair in rows {
        let (key, row) = pair?;
        if !wanted(&brief(row.json)?.namespace) {
            continue;
        }
        if !f(key, &|| text_id(key))? {
            break;
        }
    }
    Ok(())
}

fn text_id(key: &[u8]) -> String {
    key.try_into().map(uuid::from_bytes).unwrap_or_default()
}

/// The place that a token of the form `id` names; a token of another form names the end.
fn start_id(token: &str) -> Option<[u8; 16]> {
    (!token.is_empty()).then(|| uuid::to_bytes(token).unwrap_or([0xff; 16]))
}

/// The place that a token of the form `index.id` names.
fn start_created(token: &str) -> Option<(u64, [u8; 16])> {
    let (index, id) = token.split_once('.').unwrap_or((token, ""));
    Some((index.parse().ok()?, uuid::to_bytes(id).unwrap_or([0; 16])))
}
