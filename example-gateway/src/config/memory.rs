//! How much memory this process may use, as far as Linux tells.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// What is assumed where nothing can be read: 512 MiB.
const UNKNOWN: u64 = 512 << 20;

/// Bytes that this process may use: the least of the machine's memory, the limits of its control groups
/// (version 1 or 2) and of its address space. Read once.
pub(super) fn usable() -> usize {
    static USABLE: OnceLock<u64> = OnceLock::new();
    let usable = *USABLE.get_or_init(|| least(Path::new("/")).unwrap_or(UNKNOWN));
    usize::try_from(usable).unwrap_or(usize::MAX)
}

fn least(root: &Path) -> Option<u64> {
    let machine = text(root, "proc/meminfo").and_then(|info| {
        let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let space = text(root, "proc/self/limits").and_then(|limits| {
        let lines = limits.lines();
        let soft = |line: &str| {
            let limits =
                line.strip_prefix("Max address space").or(line.strip_prefix("Max data size"))?;
            limits.split_whitespace().next()?.parse::<u64>().ok()
        };
        lines.filter_map(soft).min()
    });
    [machine, space, groups(root)].into_iter().flatten().min()
}

/// The least limit of the control groups that this process is in, and of those above them.
fn groups(root: &Path) -> Option<u64> {
    let groups = text(root, "proc/self/cgroup")?;
    let limits = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (mount, file) = if controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            return None;
        };
        // In a container the path may be that of the host, and only the top is there to be read.
        let group = root.join(mount).join(path.trim_start_matches('/'));
        let above = group.ancestors().take_while(|group| group.starts_with(root.join(mount)));
        above.filter_map(|group| text(group, file)?.trim().parse::<u64>().ok()).min()
    });
    limits.min()
}

fn text(root: &Path, file: &str) -> Option<String> {
    fs::read_to_string(root.join(file)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        least(root.path())
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:    1048576 kB\nMemFree:  1 kB\n");

    #[test]
    fn the_least_limit_counts() {
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[MACHINE]), Some(1024 * MIB));
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
                      Max data size             unlimited            unlimited            bytes\n\
                      Max address space         734003200            unlimited            bytes\n";
        assert_eq!(with(&[MACHINE, ("proc/self/limits", limits)]), Some(700 * MIB));
    }

    #[test]
    fn limits_of_control_groups_count_with_those_above() {
        let second = ("proc/self/cgroup", "0::/pods/mine\n");
        let (mine, above) = ("sys/fs/cgroup/pods/mine/memory.max", "sys/fs/cgroup/pods/memory.max");
        let least = |files: &[_]| with(&[&[MACHINE, second], files].concat());
        assert_eq!(least(&[(mine, "536870912\n")]), Some(512 * MIB));
        assert_eq!(least(&[(mine, "max\n"), (above, "268435456\n")]), Some(256 * MIB));
        assert_eq!(least(&[(mine, "max\n")]), Some(1024 * MIB));
        let first = ("proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n");
        let top = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
        assert_eq!(with(&[MACHINE, first, top]), Some(512 * MIB));
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(with(&[MACHINE, first, none]), Some(1024 * MIB));
    }
}
