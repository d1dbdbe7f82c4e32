//! Ids: 36 characters in the API, 16 bytes in keys.

use super::Entropy;

/// A new random id (version 4 in form, as the reference's ids need not be).
pub fn new(entropy: &mut dyn Entropy) -> String {
    random(entropy, None)
}

/// A new id of a row. As likely to collide as a random one, also in its first digits, by which
/// people name it; but the rows of ids that are made one after the other lie side by side.
pub fn of_row(entropy: &mut dyn Entropy) -> String {
    let front = entropy.id_front();
    random(entropy, front)
}

fn random(entropy: &mut dyn Entropy, front: Option<[u8; 2]>) -> String {
    let mut b = [0; 16];
    entropy.fill(&mut b);
    if let Some([first, second]) = front {
        b[0] = first;
        b[1] = second;
    }
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    from_bytes(&b)
}

/// 16 bytes as lower-case text.
pub fn from_bytes(b: &[u8; 16]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(36);
    for (i, byte) in b.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
    out
}

/// `None` for anything that is not 36 characters of hex with hyphens in their places.
pub fn to_bytes(text: &str) -> Option<[u8; 16]> {
    let t = text.as_bytes();
    if t.len() != 36 {
        return None;
    }
    let mut out = [0; 16];
    let mut nibbles = 0;
    for (i, c) in t.iter().enumerate() {
        if matches!(i, 8 | 13 | 18 | 23) {
            if *c != b'-' {
                return None;
            }
            continue;
        }
        let v = char::from(*c).to_digit(16)?;
        let slot = out.get_mut(nibbles / 2)?;
        *slot = *slot << 4 | u8::try_from(v).ok()?;
        nibbles += 1;
    }
    Some(out)
}

pub fn is_uuid(text: &str) -> bool {
    to_bytes(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree() {
        let text = "3c125c43-c195-e8c0-2617-5477ee824484";
        assert_eq!(from_bytes(&to_bytes(text).unwrap()), text);
        for bad in ["", "3c125c43", "3c125c43xc195-e8c0-2617-5477ee824484", &"g".repeat(36)] {
            assert!(!is_uuid(bad), "{bad}");
        }
    }
}
