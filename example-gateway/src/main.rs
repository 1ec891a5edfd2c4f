//! Arguments and hand-over.
fn main() {}
