//! The proxies in front of a listener.

use std::net::IpAddr;

use super::address::ip_address;
use super::at::At;

/// The proxies whose word on the address of a client is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<AddressBlock>);

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AddressBlock {
    first: IpAddr,
    /// How many bits they share.
    prefix: u32,
}

impl TrustedProxies {
    /// Whether the proxy at `address` is one of them. An IPv4 address may be written as IPv6.
    #[must_use]
    pub fn hold(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|block| block.holds(address))
    }

    pub(super) fn read(at: &At<'_>) -> Self {
        let blocks = at.items().into_iter().filter_map(|item| {
            let block = item.parsed(AddressBlock::parse)?;
            if block.masked(block.first) != Some(block.bits()) {
                item.warn(format!("the bits after the first {} have no effect", block.prefix));
            }
            Some(block)
        });
        Self(blocks.collect())
    }
}

impl AddressBlock {
    /// Reads an address, which may be in brackets, or one with the length of its prefix.
    fn parse(text: &str) -> Result<Self, &'static str> {
        const SHAPE: &str = "must be an IP address or a block of them, for example 10.0.0.0/8";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let written = ip_address(inner.unwrap_or(address)).map_err(|_| SHAPE)?;
        let first = written.to_canonical();
        let prefix = match prefix {
            None => width(first),
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                let prefix: u32 = prefix.parse().map_err(|_| SHAPE)?;
                // Of an IPv4 address that is written as IPv6, the first 96 bits say just that.
                prefix.checked_sub(width(written) - width(first)).ok_or(SHAPE)?
            }
            Some(_) => return Err(SHAPE),
        };
        match prefix {
            0 => Err("every address would be a proxy's, and none a client's"),
            prefix if prefix > width(first) => Err(SHAPE),
            prefix => Ok(Self { first, prefix }),
        }
    }

    fn holds(&self, address: IpAddr) -> bool {
        let masked = self.masked(address);
        masked.is_some() && masked == self.masked(self.first)
    }

    /// The shared bits of `address`; `None` if it is of the other version.
    fn masked(&self, address: IpAddr) -> Option<u128> {
        let rest = width(self.first).checked_sub(self.prefix)?;
        let kept = u128::MAX.checked_shl(rest).unwrap_or_default();
        (address.is_ipv4() == self.first.is_ipv4()).then(|| bits(address) & kept)
    }

    fn bits(&self) -> u128 {
        bits(self.first)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Bits of an address.
const fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
impl TrustedProxies {
    /// Those in `blocks`.
    pub(crate) fn of(blocks: &[&str]) -> Self {
        Self(blocks.iter().map(|block| AddressBlock::parse(block).unwrap()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_the_addresses_that_begin_as_it_does() {
        for (block, inside, outside) in [
            ("10.0.0.7", &["10.0.0.7", "::ffff:10.0.0.7"][..], &["10.0.0.6", "::1"][..]),
            ("10.0.0.7/32", &["10.0.0.7"], &["10.0.0.8"]),
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], &["11.0.0.0"]),
            ("172.16.0.0/12", &["172.31.255.255"], &["172.32.0.0", "172.15.255.255"]),
            ("128.0.0.0/1", &["255.255.255.255"], &["127.255.255.255", "8000::"]),
            ("::ffff:10.0.0.0/104", &["10.9.9.9"], &["11.0.0.0", "::ffff:11.0.0.0"]),
            ("fd00::/8", &["fd00::1", "fdff::"], &["fe00::", "253.0.0.0"]),
            ("[fd00::]/8", &["fd00::1"], &["fe00::"]),
            ("[::1]", &["::1"], &["::2", "127.0.0.1"]),
            ("localhost", &["127.0.0.1"], &["127.0.0.2"]),
        ] {
            let proxies = TrustedProxies::of(&[block]);
            let holds = |address: &&&str| proxies.hold(address.parse().unwrap());
            assert_eq!(inside.iter().find(|address| !holds(address)), None, "{block}");
            assert_eq!(outside.iter().find(holds), None, "{block}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in [
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/99999999999",
            "::ffff:10.0.0.0/95",
            "10.0.0.1:80",
            "[::1]:80",
            "[::1",
            "10.0.0",
            "proxy.example",
            "*",
            "0.0.0.0/0",
            "::/0",
            "::ffff:0.0.0.0/96",
        ] {
            assert!(AddressBlock::parse(text).is_err(), "{text}");
        }
    }
}
