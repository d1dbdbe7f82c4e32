//! Address ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::{Function, MANY, int, text};

pub(super) const TABLE: &[Function] = &[
    ("cidrhost", 2, 2, |a| {
        let net = Net::parse(&text(a, 0)?)?;
        let (n, room) = (i128::from(int(a, 1)?), net.width - net.prefix);
        let size = 1_i128.checked_shl(room.min(126)).unwrap_or(i128::MAX);
        let host = if n < 0 { size + n } else { n };
        if host < 0 || host >= size {
            return Err(format!("prefix of {} does not accommodate a host {n}", net.prefix));
        }
        Ok(net.address(net.bits | host.unsigned_abs()).into())
    }),
    ("cidrnetmask", 1, 1, |a| {
        let net = Net::parse(&text(a, 0)?)?;
        if net.width != 32 {
            return Err("only IPv4 has net masks".to_owned());
        }
        Ok(net.address(net.mask()).into())
    }),
    ("cidrsubnet", 3, 3, |a| {
        let net = Net::parse(&text(a, 0)?)?;
        let more = u32::try_from(int(a, 1)?).map_err(|_| "the new bits may not be negative")?;
        let n = u128::try_from(int(a, 2)?).map_err(|_| "the number may not be negative")?;
        net.part(more, n).map(Value::from)
    }),
    ("cidrsubnets", 1, MANY, |a| {
        let net = Net::parse(&text(a, 0)?)?;
        let mut at = net.bits;
        let mut out = Vec::new();
        for i in 1..a.len() {
            let more = u32::try_from(int(a, i)?).map_err(|_| "the new bits may not be negative")?;
            let prefix = net.prefix.checked_add(more).filter(|p| *p <= net.width);
            let prefix = prefix.ok_or("there are not so many bits left")?;
            let size = 1_u128.checked_shl(net.width - prefix).unwrap_or(0);
            at = at.checked_next_multiple_of(size.max(1)).ok_or("there is no room left")?;
            if at & net.mask() != net.bits {
                return Err("there is no room left".to_owned());
            }
            out.push(Value::from(format!("{}/{prefix}", net.address(at))));
            at = at.checked_add(size).ok_or("there is no room left")?;
        }
        Ok(out.into())
    }),
];

/// A range of addresses.
struct Net {
    bits: u128,
    prefix: u32,
    /// Bits of an address: 32 or 128.
    width: u32,
}

impl Net {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no range of addresses such as 10.0.0.0/8");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let (bits, width) = match address {
            IpAddr::V4(a) => (u128::from(u32::from(a)), 32),
            IpAddr::V6(a) => (u128::from(a), 128),
        };
        let prefix = prefix.parse().ok().filter(|p| *p <= width).ok_or_else(wrong)?;
        let mut net = Self { bits, prefix, width };
        net.bits &= net.mask();
        Ok(net)
    }

    fn mask(&self) -> u128 {
        let all = if self.width == 32 { u128::from(u32::MAX) } else { u128::MAX };
        all & u128::MAX.checked_shl(self.width - self.prefix).unwrap_or(0)
    }

    fn address(&self, bits: u128) -> String {
        match u32::try_from(bits) {
            Ok(bits) if self.width == 32 => Ipv4Addr::from(bits).to_string(),
            _ => Ipv6Addr::from(bits).to_string(),
        }
    }

    /// The n-th range with a prefix that is longer by some bits.
    fn part(&self, more: u32, n: u128) -> Result<String, String> {
        let prefix = self.prefix.checked_add(more).filter(|p| *p <= self.width);
        let prefix = prefix.ok_or("there are not so many bits left")?;
        if more < 128 && n >> more != 0 {
            return Err(format!("{more} bits do not hold the number {n}"));
        }
        let at = self.bits | n.checked_shl(self.width - prefix).unwrap_or(0);
        Ok(format!("{}/{prefix}", self.address(at)))
    }
}
