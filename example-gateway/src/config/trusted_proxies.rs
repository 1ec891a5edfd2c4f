//! The proxies in front of a listener.

use std::net::IpAddr;

use super::address_block::AddressBlock;
use super::at::At;

/// The proxies whose word on the address of a client is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<AddressBlock>);

impl TrustedProxies {
    /// Whether the proxy at `address` is one of them. An IPv4 address may be written as IPv6.
    #[must_use]
    pub fn hold(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|block| block.holds(address))
    }

    pub(super) fn read(at: &At<'_>) -> Self {
        let blocks = at.items().into_iter().filter_map(|item| {
            let block = item.parsed(trusted)?;
            if block.has_idle_bits() {
                item.warn(format!("the bits after the first {} have no effect", block.prefix()));
            }
            Some(block)
        });
        Self(blocks.collect())
    }
}

/// A block of which not every address is: then none would be a client's.
fn trusted(text: &str) -> Result<AddressBlock, &'static str> {
    let block = AddressBlock::parse(text)?;
    match block.prefix() {
        0 => Err("every address would be a proxy's, and none a client's"),
        _ => Ok(block),
    }
}

#[cfg(test)]
impl TrustedProxies {
    /// Those in `blocks`.
    pub(crate) fn of(blocks: &[&str]) -> Self {
        Self(blocks.iter().map(|block| trusted(block).unwrap()).collect())
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
            assert!(trusted(text).is_err(), "{text}");
        }
    }
}
