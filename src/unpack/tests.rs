//! Archives that tools make, and those that nobody should.

use super::*;
use crate::http::gzip::Gzip;

impl Source for &[u8] {
    fn read_at(&mut self, at: u64, buffer: &mut [u8]) -> Result<usize, String> {
        let rest = self.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn size(&self) -> u64 {
        self.len() as u64
    }
}

/// What was unpacked, as lines.
#[derive(Default)]
struct Notes(Vec<String>);

impl Sink for Notes {
    fn folder(&mut self, path: &str) -> Result<(), String> {
        self.0.push(format!("{path}/"));
        Ok(())
    }

    fn file(&mut self, path: &str, mode: u32) -> Result<(), String> {
        self.0.push(format!("{path} {mode:o} "));
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(bytes);
        let text = if text.len() > 40 { text.len().to_string() } else { text.into_owned() };
        self.0.last_mut().unwrap().push_str(&text);
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        self.0.last_mut().unwrap().push('.');
        Ok(())
    }
}

const LIMITS: Limits = Limits { bytes: 1 << 20, entries: 10 };

fn all(kind: Kind, mut archive: &[u8], limits: Limits) -> Result<Vec<String>, String> {
    let mut notes = Notes::default();
    unpack(kind, "one", &mut archive, &mut notes, limits)?;
    Ok(notes.0)
}

/// An entry of a tar file in the form of POSIX.
fn entry(name: &str, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0004755\0");
    put(124, &format!("{:011o}\0", body.len()));
    put(148, "        ");
    put(257, "ustar\x0000");
    block[156] = kind;
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(body);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

fn tar(entries: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut out: Vec<u8> = entries.iter().flat_map(|(n, k, b)| entry(n, *k, b)).collect();
    out.extend_from_slice(&[0; 1024]);
    out
}

/// A zip file: name, rights and kind, bytes.
fn zip(entries: &[(&str, u32, &[u8])], deflate: bool) -> Vec<u8> {
    let (mut out, mut list) = (Vec::new(), Vec::new());
    for (name, mode, body) in entries {
        let gzip = Gzip::new().compress(body);
        let packed = if deflate { &gzip[10..gzip.len() - 8] } else { body };
        let method: u16 = if deflate { 8 } else { 0 };
        let mut same = Vec::new();
        same.extend_from_slice(&[20, 0, 0, 0]);
        same.extend_from_slice(&method.to_le_bytes());
        same.extend_from_slice(&[0; 4]);
        same.extend_from_slice(&crc32_of(body).to_le_bytes());
        same.extend_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
        same.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        same.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
        same.extend_from_slice(&[0; 2]);
        let at = u32::try_from(out.len()).unwrap();
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&same);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(packed);
        list.extend_from_slice(b"PK\x01\x02\x14\x03");
        list.extend_from_slice(&same);
        list.extend_from_slice(&[0; 6]);
        list.extend_from_slice(&(mode << 16).to_le_bytes());
        list.extend_from_slice(&at.to_le_bytes());
        list.extend_from_slice(name.as_bytes());
    }
    let at = u32::try_from(out.len()).unwrap();
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    out.extend_from_slice(&list);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&[count, count].concat());
    out.extend_from_slice(&u32::try_from(list.len()).unwrap().to_le_bytes());
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(b"\x04\0note");
    out
}

fn crc32_of(bytes: &[u8]) -> u32 {
    crate::http::gzip::crc32_on(0, bytes)
}

