//! Who asks, and what they may do.
//!
//! [`super::dispatch`] finds out who asks before a handler runs, and holds the column of the
//! routes' table against it. What depends on the object is asked by the handler through [`Ctx`];
//! an answer for which nobody has asked is refused there, so that no route can forget it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::scaling::text;
use super::table::Need;
use super::{Ctx, Method};
use crate::acl::{Acl, Caps, Level, Policy};
use crate::api::{AclPolicy, AclRole, AclToken, ApiError};
use crate::limits::{ACL_CACHED_MAX, TOKEN_TTL_MAX_NS, TOKEN_TTL_MIN_NS};
use crate::stdx::json::Time;
use crate::stdx::{Now, blake2b, same_secret, uuid};
use crate::store::{Reader, Row, Table, keys};

/// Settings of access control, and what was found out before.
#[derive(Clone, Debug)]
pub struct AclInfo {
    pub enabled: bool,
    /// How long a token with an end may be valid, ns.
    pub token_min_ttl_ns: i64,
    pub token_max_ttl_ns: i64,
    /// What the file says with which a bootstrap is allowed again; zero: nothing.
    pub bootstrap_reset: u64,
    known: Rc<RefCell<Known>>,
}

impl Default for AclInfo {
    fn default() -> Self {
        Self {
            enabled: false,
            token_min_ttl_ns: TOKEN_TTL_MIN_NS,
            token_max_ttl_ns: TOKEN_TTL_MAX_NS,
            bootstrap_reset: 0,
            known: Rc::default(),
        }
    }
}

/// Holders of tokens by the digest of the secret, and united policies by their names, both in
/// order; as long as none of their tables moves.
#[derive(Debug, Default)]
struct Known {
    at: u64,
    holders: Vec<([u8; 32], Rc<Who>)>,
    acls: Vec<(Vec<String>, Rc<Acl>)>,
}

/// Who asks.
#[derive(Debug)]
pub struct Who {
    /// What they may do; `None`: everything.
    pub acl: Option<Rc<Acl>>,
    /// `None`: anonymous.
    pub token: Option<AclToken>,
    /// Names of their policies, those of their roles among them, in order.
    pub policies: Vec<String>,
}

/// Asks for all namespaces.
const ALL: &str = "*";
/// Accessor and policy of those without a token.
pub(super) const ANONYMOUS: &str = "anonymous";
/// Accessor of everyone, where access control is off.
pub(super) const DISABLED: &str = "acls-disabled";

/// Access as far as one request has asked for it.
#[derive(Default)]
pub struct Access {
    /// `None`: someone for whom no token is needed, and who may do everything.
    pub who: Option<Rc<Who>>,
    asked: Cell<bool>,
    /// The namespace that was last asked for, and what may be done there: rows of a list lie side
    /// by side, and patterns are many.
    last: RefCell<Option<(String, Caps)>>,
}

type Result<T> = std::result::Result<T, ApiError>;

/// 403 with the recorded text.
pub(super) fn denied() -> ApiError {
    ApiError::new(403, "Permission denied")
}

impl AclInfo {
    pub fn new(enabled: bool, token_min_ttl_ns: i64, token_max_ttl_ns: i64) -> Self {
        Self { enabled, token_min_ttl_ns, token_max_ttl_ns, ..Self::default() }
    }

    /// The holder of a token, as of now; `None`: access control is off.
    ///
    /// # Errors
    /// 403 for a token that is unknown, or whose time is over.
    pub fn holder(
        &self,
        reader: Reader<'_>,
        now: Now,
        token: Option<&str>,
    ) -> Result<Option<Rc<Who>>> {
        if !self.enabled {
            return Ok(None);
        }
        let secret = token.unwrap_or_default();
        let digest = blake2b::digest(secret.as_bytes());
        let at = reader.tables_index(Table::ACL);
        let mut known = self.known.borrow_mut();
        if known.at != at {
            *known = Known { at, ..Known::default() };
        }
        let who = match known.holders.binary_search_by(|(d, _)| d.cmp(&digest)) {
            Ok(at) => known.holders.get(at).map(|(_, who)| Rc::clone(who)),
            Err(at) => {
                let who = Rc::new(known.read(reader, secret)?);
                keep(&mut known.holders, at, (digest, Rc::clone(&who)));
                Some(who)
            }
        };
        match who.as_ref().ok_or_else(denied)?.token.as_ref() {
            Some(token) if !same_secret(&token.secret_id, secret) => Err(denied()),
            Some(token) if token.is_expired(now.wall_ns) => Err(denied()),
            _ => Ok(who),
        }
    }

