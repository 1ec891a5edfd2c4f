//! Where the programs under test are; they are built once for each test program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The gateway: `AFFINITY_GATEWAY_BIN` if that is set, else built in the profile and target folder
/// of this test program.
///
/// # Panics
///
/// When it cannot be built.
#[must_use]
pub fn gateway() -> PathBuf {
    std::env::var_os("AFFINITY_GATEWAY_BIN")
        .map_or_else(|| folder().join("example-gateway"), PathBuf::from)
}

/// The example `agent_server`, found in the same way, by `AFFINITY_AGENT_BIN`.
///
/// # Panics
///
/// When it cannot be built.
#[must_use]
pub fn agent_server() -> PathBuf {
    std::env::var_os("AFFINITY_AGENT_BIN")
        .map_or_else(|| folder().join("examples/agent_server"), PathBuf::from)
}

/// The folder of what was built, `target/debug` for example.
fn folder() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let program = std::env::current_exe().expect("the path of this program");
        let folder = program.parent().and_then(Path::parent).expect("target/PROFILE/deps");
        let profile = folder.file_name().expect("a profile").to_string_lossy();
        let profile = if profile == "debug" { "dev" } else { &*profile };
        let status = Command::new(env!("CARGO"))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .args(["build", "--quiet", "-p", "example-gateway", "--bins", "--examples"])
            .args(["--profile", profile])
            .arg("--target-dir")
            .arg(folder.parent().expect("a target folder"))
            .status();
        assert!(status.expect("cargo runs").success(), "the gateway was not built");
        folder.to_owned()
    })
}