#[test]
fn what_tools_make_is_unpacked() {
    let long = format!("{}/name", "deep/".repeat(30).trim_end_matches('/'));
    let extended = format!("{} path={long}\n", 6 + 4 + long.len());
    let files = tar(&[
        ("./", b'5', b""),
        ("./bin/", b'5', b""),
        ("./bin/run", b'0', b"#!/bin/sh"),
        ("empty", 0, b""),
        ("@", b'L', format!("{long}\0").as_bytes()),
        ("cut", b'0', b"1"),
        ("pax", b'x', extended.as_bytes()),
        ("cut", b'0', b"2"),
        ("all", b'g', b"12 a=bcdefg\n"),
        ("big", b'0', &[b'x'; 70_000]),
    ]);
    let mut want: Vec<String> =
        ["bin/", "bin/run 755 #!/bin/sh.", "empty 755 ."].map(str::to_owned).to_vec();
    want.extend([format!("{long} 755 1."), format!("{long} 755 2.")]);
    let told = all(Kind::Tar, &files, LIMITS).unwrap();
    assert_eq!(told[..5], want[..]);
    assert!(told[5].starts_with("big 755 ") && told[5].ends_with('.'), "{}", told[5]);
    let packed = Gzip::new().compress(&files);
    assert_eq!(all(Kind::TarGz, &packed, LIMITS).unwrap()[..5], want[..]);
    // Some end without their two empty blocks.
    assert_eq!(all(Kind::Tar, &entry("a", b'0', b"b"), LIMITS), Ok(vec!["a 755 b.".to_owned()]));
    assert_eq!(
        all(Kind::Gz, &Gzip::new().compress(b"text"), LIMITS),
        Ok(vec!["one 644 text.".to_owned()])
    );
    for deflate in [false, true] {
        let entries: [(&str, u32, &[u8]); 4] = [
            ("d/", 0o040_755, b""),
            ("d/run", 0o104_755, b"#!/bin/sh"),
            ("plain", 0, b"hello hello hello"),
            ("empty", 0o100_600, b""),
        ];
        let want = ["d/", "d/run 755 #!/bin/sh.", "plain 644 hello hello hello.", "empty 600 ."];
        let told = all(Kind::Zip, &zip(&entries, deflate), LIMITS);
        assert_eq!(told, Ok(want.map(str::to_owned).to_vec()), "{deflate}");
    }
}

#[test]
fn kinds_are_told_by_names() {
    for (name, kind) in [
        ("a.tar.gz", Ok(Some(Kind::TarGz))),
        ("tgz", Ok(Some(Kind::TarGz))),
        ("a.b.zip", Ok(Some(Kind::Zip))),
        ("a.gz", Ok(Some(Kind::Gz))),
        ("a.tar", Ok(Some(Kind::Tar))),
        ("azip", Ok(None)),
        ("", Ok(None)),
        ("a.tar.xz", Err("archives of kind tar.xz are not unpacked".to_owned())),
    ] {
        assert_eq!(Kind::of(name), kind, "{name}");
    }
}