    /// When the token of a request ends, ns since the epoch; `None`: never.
    pub fn ends(&self, reader: Reader<'_>, now: Now, token: Option<&str>) -> Option<i64> {
        let who = self.holder(reader, now, token).ok()??;
        let end = who.token.as_ref()?.expiration_time;
        (end != Time(0)).then_some(end.0)
    }
}

/// Puts something at its place in a list that is in order, and does not grow without end.
fn keep<T>(list: &mut Vec<T>, at: usize, value: T) {
    if list.len() >= ACL_CACHED_MAX {
        list.clear();
    }
    list.insert(at.min(list.len()), value);
}

impl Known {
    fn read(&mut self, reader: Reader<'_>, secret: &str) -> Result<Who> {
        if secret.is_empty() {
            let policies = vec![ANONYMOUS.to_owned()];
            let acl = Some(self.acl(reader, &policies)?);
            return Ok(Who { acl, token: None, policies });
        }
        if !uuid::is_uuid(secret) {
            return Err(denied());
        }
        let token = reader.token_by_secret(secret)?.ok_or_else(denied)?;
        if token.kind == AclToken::MANAGEMENT {
            return Ok(Who { acl: None, token: Some(token), policies: Vec::new() });
        }
        let mut policies = token.policies.clone().unwrap_or_default();
        for link in token.roles.iter() {
            let role: Option<AclRole> = reader.acl_row(Table::Role, &link.id)?;
            policies.extend(role.into_iter().flat_map(|r| r.policies.0).map(|p| p.name));
        }
        policies.sort_unstable();
        policies.dedup();
        let acl = Some(self.acl(reader, &policies)?);
        Ok(Who { acl, token: Some(token), policies })
    }

    /// The union of policies; those that are not there are passed over.
    fn acl(&mut self, reader: Reader<'_>, names: &[String]) -> Result<Rc<Acl>> {
        let place = self.acls.binary_search_by(|(n, _)| n.as_slice().cmp(names));
        let at = match place {
            Ok(at) => return Ok(self.acls.get(at).map(|(_, a)| Rc::clone(a)).unwrap_or_default()),
            Err(at) => at,
        };
        let mut policies = Vec::new();
        for name in names {
            let Some(row) = reader.acl_row::<AclPolicy>(Table::Policy, name)? else { continue };
            match Policy::parse(&row.rules) {
                Ok(policy) => policies.push(policy),
                Err(e) => return Err(ApiError::failed(format!("policy {name:?}: {e}"))),
            }
        }
        let acl = Rc::new(Acl::new(&policies));
        keep(&mut self.acls, at, (names.to_vec(), Rc::clone(&acl)));
        Ok(acl)
    }
}

