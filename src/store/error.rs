//! What can go wrong with the store.

use std::{fmt, io};

use crate::api::ApiError;

/// Why the store did not do something. A batch that fails is to be dropped.
#[derive(Debug)]
pub enum StoreError {
    /// Another process has it open.
    Locked { pid: u32 },
    /// Bytes are not what was written. Not to be retried.
    Damaged(String),
    /// Of a format that this program does not know: a newer one wrote it.
    Newer(String),
    /// The disk, or the map, is full. Reads and deletions go on.
    NoSpace,
    /// The disk failed. The process ends.
    Io(io::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { pid } => write!(f, "storage: in use by process {pid}"),
            Self::Damaged(what) => write!(f, "storage: damaged: {what}"),
            Self::Newer(format) => {
                write!(f, "storage: the store has {format:?}, this program reads \"format 1\"")
            }
            Self::NoSpace => f.write_str("storage: no space left"),
            Self::Io(e) => write!(f, "storage: {e}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<io::Error> for StoreError {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace,
            _ => Self::Io(e),
        }
    }
}

impl From<heed::Error> for StoreError {
    fn from(e: heed::Error) -> Self {
        match e {
            heed::Error::Io(e) => e.into(),
            heed::Error::Mdb(heed::MdbError::MapFull) => Self::NoSpace,
            e => Self::Damaged(e.to_string()),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(e: StoreError) -> Self {
        Self::failed(e.to_string())
    }
}
