//! Archives of any bytes: what they name lies inside, they give no more than they may, and they
//! end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::unpack::{Kind, Limits, Sink, Source, unpack};

struct Bytes<'b>(&'b [u8]);

impl Source for Bytes<'_> {
    fn read_at(&mut self, at: u64, buffer: &mut [u8]) -> Result<usize, String> {
        let rest = self.0.get(usize::try_from(at).unwrap()..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }
}

#[derive(Default)]
struct Counts {
    open: bool,
    entries: u64,
    bytes: u64,
}

const LIMITS: Limits = Limits { bytes: 1 << 16, entries: 20 };

impl Counts {
    fn entry(&mut self, path: &str) {
        self.entries += 1;
        assert!(!self.open && self.entries <= LIMITS.entries);
        assert!(!path.is_empty() && path.split('/').all(|p| !matches!(p, "" | "." | "..")));
        assert!(!path.contains('\0'));
    }
}

impl Sink for Counts {
    fn folder(&mut self, path: &str) -> Result<(), String> {
        self.entry(path);
        Ok(())
    }

    fn file(&mut self, path: &str, mode: u32) -> Result<(), String> {
        self.entry(path);
        assert_eq!(mode & !0o777, 0);
        self.open = true;
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.bytes += bytes.len() as u64;
        assert!(self.open && self.bytes <= LIMITS.bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        assert!(std::mem::take(&mut self.open));
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    for kind in [Kind::Tar, Kind::TarGz, Kind::Gz, Kind::Zip] {
        let mut counts = Counts::default();
        let done = unpack(kind, "one", &mut Bytes(data), &mut counts, LIMITS);
        assert!(done.is_err() || !counts.open);
    }
});
