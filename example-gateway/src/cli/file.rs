//! Which configuration file is meant.

use std::path::PathBuf;

/// The variable that names the configuration if no argument does.
const CONFIG_VARIABLE: &str = "AFFINITY_CONFIG";

/// The file that is `named`, else that of the environment. An empty variable names none.
pub(super) fn configured_file(named: Option<PathBuf>) -> Option<PathBuf> {
    // Not by clap: the variable would count as an option of serve before another command.
    let variable = || std::env::var_os(CONFIG_VARIABLE).filter(|file| !file.is_empty());
    named.or_else(|| variable().map(PathBuf::from))
}
