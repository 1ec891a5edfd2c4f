//! Blocks of addresses, such as `10.0.0.0/8`.

use std::net::IpAddr;

use super::address::ip_address;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddressBlock {
    first: IpAddr,
    /// How many bits they share.
    prefix: u32,
}

impl AddressBlock {
    /// Reads an address, which may be in brackets, or one with the length of its prefix.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
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
        if prefix > width(first) { Err(SHAPE) } else { Ok(Self { first, prefix }) }
    }

    /// How many bits its addresses share.
    pub(super) fn prefix(&self) -> u32 {
        self.prefix
    }

    /// Whether the address that it was written with has bits that have no effect.
    pub(super) fn has_idle_bits(&self) -> bool {
        self.masked(self.first) != Some(bits(self.first))
    }

    /// Whether `address` is in it. An IPv4 address must not be written as IPv6.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        let masked = self.masked(address);
        masked.is_some() && masked == self.masked(self.first)
    }

    /// The shared bits of `address`; `None` if it is of the other version.
    fn masked(&self, address: IpAddr) -> Option<u128> {
        let rest = width(self.first).checked_sub(self.prefix)?;
        let kept = u128::MAX.checked_shl(rest).unwrap_or_default();
        (address.is_ipv4() == self.first.is_ipv4()).then(|| bits(address) & kept)
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
