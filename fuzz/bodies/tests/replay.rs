//! Every input that fuzzing kept, once more through the target it was kept for.

use std::path::Path;

fn replay(target: &str) {
    // A task that panics would only end its connection.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::abort();
    }));
    let (_, body) = affinity_fuzz_bodies::ALL.iter().find(|(name, _)| *name == target).unwrap();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    let mut inputs = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let file = file.unwrap().path();
        println!("{}", file.display());
        body(&std::fs::read(file).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "nothing was kept for {target}");
}

#[test]
fn answers() {
    replay("answers");
}

#[test]
fn config() {
    replay("config");
}

#[test]
fn gateway() {
    replay("gateway");
}

#[test]
fn key() {
    replay("key");
}

#[test]
fn release() {
    replay("release");
}

#[test]
fn slicer() {
    replay("slicer");
}

#[test]
fn usage() {
    replay("usage");
}

#[test]
fn values() {
    replay("values");
}
