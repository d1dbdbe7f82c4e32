//! Use of resources: the machine's and the tasks' figures in the shapes of the API.

/// The machine's state, as raw bytes of the files it is read from. What could not be read is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostFacts {
    /// `/proc/stat`
    pub stat: Vec<u8>,
    /// `/proc/meminfo`
    pub meminfo: Vec<u8>,
    /// `/proc/uptime`
    pub uptime: Vec<u8>,
    /// Every file system of note, the root first.
    pub disks: Vec<DiskFacts>,
    /// The file system that holds the allocation directories; device and mount point are not shown.
    pub alloc_disk: DiskFacts,
}

/// One file system, as `statvfs` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskFacts {
    pub device: String,
    pub mountpoint: String,
    /// Bytes.
    pub size: u64,
    /// Bytes free, with what is kept for root.
    pub free: u64,
    /// Bytes free for everyone.
    pub available: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}
