//! Certificates and keys in files. Every fault names the file and what is wrong with it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A sentence for whoever wrote the configuration.
pub type Fault = String;

/// Largest file of certificates, in bytes: above every bundle that systems bring.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Where systems keep the CAs that they trust.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Reads a file of certificates or a key.
///
/// # Errors
/// It cannot be read, or is far too long for what it should be.
pub fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let fault = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => format!("{}: there is no such file", path.display()),
        ErrorKind::PermissionDenied => format!("{}: permission denied", path.display()),
        _ => format!("{}: {e}", path.display()),
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(fault)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{}: longer than {FILE_BYTES_MAX} bytes", path.display()));
    }
    Ok(bytes)
}

/// Writes a file that must not exist yet.
///
/// # Errors
/// It exists, or cannot be written.
pub fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Fault> {
    let mut open = OpenOptions::new();
    let file = open.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut f| f.write_all(text.as_bytes())).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => format!("{} already exists", path.display()),
        _ => format!("{}: {e}", path.display()),
    })
}

/// The certificates of a file, in their order.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(list) if list.is_empty() => Err(format!("{}: holds no certificate", path.display())),
        Ok(list) => Ok(list),
        Err(_) => Err(format!("{}: is damaged, no valid PEM", path.display())),
    }
}

pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|e| {
        let text = String::from_utf8_lossy(&bytes);
        let why = if text.contains("ENCRYPTED") {
            "the key is encrypted, which is not supported"
        } else if matches!(e, pem::Error::NoItemsFound) {
            "holds no private key"
        } else {
            "is damaged, no valid PEM"
        };
        format!("{}: {why}", path.display())
    })
}

/// The CAs of files, and of the files of folders.
pub(super) fn roots(files: &[PathBuf]) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for path in files {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|_| format!("{}: holds no usable certificate", path.display()))?;
        }
    }
    Ok(roots)
}

/// The CAs of a text.
///
/// # Errors
/// It is damaged, or holds none.
pub(super) fn roots_of(text: &str) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let added = certificate.ok().and_then(|c| roots.add(c).ok());
        added.ok_or("the certificate of the CA is damaged, no valid PEM")?;
    }
    if roots.is_empty() { Err("no certificate of a CA in PEM was found".into()) } else { Ok(roots) }
}

/// The CAs that the system trusts.
pub(super) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = SYSTEM.iter().find_map(|path| certificates(Path::new(path)).ok());
    // A bundle may hold what the library does not take; the rest still counts.
    roots.add_parsable_certificates(found.unwrap_or_default());
    roots
}

/// The files of a folder, by name.
pub(super) fn folder(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    let entries = fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|e| e.path()).filter(|p| p.is_file()).collect();
    files.sort_unstable();
    Ok(files)
}
