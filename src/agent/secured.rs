//! The `tls` block as what connections are made with. Files are read here, at start and when the
//! configuration is read again.

use super::config::Config;
use super::door;
use super::wires;
use crate::tls::{self, Fault, Trust};

/// `None` where nothing is encrypted.
#[derive(Default)]
pub(super) struct Secured {
    pub(super) http: Option<door::Secured>,
    pub(super) links: Option<wires::Secured>,
    /// For regions that are reached by HTTPS.
    pub(super) regions: Option<tls::Client>,
}

impl Secured {
    /// # Errors
    /// A sentence that names the file.
    pub(super) fn read(config: &Config) -> Result<Self, Fault> {
        let t = &config.tls;
        let http = match t.http {
            false => None,
            true => {
                let callers = t.verify_callers.then_some(t.ca.as_path());
                let server = tls::server(&t.cert, &t.key, callers)?;
                Some(door::Secured { server, handshake_ns: config.https_handshake_ns })
            }
        };
        let links = match t.rpc {
            false => None,
            true => {
                // Who answers is known by role, after the greeting: addresses are no names.
                let trust = Trust { file: t.ca.clone(), ..Trust::default() };
                Some(wires::Secured {
                    server: tls::server(&t.cert, &t.key, Some(&t.ca))?,
                    client: tls::client(&trust, Some((&t.cert, &t.key)))?,
                    upgrade: t.upgrade,
                })
            }
        };
        let regions = match config.regions.values().any(|address| address.secure) {
            false => None,
            true => {
                let file = config.region_ca.clone();
                let trust = Trust { file, names: true, ..Trust::default() };
                let pair = Some((t.cert.as_path(), t.key.as_path()));
                Some(tls::client(&trust, pair.filter(|_| !t.cert.as_os_str().is_empty()))?)
            }
        };
        Ok(Self { http, links, regions })
    }
}
