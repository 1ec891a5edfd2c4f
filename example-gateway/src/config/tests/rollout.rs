//! Who is pinned, and when a pin gives way.

use affinity_layer::mode::{Cohort, Mode, Rollout, Share};
use affinity_layer::{RouteName, Scope};

use super::super::{Policy, Routing};
use super::*;

const ROUTE: &str =
    "routing_preferences: [{name: code, description: d, models: [openai/gpt-4o]}]\n";

fn routing(text: &str) -> Routing {
    with_model(&format!("{ROUTE}routing: {{{text}}}\n")).routing
}

#[test]
fn all_sessions_are_pinned_unless_the_file_says_otherwise() {
    assert_eq!(routing("release: ttl").mode, Rollout::default());
    for (word, mode) in [("enforce", Mode::Enforce), ("observe", Mode::Observe), ("off", Mode::Off)]
    {
        assert_eq!(routing(&format!("mode: {word}")).mode, Rollout::new(mode), "{word}");
    }
}

#[test]
fn a_share_tenants_and_routes_have_a_mode_of_their_own() {
    let text = "session_cache: {tenant_header: x-tenant}, \
                mode: {default: observe, enforce: {share: 12.5%, tenants: [acme], routes: [code]}}";
    let cohort = Cohort::default()
        .share("12.5%".parse().unwrap())
        .scopes([Scope::new("acme").unwrap()])
        .routes([RouteName::new("code").unwrap()]);
    assert_eq!(routing(text).mode, Rollout::new(Mode::Observe).except(Mode::Enforce, cohort));
    let off = routing("mode: {default: enforce, off: {share: 1%}}").mode;
    let cohort = Cohort::default().share(Share::percent(1));
    assert_eq!(off, Rollout::new(Mode::Enforce).except(Mode::Off, cohort));
    let config = with_model(&format!("{ROUTE}routing: {{{text}}}\n"));
    let shown = summary(&config).to_string();
    let line = "mode      observe, but enforce for 12.5% of sessions, 1 tenants and 1 routes\n";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn a_policy_is_strict_or_weighs_costs_within_a_cap() {
    assert_eq!(routing("failover: true").policy, Policy::Strict);
    let cost = |percent| Policy::Cost { max_switch_share: Share::percent(percent) };
    for (text, policy) in [
        ("strict", Policy::Strict),
        ("cost", cost(10)),
        ("{cost: {}}", cost(10)),
        ("{cost: {max_switch_share: 25%}}", cost(25)),
        ("{cost: {max_switch_share: 0%}}", cost(0)),
    ] {
        assert_eq!(routing(&format!("policy: {text}")).policy, policy, "{text}");
    }
}

#[test]
fn what_cannot_be_meant_of_modes_and_policies_is_refused_or_warns() {
    refused(&[
        ("routing: {mode: watch}", "2: routing.mode: must be one of: enforce, observe, off"),
        ("routing: {mode: {enforce: {share: 1%}}}", "2: routing.mode: default is missing"),
        (
            "routing: {mode: {default: observe, enforce: {share: 10}}}",
            "2: routing.mode.enforce.share: must be text",
        ),
        (
            "routing: {mode: {default: observe, enforce: {share: 110%}}}",
            "2: routing.mode.enforce.share: must be a percentage such as 10%, from 0% to 100%",
        ),
        (
            "routing: {mode: {default: observe, enforce: {routes: [nope]}}}",
            "2: routing.mode.enforce.routes[0]: no routing preference has this name",
        ),
        ("routing: {policy: dear}", "2: routing.policy: must be one of: strict, cost"),
        ("routing: {policy: {}}", "2: routing.policy: cost is missing"),
        (
            "routing: {policy: cost, release: user_turn}",
            "2: routing.release: moves a session whatever it costs, so it cannot stand beside \
             policy: cost",
        ),
    ]);
    let warned = |text: &str| {
        let config = with_model(&format!("routing: {{{text}}}\n"));
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    for (text, why) in [
        ("mode: {default: off, enforce: {share: 1%}, observe: {share: 9%}}", "beside enforce"),
        ("mode: {default: observe, observe: {share: 9%}}", "with default: observe"),
        ("mode: {default: off, enforce: {tenants: [a]}}", "names a tenant"),
        ("policy: cost, warm_up_turns: 2", "with policy: cost"),
    ] {
        assert!(warned(text).contains(why), "{text}: {}", warned(text));
    }
}
