//! What an archive of plain files (ustar) is made of.

/// Archives are made of blocks of this many bytes, and end with two that are empty.
pub const BLOCK: usize = 512;
/// Largest size in the octal digits that a header has room for; larger ones are written as a
/// number after [`BINARY`], as GNU tar does.
const OCTAL_MAX: u64 = 0o777_7777_7777;
const BINARY: u8 = 0x80;

/// The header of a plain file; `name` has at most 100 bytes.
pub fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut out = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        if let Some(to) = out.get_mut(at..at + text.len()) {
            to.copy_from_slice(text.as_bytes());
        }
    };
    put(0, name);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    if size <= OCTAL_MAX {
        put(124, &format!("{size:011o}\0"));
    }
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    if size > OCTAL_MAX {
        out[124] = BINARY;
        out[128..136].copy_from_slice(&size.to_be_bytes());
    }
    let sum: u32 = out.iter().map(|b| u32::from(*b)).sum();
    out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out
}

/// Zeros up to the next block.
pub fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    let odd = (size % BLOCK as u64) as usize;
    ZEROS.get(..(BLOCK - odd) % BLOCK).unwrap_or_default()
}

/// Name and size of a file, from its header; the name is empty at the end. `None` for what is no
/// header.
pub fn parse(header: &[u8; BLOCK]) -> Option<(&str, u64)> {
    let name = header.get(..100)?.split(|b| *b == 0).next()?;
    let size = header.get(124..136)?;
    let size = match size.split_first()? {
        (&BINARY, rest) => u64::from_be_bytes(*rest.last_chunk()?),
        _ if name.is_empty() => 0,
        _ => {
            let text = std::str::from_utf8(size).ok()?;
            u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()?
        }
    };
    Some((std::str::from_utf8(name).ok()?, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_any_number_of_digits_come_back() {
        for size in [0, 1, 511, 512, OCTAL_MAX, OCTAL_MAX + 1, 1 << 50] {
            assert_eq!(parse(&header("a", size)), Some(("a", size)));
            assert_eq!((size + padding(size).len() as u64) % BLOCK as u64, 0);
        }
        assert_eq!(parse(&[0; BLOCK]), Some(("", 0)));
        assert_eq!(parse(&[b'x'; BLOCK]), None);
    }
}
