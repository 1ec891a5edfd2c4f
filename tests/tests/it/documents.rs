//! What the documents show is what the gateway does: their configurations are checked, their calls
//! made, and their commands known. Rust in them is compiled with the documentation's tests.

use std::path::{Path, PathBuf};

use affinity_tests::{Gateway, run, within};
use tokio::process::Command;

const VARIABLES: [(&str, &str); 10] = [
    ("ADMIN_TOKEN", "a-token-of-some-length"),
    ("ANTHROPIC_API_KEY", "sk-ant-test"),
    ("CLIENT_KEY", "a-key-of-some-length"),
    ("KEY_SECRET", "a-secret-of-some-length-for-names"),
    ("OLD_SECRET", "another-secret-of-some-length"),
    ("OPENAI_API_KEY", "sk-test"),
    ("OTLP_ENDPOINT", "http://localhost:4317"),
    ("REDIS_URL", "redis://localhost:6379"),
    ("SECRET", "one-more-secret-of-some-length"),
    ("TEAM_A_KEY", "a-key-of-some-length"),
];

const BASE: &str = "version: v0.4.0\nmodel_providers: [{model: openai/gpt-4o, access_key: k}]\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn documents() -> Vec<(String, String)> {
    let read =
        |path: PathBuf| (path.display().to_string(), std::fs::read_to_string(&path).unwrap());
    let of = |folder: &str| {
        let files = root().join(folder).read_dir().unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|end| end == "md")).collect::<Vec<_>>()
    };
    ["", "docs", "deploy"].into_iter().flat_map(of).map(read).collect()
}

/// The blocks of `language`, each with the line that it begins in.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let (mut blocks, mut open) = (Vec::new(), None);
    for (line, number) in text.lines().zip(1..) {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(tag)) => open = Some((tag == language, number + 1, String::new())),
            (Some(_), Some(_)) => {
                let (wanted, start, block) = open.take().unwrap();
                blocks.extend(wanted.then_some((start, block)));
            }
            (Some((_, _, block)), None) => *block += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    blocks
}

fn blocks_of_all(language: &str) -> Vec<(String, String)> {
    let documents = documents().into_iter();
    let blocks = documents.flat_map(|(path, text)| {
        let of = blocks(&text, language).into_iter();
        of.map(move |(line, block)| (format!("{path}:{line}"), block)).collect::<Vec<_>>()
    });
    blocks.collect()
}

async fn checks(place: &str, file: &Path) {
    let output = run(&["check", file.to_str().unwrap()], &VARIABLES).await;
    assert_eq!(output.code, Some(0), "{place}: {output:?}");
}

#[tokio::test]
async fn every_configuration_that_is_shown_can_be_served() {
    let folder = tempfile::tempdir().unwrap();
    let shown = blocks_of_all("yaml");
    assert!(shown.len() >= 5, "{shown:?}");
    for (place, block) in shown {
        let whole = if block.starts_with("version:") { block } else { BASE.to_owned() + &block };
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, whole).unwrap();
        checks(&place, &file).await;
    }
    checks("deploy", &root().join("deploy/kubernetes/gateway.yaml")).await;
}

/// Those of the admin listener are made by the tests of the admin API.
#[tokio::test]
async fn every_call_that_the_documents_show_is_answered() {
    let gateway = Gateway::command(&["serve", "--listen", "127.0.0.1:0"]).await;
    let is_call = |block: &str| block.contains("curl") && block.contains("127.0.0.1:12000");
    let calls = blocks_of_all("sh").into_iter();
    let mut made = 0;
    for (place, call) in
        calls.filter(|(place, block)| is_call(block) && !place.contains("admin.md"))
    {
        let here = call.replace("127.0.0.1:12000", &gateway.address().to_string());
        // The status is told whatever the call itself shows.
        let here = here.replace("curl ", "curl --fail-with-body ");
        let output = within(Command::new("sh").args(["-ec", &here]).output()).await.unwrap();
        assert!(output.status.success(), "{place}: {output:?}");
        made += 1;
    }
    assert!(made >= 2, "{made} calls");
}

#[tokio::test]
async fn every_command_that_is_shown_is_one() {
    let commands = blocks_of_all("sh").into_iter().flat_map(|(place, block)| {
        let lines: Vec<_> = block.lines().map(str::to_owned).collect();
        lines.into_iter().map(move |line| (place.clone(), line))
    });
    let mut seen = 0;
    for (place, line) in commands {
        let words: Vec<_> = line.split_whitespace().collect();
        for file in words.iter().filter(|word| word.starts_with("example-gateway/")) {
            assert!(root().join(file).exists(), "{place}: {line}");
        }
        let arguments = match &*words {
            ["cargo", "run", "--", arguments @ ..] | ["example-gateway", arguments @ ..] => {
                arguments
            }
            [script, ..] if script.starts_with("tests/") => {
                assert!(root().join(script).exists(), "{place}: {line}");
                continue;
            }
            _ => continue,
        };
        let help = run(&[arguments[0], "--help"], &[]).await;
        assert_eq!(help.code, Some(0), "{place}: {line}");
        for option in arguments.iter().filter(|word| word.starts_with("--")) {
            assert!(help.out.contains(option), "{place}: {line}: {}", help.out);
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen} commands");
}
