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
    let worth = with.lines().last().unwrap();
    let told = worth.strip_prefix("What pinning was worth here: ").expect(worth);
    let costs = told.split(' ').filter_map(|word| word.strip_prefix('$')?.parse::<f64>().ok());
    let [with, without] = costs.collect::<Vec<_>>()[..] else { panic!("{worth}") };
    assert!(0.0 < with && with < without, "{worth}");
    let shares = told.split(' ').filter_map(|word| word.parse::<u8>().ok());
    let [less, with, without] = shares.collect::<Vec<_>>()[..] else { panic!("{worth}") };
    assert!(0 < less && 0 < without && without < with && with < 100, "{worth}");
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
    // The routes of the older demos have models of one vendor each, so none speaks all protocols.
    for (file, default, warnings) in [
        ("default.yaml", "openai/gpt-6.1-terra", 0),
        ("pinning-demo.yaml", "openai/gpt-4o-mini", 2),
        ("redis-demo.yaml", "openai/gpt-4o-mini", 3),
    ] {
        let output = run(&["check", &shipped(file)], &KEYS).await;
        assert_eq!(output.code, Some(0), "{file}: {output:?}");
        assert_eq!(output.err.matches("warning: ").count(), warnings, "{file}: {}", output.err);
        assert!(output.out.contains(default), "{}", output.out);
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
async fn the_file_may_be_named_as_an_argument_an_option_or_by_the_environment() {
    let file = shipped("default.yaml");
    for (arguments, variable) in [
        (&["check", &file][..], "/no/such/file"),
        (&["check", "--config", &file], "/no/such/file"),
        (&["check"], &file),
    ] {
        let variables = [KEYS[0], KEYS[1], ("AFFINITY_CONFIG", variable)];
        let output = run(arguments, &variables).await;
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    }
    let output = run(&["serve"], &[("AFFINITY_CONFIG", "/no/such/file")]).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.err.contains("/no/such/file: cannot be read"), "{output:?}");
    // Other commands have no use for it.
    let output = run(&["completions", "bash"], &[("AFFINITY_CONFIG", "/no/such/file")]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.contains("-o default example-gateway"), "{}", output.out);
}

#[tokio::test]
async fn check_finds_what_serve_would() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let pem = folder.path().join("not-a.pem");
    std::fs::write(&pem, "no certificate").unwrap();
    let model = "model_providers:\n  - {model: openai/gpt-4o, access_key: k}\n";
    let pem = pem.display();
    for (rest, expected) in [
        // TEST-NET-1: no machine has an address of it.
        (
            "listeners: [{name: l, address: 192.0.2.1, client_keys: [{name: a, key: k}]}]"
                .to_owned(),
            "listener l: cannot listen on 192.0.2.1:12000",
        ),
        (
            format!(
                "routing: {{session_cache: {{type: redis, url: 'rediss://h', ca_file: '{pem}'}}}}"
            ),
            "routing.session_cache: ",
        ),
        ("version: v7".to_owned(), "version: must be one of"),
    ] {
        std::fs::write(&file, format!("{model}{rest}\n")).unwrap();
        let file = file.to_str().unwrap();
        let output = run(&["check", file], &[]).await;
        assert_eq!(output.code, Some(1), "{rest}: {output:?}");
        assert!(output.err.contains(file) && output.err.contains(expected), "{output:?}");
        let output = run(&["serve", "--config", file], &[]).await;
        assert!(matches!(output.code, Some(1 | 2)), "{rest}: {output:?}");
    }
    std::fs::write(&file, "model_providers:\n  - {model: openai/gpt-4o}\n").unwrap();
    let output = run(&["check", file.to_str().unwrap()], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.err.contains("model_providers[0]: openai/gpt-4o has neither access_key"),
        "{output:?}"
    );
    assert!(output.out.contains("https://api.openai.com/v1, without a key"), "{output:?}");
}

#[tokio::test]
async fn localhost_is_an_address_to_listen_on() {
    let gateway = Gateway::command(&["serve", "--listen", "localhost:0"]).await;
    let output = run(&["verify", "--url", &gateway.url(), "--sessions", "1"], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[tokio::test]
async fn verify_shows_a_key_and_asks_for_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let provider = Gateway::command(&["provider", "--listen", "127.0.0.1:0"]).await;
    let text = format!(
        "listeners: [{{name: l, client_keys: [{{name: a, key: team-secret}}]}}]
model_providers: [{{model: mine/one, base_url: '{}'}}]\n",
        provider.url()
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let gateway = Gateway::command(&["serve", "--listen", "127.0.0.1:0", "--config", file]).await;
    let url = gateway.url();
    let ask = ["verify", "--url", &url, "--sessions", "1", "--rounds", "2", "--model", "mine/one"];
    let refused = run(&ask, &[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let expected = "Requests       : 5 short questions to mine/one";
    assert!(refused.out.contains(expected), "{refused:?}");
    // Twice: no session of the first run is met again.
    for _ in 0..2 {
        let output = run(&ask, &[("AFFINITY_CLIENT_KEY", "team-secret")]).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.out.contains("[FIRST — sets affinity]"), "{output:?}");
        assert!(!output.out.contains("team-secret"), "{output:?}");
    }
    let mut keyed = ask.to_vec();
    keyed.extend(["--key", "team-secret"]);
    assert_eq!(run(&keyed, &[]).await.code, Some(0));
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