impl Ctx<'_> {
    /// Finds out who asks, and what the column of the route's table says to that.
    pub(super) fn admit(&mut self, need: Need) -> Result<()> {
        if need == Need::Open {
            self.access.asked.set(true);
            return Ok(());
        }
        let token = self.req.token.as_deref();
        let who = match self.agent.acl.holder(self.reader, self.now, token) {
            Ok(who) => who,
            Err(_) if self.is_node_itself() => None,
            Err(e) => return Err(self.not_a_token().unwrap_or(e)),
        };
        self.access = Access { who, ..Access::default() };
        let level = match self.req.method {
            Method::Get | Method::Head => Level::Read,
            _ => Level::Write,
        };
        let allowed = match need {
            Need::Open | Need::Asks => return Ok(()),
            Need::Management => self.is_management(),
            Need::Agent => self.may(|a| a.agent(level)),
            Need::AgentWrite => self.may(|a| a.agent(Level::Write)),
            Need::AgentRead => self.may(|a| a.agent(Level::Read)),
            Need::Node => self.may(|a| a.node(level)),
            Need::NodeWrite => self.may(|a| a.node(Level::Write)),
            Need::Operator => self.may(|a| a.operator(level)),
            Need::Namespace(caps) => self.may_ns(&self.params.namespace, caps),
        };
        if allowed { Ok(()) } else { Err(denied()) }
    }

    /// What some endpoints answer to text that has not even the form of a token, as recorded.
    fn not_a_token(&self) -> Option<ApiError> {
        let status = match self.req.path() {
            "/v1/agent/self" | "/v1/agent/servers" | "/v1/acl/token/self" => 500,
            "/v1/client/stats" => 500,
            "/v1/agent/schedulers" => 403,
            _ => return None,
        };
        let text = "ACL token not found or invalid workload identity: failed to parse signed \
                    token: go-jose/go-jose: compact JWS format must have three parts";
        let odd = self.req.token.as_ref().is_some_and(|t| !uuid::is_uuid(t));
        odd.then(|| ApiError::new(status, text))
    }

    /// A node asks for its own allocations, with its secret.
    fn is_node_itself(&self) -> bool {
        let id = self.req.path().strip_prefix("/v1/node/");
        let key = id.and_then(|p| p.strip_suffix("/allocations")).and_then(keys::by_uuid);
        let (Some(key), Some(token)) = (key, &self.req.token) else { return false };
        let secret = self.reader.secret(Table::Node, &key).ok().flatten();
        self.is_get() && secret.is_some_and(|s| !s.is_empty() && same_secret(s, token))
    }

    /// Whether anyone has asked yet: an answer without that is not to leave.
    pub(super) fn was_asked(&self) -> bool {
        self.access.asked.get() || self.acl().is_none()
    }

    /// Whether the caller may do something.
    pub(super) fn may(&self, allows: impl Fn(&Acl) -> bool) -> bool {
        self.access.asked.set(true);
        self.acl().is_none_or(allows)
    }

    /// Whether any of the capabilities is given in a namespace.
    pub(super) fn may_ns(&self, namespace: &str, any_of: Caps) -> bool {
        self.access.asked.set(true);
        let Some(acl) = self.acl() else { return true };
        if namespace == ALL {
            return acl.namespace(ALL, any_of);
        }
        let mut last = self.access.last.borrow_mut();
        let caps = match &*last {
            Some((name, caps)) if name == namespace => *caps,
            _ => {
                let caps = acl.in_namespace(namespace);
                *last = Some((namespace.to_owned(), caps));
                caps
            }
        };
        caps & any_of != 0
    }

    /// [`Self::may_ns`], or 403.
    pub(super) fn need_ns(&self, namespace: &str, any_of: Caps) -> Result<()> {
        need(self.may_ns(namespace, any_of))
    }

    /// [`Self::need_ns`] in the namespace that a stored object is in.
    pub(super) fn need_row(&self, row: &Row<'_>, any_of: Caps) -> Result<()> {
        if self.is_management() {
            return Ok(());
        }
        self.need_ns(&text(row.json, "Namespace"), any_of)
    }

    /// Whether a capability for a variable is given.
    pub(super) fn may_var(&self, namespace: &str, path: &str, cap: Caps) -> bool {
        self.access.asked.set(true);
        self.acl().is_none_or(|a| a.variable(namespace, path, cap))
    }

    /// A management token, or access control is off.
    pub(super) fn is_management(&self) -> bool {
        self.access.asked.set(true);
        self.acl().is_none()
    }

    /// What is answered is the same for all.
    pub(super) fn open(&self) {
        self.access.asked.set(true);
    }

    /// What the caller may do; `None`: everything.
    fn acl(&self) -> Option<&Acl> {
        self.access.who.as_ref()?.acl.as_deref()
    }

    /// The caller's token, where there is one.
    pub(super) fn token(&self) -> Option<&AclToken> {
        self.access.who.as_ref()?.token.as_ref()
    }

    /// Names of the caller's policies.
    pub(super) fn policies(&self) -> &[String] {
        self.access.who.as_ref().map_or(&[], |who| &who.policies)
    }

    /// Who the caller is in rows and events: the accessor of the token.
    pub(super) fn accessor(&self) -> &str {
        match (self.token(), self.acl()) {
            (Some(token), _) => &token.accessor_id,
            (None, Some(_)) => ANONYMOUS,
            (None, None) => DISABLED,
        }
    }
}

/// 403 unless it is allowed.
pub(super) fn need(allowed: bool) -> Result<()> {
    if allowed { Ok(()) } else { Err(denied()) }
}