#[test]
fn what_is_hostile_is_refused() {
    let gz = |bytes: &[u8]| Gzip::new().compress(bytes);
    let files: Vec<(&str, u8, &[u8])> = vec![("a", b'0', b"1"); 11];
    let zeros = vec![0; 8 << 20];
    let mut torn = tar(&[("a", b'0', b"1")]);
    torn.truncate(600);
    let mut changed = tar(&[("a", b'0', b"1")]);
    changed[3] = b'x';
    let mut damaged = zip(&[("a", 0, b"hello")], false);
    damaged[33] ^= 1;
    let mut locked = zip(&[("a", 0, b"hello")], false);
    let listed = locked.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    locked[listed + 8] = 1;
    for (kind, archive, why) in [
        (Kind::Tar, tar(&[("/etc/passwd", b'0', b"x")]), "leads out"),
        (Kind::Tar, tar(&[("a/../../b", b'0', b"x")]), "leads out"),
        (Kind::Tar, tar(&[("l", b'L', b"../b\0"), ("x", b'0', b"x")]), "leads out"),
        (Kind::Tar, tar(&[("l", b'x', b"13 path=/etc\n"), ("x", b'0', b"x")]), "leads out"),
        (Kind::Tar, tar(&[("a", b'2', b"")]), "has a link"),
        (Kind::Tar, tar(&[("a", b'1', b"")]), "has a link"),
        (Kind::Tar, tar(&[("a", b'3', b"")]), "no plain file"),
        (Kind::Tar, tar(&[("", b'0', b"x")]), "without a name"),
        (Kind::Tar, tar(&[("x", b'x', b"9 path\n")]), "extended header"),
        (Kind::Tar, tar(&[("x", b'x', b"27 GNU.sparse.realsize=100\n")]), "sparse"),
        (Kind::Tar, tar(&[(&"a/".repeat(49), b'5', b"")]), ""),
        (Kind::Tar, tar(&files), "too many files"),
        (Kind::Tar, tar(&[("a", b'0', &zeros)]), "more bytes"),
        (Kind::Tar, torn, "unexpected EOF"),
        (Kind::Tar, changed, "invalid header"),
        (Kind::TarGz, gz(&tar(&[("a", b'0', &zeros)])), "more bytes"),
        (Kind::TarGz, b"no gzip".to_vec(), "invalid header"),
        (Kind::Gz, gz(&zeros), "more bytes"),
        (Kind::Zip, zip(&[("../a", 0, b"x")], false), "leads out"),
        (Kind::Zip, zip(&[("a\\b", 0, b"x")], false), "leads out"),
        (Kind::Zip, zip(&[("a", 0o120_777, b"/etc")], false), "has a link"),
        (Kind::Zip, zip(&[("a", 0o020_777, b"")], false), "no plain file"),
        (Kind::Zip, zip(&[("a", 0, &zeros)], true), "more bytes"),
        (Kind::Zip, damaged, "is damaged"),
        (Kind::Zip, locked, "is encrypted"),
        (Kind::Zip, b"PK".to_vec(), "not a valid zip"),
    ] {
        let told = all(kind, &archive, LIMITS);
        let fits = told.as_ref().err().is_some_and(|e| e.contains(why)) || why.is_empty();
        assert!(fits, "{why}: {told:?}");
    }
    // Nothing that may be large is let through for being small.
    let wide = Limits { bytes: u64::MAX, entries: 10 };
    for (kind, archive) in [(Kind::Gz, gz(&zeros)), (Kind::Zip, zip(&[("a", 0, &zeros)], true))] {
        let told = all(kind, &archive, wide);
        assert!(told.as_ref().is_err_and(|e| e.contains("200 times")), "{told:?}");
    }
}

/// Damaged anywhere, in any way: an end, and no more than may be.
#[test]
fn what_is_damaged_comes_to_an_end() {
    let files = tar(&[
        ("a/", b'5', b""),
        ("a/b", b'0', b"some text"),
        ("x", b'x', b"15 path=a/b/cd\n"),
        ("c", b'0', &[b'x'; 600]),
    ]);
    let listed: [(&str, u32, &[u8]); 2] = [("a/b", 0o100_755, b"text text text"), ("c", 0, b"c")];
    let seeds = [
        (Kind::TarGz, Gzip::new().compress(&files)),
        (Kind::Tar, files),
        (Kind::Zip, zip(&listed, true)),
        (Kind::Zip, zip(&listed, false)),
    ];
    let mut state = 7_u64;
    let mut draw = |most: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % most
    };
    for round in 0..4_000 {
        let (kind, seed) = &seeds[round % seeds.len()];
        let mut bytes = seed.clone();
        for _ in 0..=draw(4) {
            let at = draw(bytes.len());
            bytes[at] = [0, 0xff, bytes[at] ^ 1 << draw(8), b'7'][draw(4)];
        }
        if draw(4) == 0 {
            bytes.truncate(draw(bytes.len()));
        }
        for entry in all(*kind, &bytes, LIMITS).unwrap_or_default() {
            assert!(!entry.starts_with('/') && !entry.contains("../"), "{entry}");
        }
    }
}
