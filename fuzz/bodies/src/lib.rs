//! The bodies of the fuzz targets: each takes any bytes and panics when something does not hold.
//!
//! They are separate from the targets so that a plain test can run them, on the stable toolchain, with
//! the inputs that were kept (`tests/replay.rs`).

mod answers;
mod config;
mod distinct;
mod gateway;
mod http2;
mod key;
mod preferences;
mod release;
mod slicer;
mod stack;
mod usage;
mod values;

use arbitrary::{Arbitrary, Unstructured};

pub use answers::answers;
pub use config::config;
pub use gateway::gateway;
pub use http2::http2;
pub use key::key;
pub use preferences::preferences;
pub use release::release;
pub use slicer::slicer;
pub use usage::usage;
pub use values::values;

/// Takes any bytes.
pub type Body = fn(&[u8]);

/// Every target by its name.
pub const ALL: [(&str, Body); 10] = [
    ("answers", answers),
    ("config", config),
    ("gateway", gateway),
    ("http2", http2),
    ("key", key),
    ("preferences", preferences),
    ("release", release),
    ("slicer", slicer),
    ("usage", usage),
    ("values", values),
];

/// Structured input out of bytes, as libFuzzer's targets make it.
fn input<'a, T: Arbitrary<'a>>(data: &'a [u8]) -> Option<T> {
    let (least, _) = T::size_hint(0);
    (data.len() >= least).then(|| T::arbitrary_take_rest(Unstructured::new(data)).ok())?
}

/// Whether more stands in a line after `[DONE]`. The end of a stream is taken as soon as it is there, so
/// what such a line says depends on the cut.
fn goes_on_after_done(data: &[u8]) -> bool {
    let ends = data.windows(7).filter(|seven| seven.starts_with(b"[DONE]"));
    ends.filter_map(|seven| seven.last()).any(|next| !matches!(next, b'\r' | b'\n'))
}
