//! What connections are made with: own certificate and key, and whom to trust.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore, ServerConfig,
    SignatureScheme,
};

use super::files::{Fault, certificates, folder, key, roots, roots_of, system_roots};

/// What a listener answers with.
#[derive(Clone, Debug)]
pub struct Server(pub(super) Arc<ServerConfig>);

/// What calls are made with.
#[derive(Clone, Debug)]
pub struct Client(pub(super) Arc<ClientConfig>);

/// Whom a caller believes.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// File of CAs; empty: see `folder`.
    pub file: PathBuf,
    /// Folder of such files; empty as well: what the system trusts.
    pub folder: PathBuf,
    /// Beside the file, what the system trusts.
    pub system: bool,
    /// CAs as PEM, before both.
    pub pem: String,
    /// The certificate must name whom was called.
    pub names: bool,
    /// Believe everyone.
    pub all: bool,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn pair_fault(e: &Error, cert: &Path, key: &Path) -> Fault {
    let why = match e {
        Error::InconsistentKeys(_) => "do not belong together",
        Error::InvalidCertificate(_) => "cannot be used: the certificate is damaged",
        _ => "cannot be used: the key is of no known kind",
    };
    format!("{} and {} {why}", cert.display(), key.display())
}

/// Reads what a listener needs; with `callers`, a file of CAs, whoever calls needs a certificate of
/// one of these.
///
/// # Errors
/// Files that are missing, damaged, or do not belong together.
pub fn server(cert: &Path, key_file: &Path, callers: Option<&Path>) -> Result<Server, Fault> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(|_| "TLS 1.3 is not there")?;
    let builder = match callers {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let store = Arc::new(roots(&[ca.to_owned()])?);
            let verifier = WebPkiClientVerifier::builder_with_provider(store, provider)
                .build()
                .map_err(|_| format!("{}: holds no usable certificate", ca.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(certificates(cert)?, key(key_file)?)
        .map_err(|e| pair_fault(&e, cert, key_file))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Server(Arc::new(config)))
}

/// Reads what a caller needs; `pair` is its own certificate and key.
///
/// # Errors
/// Files that are missing, damaged, or do not belong together.
pub fn client(trust: &Trust, pair: Option<(&Path, &Path)>) -> Result<Client, Fault> {
    let provider = provider();
    let set = |path: &Path| !path.as_os_str().is_empty();
    let store = if trust.all {
        None
    } else if !trust.pem.is_empty() {
        Some(roots_of(&trust.pem)?)
    } else if set(&trust.file) {
        let mut store = roots(std::slice::from_ref(&trust.file))?;
        if trust.system {
            store.extend(system_roots().roots);
        }
        Some(store)
    } else if set(&trust.folder) {
        Some(roots(&folder(&trust.folder)?)?)
    } else {
        Some(system_roots())
    };
    let verifier = Verifier { roots: store, names: trust.names, provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|_| "TLS 1.3 is not there")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some((cert, key_file)) => builder
            .with_client_auth_cert(certificates(cert)?, key(key_file)?)
            .map_err(|e| pair_fault(&e, cert, key_file))?,
    };
    config.resumption = Resumption::disabled();
    Ok(Client(Arc::new(config)))
}

/// Checks who answers a call: signed by a CA that is trusted, in time, and by name where asked.
#[derive(Debug)]
struct Verifier {
    /// `None`: everyone is believed.
    roots: Option<RootCertStore>,
    names: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let cert = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&cert, roots, intermediates, now, algorithms)?;
        if self.names {
            verify_server_name(&cert, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
