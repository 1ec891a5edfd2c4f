//! What the compiler says of the usual mistakes: the cause, and the cure.
//!
//! Each file under `cases` is one mistake. Its lines that begin with `//~` are words that the compiler's page
//! has to hold; the rest of the page is the compiler's and changes with it. A case without such a line has to
//! compile.
//!
//! The cases ask for a service as axum, hyper and function calls do. Of a method call, `app.oneshot(request)`,
//! rustc says only that `_: Service<_>` is not satisfied, and no library can change that; the crate's docs
//! say to write `ServiceExt::oneshot(app, request)` then.
#![allow(clippy::expect_used, clippy::panic, reason = "a test reports what is wrong by a panic")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// With the features of the workspace, so that what is built already can be used.
const DEPENDENCIES: &str = r#"
axum = { version = "0.8", default-features = false, features = ["http1", "http2", "tokio", "json", "query"] }
bytes = "1"
http = "1"
http-body-util = "0.1"
hyper = { version = "1", features = ["http1", "http2", "server", "client"] }
hyper-util = { version = "0.1", features = ["client", "client-legacy", "http1", "http2", "server", "server-auto", "service", "tokio"] }
tokio = { version = "1", features = ["macros", "net", "rt-multi-thread"] }
tower = { version = "0.5", features = ["util", "limit", "timeout", "load-shed", "buffer"] }
tower-http = { version = "0.7", features = ["trace", "compression-gzip", "decompression-gzip", "limit", "map-request-body", "map-response-body"] }
"#;

fn cases() -> BTreeMap<String, PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui/cases");
    let files = fs::read_dir(folder).expect("the cases").map(|file| file.expect("a case").path());
    let named = |file: PathBuf| {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, file)
    };
    files.map(named).collect()
}

/// A package with one example for each case, beside what this test was built from.
fn package(cases: &BTreeMap<String, PathBuf>) -> PathBuf {
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui");
    fs::create_dir_all(&package).expect("a folder");
    let library = env!("CARGO_MANIFEST_DIR");
    let mut manifest = format!(
        "[workspace]\n[package]\nname = \"ui\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [lib]\npath = \"lib.rs\"\n[profile.dev]\ndebug = \"line-tables-only\"\n[dependencies]\n\
         affinity-layer = {{ path = {library:?}, features = [\"axum\"] }}{DEPENDENCIES}"
    );
    for (name, file) in cases {
        let case =
            format!("[[example]]\nname = {name:?}\npath = {file:?}\ncrate-type = [\"lib\"]\n");
        manifest.write_str(&case).expect("a case");
    }
    fs::write(package.join("Cargo.toml"), manifest).expect("a manifest");
    fs::write(package.join("lib.rs"), "").expect("a library");
    let lock = Path::new(library).join("../Cargo.lock");
    fs::copy(lock, package.join("Cargo.lock")).expect("the versions of the workspace");
    package
}

/// What the compiler says of each case.
fn pages(package: &Path) -> BTreeMap<String, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    let cargo = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--examples", "--keep-going", "--message-format=json"])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let (lines, said) =
        (String::from_utf8_lossy(&cargo.stdout), String::from_utf8_lossy(&cargo.stderr));
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut pages = BTreeMap::<String, String>::new();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    for message in messages {
        let target = text(message.pointer("/target/name"));
        match text(message.get("reason")).as_str() {
            "compiler-artifact" => drop(pages.entry(target).or_default()),
            "compiler-message" if text(message.pointer("/message/level")) == "error" => {
                pages
                    .entry(target)
                    .or_default()
                    .push_str(&text(message.pointer("/message/rendered")));
            }
            _ => {}
        }
    }
    assert!(pages.contains_key("affinity_layer"), "the library is not built: {said}");
    pages
}

#[test]
fn each_mistake_is_answered_with_its_cure() {
    let cases = cases();
    let pages = pages(&package(&cases));
    let mut wrong = String::new();
    for (name, file) in &cases {
        let source = fs::read_to_string(file).expect("a case");
        let wanted: Vec<_> = source.lines().filter_map(|line| line.strip_prefix("//~ ")).collect();
        let Some(page) = pages.get(name) else {
            panic!("{name} was not built");
        };
        // The compiler breaks no line of ours, and a path may be longer than we write it.
        let missing: Vec<_> = wanted.iter().filter(|words| !page.contains(**words)).collect();
        if !missing.is_empty() || wanted.is_empty() != page.is_empty() {
            writeln!(wrong, "== {name}: missing {missing:?} in\n{page}").expect("a line");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
