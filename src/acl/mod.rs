//! Access control as values: what a policy says, and what a set of policies allows.
//!
//! A policy is text ([`Policy::parse`]); the policies of a token are united into an [`Acl`], which
//! answers every question about rights. Nothing here knows tokens, requests or the store.
//! Source of all rules: the contract's `acl.md`, sections 1 and 2.

mod compiled;
mod policy;

pub use compiled::{Acl, Level, Workload};
pub use policy::Policy;

/// Capabilities that can be given: each is the bit of its place. The first of every kind is `deny`.
pub type Names = &'static [&'static str];

/// Capabilities as bits.
pub type Caps = u64;

/// Of every kind: takes all others away.
pub const DENY: Caps = 1;

macro_rules! caps {
    ($(#[$doc:meta])* $names:ident: $($name:ident = $text:literal),+ $(,)?) => {
        $(#[$doc])*
        pub mod $names {
            /// The texts, by place.
            pub const NAMES: super::Names = &[$($text),+];
            $(#[doc = concat!("`", $text, "`")]
            pub const $name: super::Caps = super::own_bit(NAMES, $text);)+
        }
    };
}

/// The bit of a text that is among the names; for constants.
#[expect(clippy::indexing_slicing, reason = "runs while compiling")]
const fn own_bit(names: Names, text: &str) -> Caps {
    let (mut at, text) = (0, text.as_bytes());
    loop {
        let name = names[at].as_bytes();
        let mut same = 0;
        while same < name.len() && same < text.len() && name[same] == text[same] {
            same += 1;
        }
        if same == name.len() && same == text.len() {
            return 1 << at;
        }
        at += 1;
    }
}

caps!(
    /// What can be done in a namespace.
    ns:
    DENY = "deny",
    LIST_JOBS = "list-jobs",
    PARSE_JOB = "parse-job",
    READ_JOB = "read-job",
    SUBMIT_JOB = "submit-job",
    DISPATCH_JOB = "dispatch-job",
    READ_LOGS = "read-logs",
    READ_FS = "read-fs",
    ALLOC_EXEC = "alloc-exec",
    ALLOC_NODE_EXEC = "alloc-node-exec",
    ALLOC_LIFECYCLE = "alloc-lifecycle",
    SENTINEL_OVERRIDE = "sentinel-override",
    CSI_REGISTER_PLUGIN = "csi-register-plugin",
    CSI_WRITE_VOLUME = "csi-write-volume",
    CSI_READ_VOLUME = "csi-read-volume",
    CSI_LIST_VOLUME = "csi-list-volume",
    CSI_MOUNT_VOLUME = "csi-mount-volume",
    HOST_VOLUME_CREATE = "host-volume-create",
    HOST_VOLUME_REGISTER = "host-volume-register",
    HOST_VOLUME_READ = "host-volume-read",
    HOST_VOLUME_WRITE = "host-volume-write",
    HOST_VOLUME_DELETE = "host-volume-delete",
    LIST_SCALING_POLICIES = "list-scaling-policies",
    READ_SCALING_POLICY = "read-scaling-policy",
    READ_JOB_SCALING = "read-job-scaling",
    SCALE_JOB = "scale-job",
    SUBMIT_RECOMMENDATION = "submit-recommendation",
    REGISTER_JOB = "register-job",
    REVERT_JOB = "revert-job",
    DEREGISTER_JOB = "deregister-job",
    PURGE_JOB = "purge-job",
    EVALUATE_JOB = "evaluate-job",
    PLAN_JOB = "plan-job",
    TAG_JOB_VERSION = "tag-job-version",
    STABLE_JOB = "stable-job",
    FAIL_DEPLOYMENT = "fail-deployment",
    PAUSE_DEPLOYMENT = "pause-deployment",
    PROMOTE_DEPLOYMENT = "promote-deployment",
    UNBLOCK_DEPLOYMENT = "unblock-deployment",
    CANCEL_DEPLOYMENT = "cancel-deployment",
    SET_ALLOC_HEALTH_DEPLOYMENT = "set-alloc-health-deployment",
    GC_ALLOCATION = "gc-allocation",
    PAUSE_ALLOCATION = "pause-allocation",
    FORCE_PERIODIC_JOB = "force-periodic-job",
    DELETE_SERVICE_REGISTRATION = "delete-service-registration",
);

caps!(
    /// What can be done with a node pool.
    pool:
    DENY = "deny",
    DELETE = "delete",
    READ = "read",
    WRITE = "write",
);

caps!(
    /// What can be done with a volume of a host.
    volume:
    DENY = "deny",
    MOUNT_READONLY = "mount-readonly",
    MOUNT_READWRITE = "mount-readwrite",
);

caps!(
    /// What operators can do.
    operator:
    DENY = "deny",
    SNAPSHOT_SAVE = "snapshot-save",
    LICENSE_READ = "license-read",
    KEYRING_ROTATE = "keyring-rotate",
    KEYRING_READ = "keyring-read",
    KEYRING_DELETE = "keyring-delete",
);

caps!(
    /// What can be done with Sentinel, which is accepted in policies and gives no right here.
    sentinel:
    DENY = "deny",
    SENTINEL_READ = "sentinel-read",
    SENTINEL_SUBMIT = "sentinel-submit",
    SENTINEL_DELETE = "sentinel-delete",
);

caps!(
    /// What can be done with a variable.
    var:
    DENY = "deny",
    LIST = "list",
    READ = "read",
    WRITE = "write",
    DESTROY = "destroy",
);

/// The bit of a text; `None` where it is no capability of the kind.
pub fn bit(names: Names, text: &str) -> Option<Caps> {
    names.iter().position(|n| *n == text).map(|at| 1 << at)
}

/// The bits of all texts that are known.
fn bits<'a>(names: Names, texts: impl IntoIterator<Item = &'a String>) -> Caps {
    texts.into_iter().filter_map(|t| bit(names, t)).fold(0, |all, b| all | b)
}

/// Whether a name fits a pattern in which `*` stands for any text, also none.
pub fn glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*", "abc", true),
            ("prod-*", "prod-", true),
            ("prod-*", "prod-eu", true),
            ("prod-*", "prod", false),
            ("*-eu", "prod-eu", true),
            ("*-eu", "prod-eu-1", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("**", "x", true),
            ("*a*", "bab", true),
            ("*a*", "bb", false),
        ] {
            assert_eq!(glob(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn capabilities_are_the_bits_of_their_places() {
        assert_eq!(bit(ns::NAMES, "read-job"), Some(ns::READ_JOB));
        assert_eq!(bit(ns::NAMES, "delete-service-registration"), Some(1 << 44));
        assert_eq!(bit(operator::NAMES, "keyring-delete"), Some(operator::KEYRING_DELETE));
        assert_eq!(bit(ns::NAMES, "zz"), None);
        for names in [ns::NAMES, pool::NAMES, volume::NAMES, operator::NAMES, var::NAMES] {
            assert_eq!(bit(names, "deny"), Some(DENY));
        }
    }
}
