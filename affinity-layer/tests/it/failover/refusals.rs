//! What is no reason to move.

use super::*;

#[tokio::test]
async fn a_candidate_that_refuses_the_request_does_not_take_the_session() {
    for status in [400, 401, 403, 404, 413, 501] {
        let models = Models::default();
        let service = stack(&models);
        ask(&service, Some("s")).await;
        models.fail("v/one", &[(429, None)]);
        models.always("v/two", status);
        let (refused, body) = ask(&service, Some("s")).await;
        assert_eq!((refused.status, body), (status, format!("{status} by v/two")));
        let (next, body) = ask(&service, Some("s")).await;
        assert_eq!((next.affinity.as_str(), body.as_str()), ("hit", "200 by v/one"));
    }
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
