//! Under which name a pin rests in Redis.
//!
//! | scheme | name | |
//! |---|---|---|
//! | plain | `PREFIX` + `scope:session:lane`, percent-encoded | readable with `redis-cli`; whoever reads Redis reads ids |
//! | hashed | `PREFIX` + 32 hexadecimal digits | hides ids; the secret must be the same in all replicas |
//!
//! The hash is BLAKE3, keyed with a secret, over the parts of the key, each after its length.
//! Without the lengths, two keys with the same letters and other borders would be one.
//!
//! The hash of an observed claim follows `%observed=`, as its readable name does: a listing leaves both out.
//!
//! `%` is followed by hexadecimal digits in an encoded part, or by a kind such as `%response=`. So
//! `PREFIX%probe-N`, `PREFIX%drains` and the name written before `WAIT` can be no pin's.

use std::fmt;

use crate::AffinityKey;
use crate::key::OBSERVED;

/// A secret that hides keys: names do not reveal ids, and no one can compute the name of a known id.
///
/// The text itself is not kept. Give every replica the same one, and do not reuse a secret of
/// another purpose.
///
/// ```
/// use affinity_layer::store::NameSecret;
///
/// let secret = NameSecret::new("0f2c9b6a41d873e55e8a17c09d64b3f2");
/// assert_eq!(format!("{secret:?}"), "NameSecret { .. }");
/// ```
#[derive(Clone)]
pub struct NameSecret([u8; 32]);

impl NameSecret {
    /// Derives the secret from `text`, which should hold at least 128 random bits.
    ///
    /// Any length is accepted, and a short one can be guessed by whoever knows a name and an id.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(blake3::derive_key(
            "affinity-layer 2026-11-20 names of pins in redis",
            text.as_bytes(),
        ))
    }

    /// The hash of a key: 128 bits as 32 hexadecimal digits, which lead to no id. A name in Redis ends with
    /// it, and traces may show that of another secret.
    #[must_use]
    pub fn hash(&self, key: &AffinityKey) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in key.parts() {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut hash = [0; 16];
        hasher.finalize_xof().fill(&mut hash);
        format!("{:032x}", u128::from_be_bytes(hash))
    }
}

impl fmt::Debug for NameSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameSecret").finish_non_exhaustive()
    }
}

/// How names are made.
#[derive(Clone, Debug)]
pub(super) enum Scheme {
    /// The parts of the key, readable.
    Plain,
    /// 128 bits of a keyed hash over the parts, each with its length before it.
    Hashed(NameSecret),
}

/// The prefix, and the one or two schemes in use.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(super) prefix: String,
    pub(super) current: Scheme,
    /// Still read, and no more written.
    pub(super) previous: Option<Scheme>,
}

impl Names {
    /// The name under which a pin is written.
    pub(crate) fn current(&self, key: &AffinityKey) -> String {
        self.name(&self.current, key)
    }

    /// The name under which it may still lie, while schemes change.
    pub(crate) fn previous(&self, key: &AffinityKey) -> Option<String> {
        self.previous.as_ref().map(|scheme| self.name(scheme, key))
    }

    /// What all names start with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The pattern of a scan: the literal prefix, and anything after it.
    pub(super) fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.prefix.len() + 1);
        for c in self.prefix.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern + "*"
    }

    /// Whose pin is stored under a name without the prefix, if the name is readable.
    pub(super) fn read(&self, name: &str) -> Option<AffinityKey> {
        let schemes = [Some(&self.current), self.previous.as_ref()];
        let is_plain = |scheme: &Scheme| matches!(scheme, Scheme::Plain);
        schemes.into_iter().flatten().any(is_plain).then(|| AffinityKey::decode(name))?
    }

    fn name(&self, scheme: &Scheme, key: &AffinityKey) -> String {
        let mut name = String::new();
        self.write(scheme, key, &mut |piece| name.push_str(piece));
        name
    }

    /// The current name, piece by piece.
    pub(crate) fn pieces(&self, key: &AffinityKey, out: &mut impl FnMut(&str)) {
        self.write(&self.current, key, out);
    }

    /// Gives the name to `out` piece by piece: a hit hashes the pieces and allocates no name.
    fn write(&self, scheme: &Scheme, key: &AffinityKey, out: &mut impl FnMut(&str)) {
        out(&self.prefix);
        match scheme {
            Scheme::Plain => key.encode_into(out),
            Scheme::Hashed(secret) => {
                if key.is_observed() {
                    out(OBSERVED);
                }
                out(&secret.hash(key));
            }
        }
    }
}

/// Whether a name without the prefix is that of an observed claim. In a part `%` is escaped.
pub(super) fn is_of_observed(name: &str) -> bool {
    name.contains(OBSERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(current: Scheme) -> Names {
        Names { prefix: "p:".to_owned(), current, previous: None }
    }

    fn hashed(secret: &str) -> Names {
        names(Scheme::Hashed(NameSecret::new(secret)))
    }

    #[test]
    fn hashed_names_show_no_id_and_depend_on_the_secret() {
        let key = AffinityKey::new("my-session").unwrap();
        let name = hashed("one").current(&key);
        assert_eq!(name.len(), "p:".len() + 32);
        assert!(name.starts_with("p:") && !name.contains("session"));
        assert_eq!(name, hashed("one").current(&key));
        assert_ne!(name, hashed("two").current(&key));
        let lane = key.clone().with_lane("l").unwrap();
        assert_ne!(name, hashed("one").current(&lane));
    }

    #[test]
    fn hashed_names_keep_kinds_apart() {
        let header = AffinityKey::new("s").unwrap();
        let response = AffinityKey::of_response("s").unwrap();
        assert_ne!(hashed("one").current(&header), hashed("one").current(&response));
        let forged = AffinityKey::new(&response.name()).unwrap();
        assert_ne!(hashed("one").current(&forged), hashed("one").current(&response));
    }

    #[test]
    fn the_name_of_an_observed_claim_shows_that_it_is_one_and_that_of_no_pin_does() {
        for scheme in [Scheme::Plain, Scheme::Hashed(NameSecret::new("one"))] {
            for session in ["s", "%observed=s", "a:b"] {
                let key = AffinityKey::new(session).unwrap().with_lane("l").unwrap();
                let (pin, observed) = (key.clone(), key.observed());
                let name = |key| names(scheme.clone()).current(key);
                assert!(!is_of_observed(&name(&pin)) && is_of_observed(&name(&observed)));
                assert_ne!(name(&observed), name(&pin));
            }
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", hashed("hunter2"));
        assert!(!shown.contains("hunter2") && shown.contains("NameSecret { .. }"), "{shown}");
    }
}
