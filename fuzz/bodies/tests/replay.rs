//! Replays every input that fuzzing kept through the target it was kept for.
//!
//! The inputs of a target are in `fuzz/corpus/TARGET.tar.gz`, which `tests/fuzz.sh` writes.

use std::io::{Error, ErrorKind, Read, Result};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

fn replay(target: &str) {
    // A task that panics would only end its connection.
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default_hook(panic);
        std::process::abort();
    }));
    let (_, body) = affinity_fuzz_bodies::ALL.iter().find(|(name, _)| *name == target).unwrap();
    let archive = archive(target);
    let inputs = inputs(&archive).unwrap_or_else(|e| panic!("{}: {e}", archive.display()));
    for (name, input) in inputs {
        println!("{target}/{name}");
        body(&input);
    }
}

fn archive(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../corpus/{target}.tar.gz"))
}

/// The files of an archive by name. An archive without any is an error, as a missing one is.
fn inputs(archive: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for entry in Archive::new(GzDecoder::new(std::fs::File::open(archive)?)).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type() == EntryType::Regular {
            let name = entry.path()?.display().to_string();
            let mut input = Vec::new();
            entry.read_to_end(&mut input)?;
            inputs.push((name, input));
        }
    }
    if inputs.is_empty() {
        return Err(Error::new(ErrorKind::UnexpectedEof, "the archive holds no input"));
    }
    Ok(inputs)
}

#[test]
fn every_target_has_an_archive_and_every_archive_a_target() {
    let corpus = archive("x");
    let mut archives: Vec<_> = std::fs::read_dir(corpus.parent().unwrap())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| Some(name.strip_suffix(".tar.gz")?.to_owned()))
        .collect();
    archives.sort();
    assert_eq!(archives, affinity_fuzz_bodies::ALL.map(|(name, _)| name));
}

#[test]
fn an_archive_that_is_missing_empty_or_cut_short_is_an_error() {
    assert!(inputs(&archive("missing")).is_err());

    let pack = |files: &[&str]| {
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gzip);
        for name in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            tar.append_data(&mut header, name, &b"abc"[..]).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    };
    let path = std::env::temp_dir().join(format!("affinity-replay-{}.tar.gz", std::process::id()));
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        inputs(&path)
    };
    let whole = pack(&["1", "2"]);
    let (all, cut) = (read(&whole), read(&whole[..whole.len() / 2]));
    let (without_input, without_bytes) = (read(&pack(&[])), read(&[]));
    std::fs::remove_file(&path).unwrap();

    let file = |name: &str| (name.to_owned(), b"abc".to_vec());
    assert_eq!(all.unwrap(), [file("1"), file("2")]);
    assert!(cut.is_err());
    assert!(without_input.is_err());
    assert!(without_bytes.is_err());
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
fn http2() {
    replay("http2");
}

#[test]
fn key() {
    replay("key");
}

#[test]
fn preferences() {
    replay("preferences");
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
