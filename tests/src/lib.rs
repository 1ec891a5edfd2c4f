//! The end-to-end suite; see the files in `tests/`.

pub mod redis;
