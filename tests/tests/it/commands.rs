//! The commands that run to an end.

use std::path::PathBuf;

use affinity_tests::{Gateway, Output, Refusing, run};

const KEYS: [(&str, &str); 2] =
    [("OPENAI_API_KEY", "sk-test-openai"), ("ANTHROPIC_API_KEY", "sk-test-anthropic")];

/// The files that come with the gateway.
fn shipped(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../example-gateway/config");
    PathBuf::from(folder).join(name).to_str().unwrap().to_owned()
}

fn no_colour(output: &Output) {
    assert!(!output.out.contains('\u{1b}') && !output.err.contains('\u{1b}'), "{output:?}");
    // A progress line that is overwritten is for terminals too.
    assert!(!output.out.contains('\r'), "{:?}", output.out);
}

#[tokio::test]
async fn demo_shows_a_loop_that_switches_and_one_that_holds() {
    let output = run(&["demo"], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    no_colour(&output);
    let (without, with) = output.out.split_once("Run 2: WITH Model Affinity").unwrap();
    assert!(without.contains("Run 1: WITHOUT Model Affinity"));
    assert!(with.starts_with(" (X-Model-Affinity: "));

    let turns = |run: &str| run.lines().filter(|line| line.starts_with("turn ")).count();
    assert_eq!((turns(without), turns(with)), (4, 4), "{}", output.out);
    let switches = without.matches("← switched").count();
    assert_eq!((switches, with.matches("← switched").count()), (3, 0));
    assert!(without.contains(&format!("✗ Without affinity: model switched {switches} time(s)")));
    let held = with.lines().find(|line| line.starts_with("✓ With affinity: ")).unwrap();
    let model = held.strip_prefix("✓ With affinity: ").unwrap();
    let model = model.strip_suffix(" for all 4 turns").unwrap();
    assert_eq!(with.matches(&format!("[{model}")).count(), 4, "{with}");
    assert!(!without.contains("pinned") && with.matches("✓ pinned").count() == 3, "{with}");
    for run in [without, with] {
        for tool in ["get_db_benchmarks", "get_case_studies", "check_feature_support"] {
            assert!(run.contains(tool), "{run}");
        }
        assert_eq!(run.matches("final answer").count(), 1, "{run}");
    }
    assert!(with.contains("Final Report") && with.contains("PostgreSQL"), "{with}");
    let cached = with
        .lines()
        .find_map(|line| line.strip_prefix("Prompt tokens from the provider's cache: "));
    let shares = cached.unwrap().split(' ').filter_map(|word| word.parse::<u8>().ok());
    let [without, with] = shares.collect::<Vec<_>>()[..] else { panic!("{cached:?}") };
    assert!(0 < without && without < with && with < 100, "{cached:?}");
}

#[tokio::test]
async fn demo_that_runs_out_of_turns_says_so() {
    let output = run(&["demo", "--turns", "2"], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.out.lines().filter(|line| line.starts_with("turn ")).count(), 4);
    assert!(output.out.contains("for all 2 turns") && !output.out.contains("Final Report"));
    assert!(output.out.contains("without a final answer"));
}

#[tokio::test]
async fn verify_passes_a_gateway() {
    let gateway = Gateway::command(&["serve", "--listen", "127.0.0.1:0"]).await;
    let output =
        run(&["verify", "--url", &gateway.url(), "--sessions", "2", "--rounds", "3"], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    no_colour(&output);
    for expected in ["Sessions       : 2", "Rounds/session : 3", "Request 3: model = "] {
        assert!(output.out.contains(expected), "{}", output.out);
    }
    assert_eq!(output.out.matches("[FIRST — sets affinity]").count(), 2);
    assert_eq!(output.out.matches("[PINNED]").count(), 4);
    assert_eq!(output.out.matches("\nPASS demo-session-00").count(), 2);
    assert!(!output.out.contains("FAIL") && !output.out.contains("NOT PINNED"));
    assert!(output.out.ends_with("All sessions were pinned consistently.\n"));
}

#[tokio::test]
async fn verify_fails_a_server_that_does_not_pin() {
    // The provider alone answers every request, by one model even, but pins nothing.
    let provider = Gateway::command(&["provider", "--listen", "127.0.0.1:0"]).await;
    let output = run(&["verify", "--url", &provider.url()], &[]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(output.out.matches("\nFAIL demo-session-00").count(), 3, "{}", output.out);
    assert!(!output.out.contains("[PINNED]") && !output.out.contains("PASS"));
}

#[tokio::test]
async fn verify_fails_when_nobody_listens() {
    let nowhere = Refusing::new();
    let output = run(&["verify", "--url", &nowhere.url()], &[]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.starts_with("verify: "), "{}", output.err);
}

#[tokio::test]
async fn wrong_usage_is_told_with_exit_code_2() {
    for arguments in [
        &["sevre"][..],
        &["serve", "--unknown"],
        &["--listen", "127.0.0.1:0", "demo"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--upstream", "no url"],
        &["demo", "--turns", "0"],
        &["demo", "--turns", "x"],
        &["demo", "--ui", "--replicas", "2"],
        &["verify", "--sessions", "0"],
        &["provider", "--listen"],
        &["check"],
    ] {
        let output = run(arguments, &[]).await;
        assert_eq!(output.code, Some(2), "{arguments:?}: {output:?}");
        assert!(output.out.is_empty() && output.err.contains("error: "), "{output:?}");
    }
    for arguments in [["--help"], ["--version"]] {
        let output = run(&arguments, &[]).await;
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    }
}

#[tokio::test]
async fn the_log_format_may_stand_before_the_command() {
    let output = run(&["--log-format", "json", "check", &shipped("default.yaml")], &KEYS).await;
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[tokio::test]
async fn the_shipped_files_pass() {
    for (file, warnings) in [("default.yaml", 0), ("pinning-demo.yaml", 0), ("redis-demo.yaml", 1)]
    {
        let output = run(&["check", &shipped(file)], &KEYS).await;
        assert_eq!(output.code, Some(0), "{file}: {output:?}");
        assert_eq!(output.err.matches("warning: ").count(), warnings, "{file}: {}", output.err);
        assert!(output.out.contains("openai/gpt-4o-mini"), "{}", output.out);
        let all = output.out + &output.err;
        assert!(!all.contains("sk-test"), "a key is shown: {all}");
    }
}

#[tokio::test]
async fn a_missing_key_is_named_unless_an_upstream_takes_its_place() {
    let file = shipped("redis-demo.yaml");
    // Empty is not the same as missing, but no better; so the name is taken out of the file's way.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("config.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&copy, text.replace("$OPENAI_API_KEY", "$AFFINITY_TEST_UNSET")).unwrap();
    let copy = copy.to_str().unwrap();
    let output = run(&["check", copy], &[]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains("environment variable AFFINITY_TEST_UNSET is not set"));
    let output = run(&["check", "--upstream", "http://127.0.0.1:9", copy], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[tokio::test]
async fn a_typo_is_told_with_its_line_and_the_nearest_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("typo.yaml");
    let text = "version: v0.4.0\nmodel_providers:\n  - model: openai/gpt-4o\n    access_key: k\n    \
                defualt: true\nrouting:\n  session_ttl_second: 5\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    // `check` tells every error and that the file is bad; for `serve` it is wrong usage.
    for (arguments, code) in [(vec!["check", file], 1), (vec!["serve", "--config", file], 2)] {
        let output = run(&arguments, &[]).await;
        assert_eq!(output.code, Some(code), "{output:?}");
        let expected = [
            format!("{file}:5: model_providers[0].defualt: unknown key, did you mean default?"),
            format!(
                "{file}:7: routing.session_ttl_second: unknown key, did you mean session_ttl_seconds?"
            ),
        ];
        let lines = output.err.lines().filter(|line| line.contains(file)).collect::<Vec<_>>();
        assert_eq!(lines, expected, "{}", output.err);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let missing = format!("{folder}/missing.yaml");
    for file in [&*missing, folder] {
        for (arguments, code) in [(vec!["check", file], 1), (vec!["serve", "--config", file], 2)] {
            let output = run(&arguments, &[]).await;
            assert_eq!(output.code, Some(code), "{output:?}");
            assert!(output.err.contains(file) && !output.err.contains("panicked"), "{output:?}");
        }
    }
}
