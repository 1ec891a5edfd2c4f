//! The short form: every fault once, a few thousand sessions.

use std::time::Duration;

use affinity_tests::gateway;
use affinity_tests::integrity::{Fault, Plan, run, table};

/// Each run ends once its first fault is over; this only bounds one that hangs.
const LIMIT: Duration = Duration::from_secs(60);

fn plan(fault: Fault, replicated: bool) -> Plan {
    Plan {
        gateway: gateway(),
        replicas: 3,
        sessions: 200,
        fault,
        replicated,
        seed: 1,
        limit: LIMIT,
    }
}

/// One after the other, since each keeps the machine busy.
#[tokio::test(flavor = "multi_thread")]
async fn no_history_breaks_a_rule_whatever_fails() {
    let mut reports = Vec::new();
    for fault in Fault::ALL {
        let plan = plan(fault, false);
        let report = run(&plan).await;
        assert!(report.sessions() >= 200, "{fault:?}");
        assert_eq!(report.splits(), 0, "{fault:?}\n{}", report.traces().join("\n"));
        assert_eq!(report.violations(), 0, "{fault:?}\n{}", report.traces().join("\n"));
        if fault != Fault::Gateway {
            assert_eq!(report.errors(), 0, "{fault:?}: a request failed");
        }
        reports.push(report);
    }
    assert_eq!(table(&reports).lines().count(), 2 + Fault::ALL.len() + 2);
}

/// Two primaries at once; nobody may have been told what one of them loses.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_makes_no_second_pin_where_pins_are_replicated() {
    let report = run(&plan(Fault::Partition, true)).await;
    assert!(report.sessions() >= 200);
    assert_eq!(report.splits(), 0, "{}", report.traces().join("\n"));
    assert_eq!(report.violations(), 0, "{}", report.traces().join("\n"));
    assert_eq!(report.errors(), 0, "a request failed");
}
