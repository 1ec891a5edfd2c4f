//! Where and with what the figures were made.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Two columns of a Markdown table.
pub(super) fn rows(gateway: &Path, litellm: Option<&Path>) -> Vec<(String, String)> {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let mut rows = vec![
        ("date".into(), said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("processor".into(), format!("{} × {}", processors, cpu())),
        ("kernel".into(), said("uname", &["-sr"])),
        ("compiler".into(), said("rustc", &["--version"])),
        ("gateway".into(), said(&gateway.display().to_string(), &["--version"])),
        ("nginx".into(), said("nginx", &["-v"])),
        ("HAProxy".into(), said("haproxy", &["-v"])),
        ("Redis".into(), said("redis-server", &["--version"])),
    ];
    if let Some(environment) = litellm {
        let pip = environment.join("bin/pip").display().to_string();
        rows.push(("LiteLLM".into(), line_with(&output(&pip, &["show", "litellm"]), "Version")));
    }
    rows
}

fn cpu() -> String {
    line_with(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default(), "model name")
}

/// What follows the colon in the first line that begins with `name`.
fn line_with(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
    value.unwrap_or("unknown").to_owned()
}

/// The first line that a program prints.
fn said(program: &str, arguments: &[&str]) -> String {
    let all = output(program, arguments);
    let line = all.lines().next().unwrap_or("unknown");
    // HAProxy adds where to read about it.
    line.split(" - http").next().unwrap_or(line).trim().to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{path}:/usr/local/sbin:/usr/sbin:/sbin");
    let output = Command::new(program).env("PATH", path).args(arguments).output();
    let Ok(output) = output else { return "unknown".into() };
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
