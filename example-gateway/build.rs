//! Tells the program which commit it is built from.
//!
//! Only optimised builds ask git: a debug build would be compiled anew after each commit.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=AFFINITY_COMMIT");
    let named = env::var("AFFINITY_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = named.or_else(|| (env::var("PROFILE").as_deref() == Ok("release")).then(head)?);
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=AFFINITY_VERSION={version}");
}

/// The commit that is checked out; `None` outside a checkout, as in a container.
fn head() -> Option<String> {
    for file in ["HEAD", "logs/HEAD"] {
        println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", file])?);
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
