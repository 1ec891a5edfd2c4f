//! What is no reason to move.

use super::*;

#[tokio::test]
async fn a_candidate_that_refuses_the_request_does_not_take_the_session() {
    for status in [400, 401, 403, 404, 413, 501, 505] {
        let models = Models::default();
        let service = stack(&models);
        ask(&service, Some("s")).await;
        models.fail("v/one", &[(429, None)]);
        models.always("v/two", status);
        let (served, body) = ask(&service, Some("s")).await;
        assert_eq!((served.model.as_str(), body.as_str()), ("v/three", "200 by v/three"));
        assert_eq!(ask(&service, Some("s")).await.0, said("v/three", true, "hit"));
    }
}

#[tokio::test]
async fn a_refusal_by_another_never_hides_a_failure_that_may_pass() {
    for status in [429, 500, 503, 529] {
        let models = Models::default();
        let service = stack(&models);
        ask(&service, Some("s")).await;
        models.fail("v/one", &[(status, None)]);
        models.always("v/two", 400);
        models.always("v/three", LOCKED);
        let (failed, body) = ask(&service, Some("s")).await;
        assert_eq!(failed, Said { status, ..said("v/one", false, "failed") });
        assert_eq!(body, format!("{status} by v/one"));
        let (next, body) = ask(&service, Some("s")).await;
        assert_eq!((next.affinity.as_str(), body.as_str()), ("hit", "200 by v/one"));
    }
}

#[tokio::test]
async fn a_failure_that_may_pass_is_told_before_one_that_lasts() {
    let models = Models::default();
    let service = stack(&models);
    models.always("v/one", LOCKED);
    models.always("v/two", 503);
    models.always("v/three", 429);
    let (failed, _) = ask(&service, Some("s")).await;
    assert_eq!(failed, Said { status: 503, ..said("v/two", false, "failed") });
}

#[tokio::test]
async fn failures_that_last_move_the_session_and_else_the_first_is_told() {
    let models = Models::default();
    let service = stack(&models);
    ask(&service, Some("s")).await;
    models.always("v/one", LOCKED);
    assert_eq!(ask(&service, Some("s")).await.0, said("v/two", false, "repinned"));
    models.always("v/two", LOCKED);
    models.always("v/three", 404);
    let (failed, body) = ask(&service, Some("s")).await;
    assert_eq!(failed, Said { status: 401, ..said("v/two", false, "failed") });
    assert_eq!(body, format!("{LOCKED} by v/two"));
}

#[tokio::test]
async fn a_request_of_no_session_that_nobody_served_names_who_failed() {
    let models = Models::default();
    for name in ["v/one", "v/two", "v/three"] {
        models.always(name, 500);
    }
    let (failed, _) = ask(&stack(&models), None).await;
    assert_eq!(failed, Said { status: 500, ..said("v/one", false, "none") });
}

#[tokio::test]
async fn a_model_that_did_not_come_to_answer_is_asked_again_before_the_next() {
    let models = Models::default();
    models.fail("v/one", &[(CLOSED, None)]);
    let service = stack(&models);
    let (first, body) = ask(&service, Some("s")).await;
    assert_eq!((first.affinity.as_str(), body.as_str()), ("claimed", "200 by v/one"));
    models.fail("v/one", &[(CLOSED, None), (CLOSED, None)]);
    let (moved, body) = ask(&service, Some("s")).await;
    assert_eq!((moved.affinity.as_str(), body.as_str()), ("repinned", "200 by v/two"));
}
