//! A conversation that names no session is known by what was said in it.

use std::time::Duration;

use http_body_util::BodyExt;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::Calls;
use crate::talk::*;

const ID: &str = "call_wL5fRZYBmYVxGWx0aBv3mJ4d";
const OTHER_ID: &str = "call_9aZ8yX7wV6uT5sR4qP3oN2mL";

/// Every protocol, plain and streamed.
fn forms(opening: &str) -> impl Iterator<Item = Talk> + use<> {
    let opening = opening.to_owned();
    APIS.into_iter().flat_map(move |api| {
        let talk = Talk::new(api, &opening);
        [false, true].map(|stream| Talk { stream, ..talk.clone() })
    })
}

#[tokio::test]
async fn a_conversation_that_goes_on_from_an_answer_stays_in_its_session() {
    let long = "This is a long answer, \"quoted\" and \\escaped: ü 漢字 🙂\n".repeat(20);
    for talk in forms("hello") {
        let talks = Talks::start();
        let mut session = None;
        let mut talk = talk;
        let answers = [text(&long), calls(&[ID]), text("short"), calls(&["call_0"]), text("Done.")];
        for answer in answers {
            let of = talks.send(&talk, &answer).await;
            assert_eq!(session.get_or_insert_with(|| of.clone()), &of, "{talk:?}");
            talk = talk.answered(&answer, "and now?");
        }
        assert_eq!(talks.calls.count(), 1);
        // The pin, and the links of the last answer alone.
        assert!(talks.store.len() <= 6, "{}", talks.store.len());
    }
}

/// Whatever only one piece of evidence can show.
#[tokio::test]
async fn each_kind_of_evidence_finds_the_session_by_itself() {
    for talk in forms("hello") {
        let talks = Talks::start();
        let first = talks.send(&talk, &calls(&[ID])).await;
        // All but the call was rewritten, and it became shorter.
        let mut rewritten = Talk::new(talk.api, "a summary").answered(&calls(&[ID]), "result");
        rewritten.instructions = "other instructions".to_owned();
        assert_eq!(talks.send(&rewritten, &text("noted")).await, first, "by a call: {talk:?}");

        let talks = Talks::start();
        let moved = |talk: &Talk| talk.clone().then(asked("files")).then(asked("one more"));
        let answer = text("the answer of the model");
        let first = talks.send(&talk.clone().then(asked("files")), &answer).await;
        // As aider does it, whose files come after what is done.
        let later = moved(&talk.clone().answered(&answer, "next"));
        assert_eq!(talks.send(&later, &text("yes")).await, first, "by the text: {talk:?}");

        let talks = Talks::start();
        let first = talks.send(&talk, &text("what the model said")).await;
        let changed = talk.clone().answered(&text("what the client made of it"), "next");
        let changed = Talk { tools: false, instructions: "finish".to_owned(), ..changed };
        assert_eq!(talks.send(&changed, &text("yes")).await, first, "by the messages: {talk:?}");
    }
}

#[tokio::test]
async fn strangers_with_one_opening_stay_apart() {
    for talk in forms("hello") {
        let talks = Talks::start();
        let one = talks.send(&talk, &text("an answer")).await;
        let two = talks.send(&talk, &text("another answer")).await;
        assert_ne!(one, two);
        let of_one = talk.clone().answered(&text("an answer"), "more");
        let of_two = talk.clone().answered(&text("another answer"), "more");
        assert_eq!(talks.send(&of_two, &calls(&[ID])).await, two);
        assert_eq!(talks.send(&of_one, &calls(&[OTHER_ID])).await, one);
        assert_eq!(talks.send(&of_one.answered(&calls(&[OTHER_ID]), "r"), &text("x")).await, one);
        assert_eq!(talks.send(&of_two.answered(&calls(&[ID]), "r"), &text("x")).await, two);
        assert_eq!(talks.calls.count(), 2);
    }
}

/// aider: the first messages are a fixed example, the same in every session.
#[tokio::test]
async fn eight_loops_at_once_with_one_example_are_eight_sessions() {
    let calls = Calls::default();
    let talks = Talks::with(calls.slow_router(Duration::from_millis(5)), calls);
    let example = Talk::new(Api::Chat, "Change get_factorial() to use math.factorial")
        .answered(&text("*SEARCH/REPLACE block*"), "I switched to a new code base.")
        .then(Turn::Answered(text("Ok.")));
    let loops = (0..8).map(|n| {
        let (talks, example) = (talks.clone(), example.clone());
        tokio::spawn(async move {
            // Some have added files, so their first request is longer.
            let with_files = (0..n % 3).fold(example, |talk, n| {
                talk.then(asked(&format!("file {n}"))).then(Turn::Answered(text("Ok.")))
            });
            let mut talk = with_files.then(asked(&format!("task {n}")));
            let mut sessions = Vec::new();
            for turn in 0..4 {
                let answer = text(&format!("edit {turn} of {n}"));
                sessions.push(talks.send(&talk, &answer).await);
                talk = talk.answered(&answer, "go on");
            }
            sessions.dedup();
            assert_eq!(sessions.len(), 1);
            sessions.remove(0)
        })
    });
    let mut sessions = Vec::new();
    for session in loops.collect::<Vec<_>>() {
        sessions.push(session.await.unwrap());
    }
    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len(), 8);
}

/// goose moves a block with a clock from message to message.
#[tokio::test]
async fn a_block_that_moves_makes_no_new_session() {
    for api in APIS {
        let talks = Talks::start();
        let info = |text: &str, turn| format!("<info-msg>It is 12:0{turn}\n</info-msg>\n{text}");
        let mut said = vec![("hello".to_owned(), calls(&["call_0"]))];
        let mut sessions = Vec::new();
        for turn in 0..5 {
            // Only the latest message has it.
            let last = said.len() - 1;
            let opening = if last == 0 { info(&said[0].0, turn) } else { said[0].0.clone() };
            let mut talk = Talk::new(api, &opening);
            for n in 1..said.len() {
                let next = if n == last { info(&said[n].0, turn) } else { said[n].0.clone() };
                talk.turns.push(Turn::Answered(said[n - 1].1.clone()));
                talk = talk.then(asked(&next));
            }
            sessions.push(talks.send(&talk, &said[last].1.clone()).await);
            said.push((format!("and {turn}?"), calls(&["call_0"])));
        }
        sessions.dedup();
        assert_eq!(sessions.len(), 1, "{api:?}");
    }
}

/// smolagents: other instructions, no tools, answers that were made into other text.
#[tokio::test]
async fn the_last_call_without_tools_belongs_to_the_loop() {
    for api in APIS {
        let talks = Talks::start();
        let mut talk = Talk::new(api, "task");
        let first = talks.send(&talk, &text("Thought: look")).await;
        for step in 1..3 {
            let written = text(&format!("Thought: look {step}</code>"));
            talk = talk.answered(&written, "Observation: nothing");
            assert_eq!(talks.send(&talk, &text("Thought")).await, first);
        }
        let mut last = talk.answered(&text("Thought</code>"), "provide an answer");
        (last.tools, last.instructions) = (false, "an agent got stuck".to_owned());
        assert_eq!(talks.send(&last, &text("42")).await, first, "{api:?}");
    }
}

#[tokio::test]
async fn what_is_sent_again_after_a_lost_answer_stays_in_its_session() {
    for talk in forms("hello") {
        for fate in [Fate::Breaks, Fate::Fails] {
            let talks = Talks::start();
            let lost = talks.meet(&talk, fate.clone(), None).await;
            assert_eq!(talks.send(&talk, &text("an answer")).await, lost, "{fate:?} {talk:?}");
            let stranger = talks.send(&talk, &text("an answer to a stranger")).await;
            assert_ne!(stranger, lost, "the first has its answer");

            let next = talk.clone().answered(&text("an answer"), "more");
            assert_eq!(talks.meet(&next, fate.clone(), None).await, lost);
            // Edited after it was interrupted.
            let edited = talk.clone().answered(&text("an answer"), "something else");
            assert_eq!(talks.send(&edited, &text("yes")).await, lost);
            // Its answer has arrived here, and the client has not got it.
            assert_eq!(talks.send(&edited, &text("yes")).await, lost);
        }
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_to_its_end_was_lost() {
    for talk in forms("hello").filter(|talk| talk.stream) {
        let talks = Talks::start();
        let fate = || Fate::Answers(text("a long answer"));
        let response = talks.begin(&talk, fate(), None).await;
        let session = response.headers()["session"].to_str().unwrap().to_owned();
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
        tokio::task::yield_now().await;
        assert_eq!(talks.send(&talk, &text("a long answer")).await, session, "{talk:?}");
    }
}

#[tokio::test]
async fn an_identical_first_request_joins_while_the_first_runs() {
    let talks = Talks::start();
    let talk = Talk::new(Api::Chat, "hello");
    let first = talks.begin(&talk, Fate::Answers(text("one")), None).await;
    let second = talks.begin(&talk, Fate::Answers(text("two")), None).await;
    assert_eq!(first.headers()["session"], second.headers()["session"]);
    assert_eq!(talks.calls.count(), 1);
    let session = first.headers()["session"].to_str().unwrap().to_owned();
    for response in [first, second] {
        response.into_body().collect().await.unwrap();
    }
    assert_ne!(talks.send(&talk, &text("three")).await, session);
    // The instructions are part of what is identical: a title is asked for beside the task.
    let task = talks.begin(&talk, Fate::Answers(text("four")), None).await;
    let title = Talk { instructions: "a title".to_owned(), ..talk };
    assert_ne!(talks.send(&title, &text("five")).await, task.headers()["session"]);
}

#[tokio::test]
async fn a_request_that_parts_from_one_that_runs_has_a_session_of_its_own() {
    let talks = Talks::start();
    let talk = Talk::new(Api::Messages, "hello");
    let session = talks.send(&talk, &calls(&[ID])).await;
    let one = talk.clone().answered(&calls(&[ID]), "one result");
    let other = talk.answered(&calls(&[ID]), "another result");
    let running = talks.begin(&one, Fate::Answers(calls(&[OTHER_ID])), None).await;
    assert_eq!(running.headers()["session"], *session);
    let parted = talks.send(&other, &text("b")).await;
    assert_ne!(parted, session);
    // More that was typed before the answer came does not part.
    let more = one.clone().then(asked("and hurry"));
    assert_eq!(talks.send(&more, &text("c")).await, session);
    running.into_body().collect().await.unwrap();
    assert_eq!(talks.send(&other.answered(&text("b"), "next"), &text("d")).await, parted);
    let next = one.answered(&calls(&[OTHER_ID]), "r");
    assert_eq!(talks.send(&next, &text("e")).await, session);
}

#[tokio::test]
async fn an_id_that_was_not_drawn_is_no_evidence() {
    for id in ["call_0", "functions.look:0", "look_1"] {
        let talks = Talks::start();
        let one = talks.send(&Talk::new(Api::Chat, "one"), &calls(&[id])).await;
        let two = talks.send(&Talk::new(Api::Chat, "two"), &calls(&[id])).await;
        let next = |opening: &str| Talk::new(Api::Chat, opening).answered(&calls(&[id]), "r");
        assert_eq!(talks.send(&next("one"), &text("x")).await, one);
        assert_eq!(talks.send(&next("two"), &text("x")).await, two);
        let third = talks.send(&next("three"), &text("x")).await;
        assert!(third != one && third != two);
    }
}

#[tokio::test]
async fn tenants_do_not_hear_each_other() {
    let talks = Talks::start();
    let talk = Talk::new(Api::Chat, "hello");
    let next = talk.clone().answered(&calls(&[ID]), "result");
    let answer = || Fate::Answers(calls(&[ID]));
    let acme = talks.meet(&talk, answer(), Some("acme")).await;
    assert_ne!(talks.meet(&next, answer(), Some("other")).await, acme);
    assert_eq!(talks.meet(&next, answer(), Some("acme")).await, acme);
}

/// How two conversations part.
#[derive(Clone, Copy, Debug)]
enum Parting {
    /// The user, or a tool, says something else.
    Edited,
    /// The model is asked again and says something else.
    Regenerated,
}

/// Answers of every kind; each is another, as those of a model are.
fn answer() -> impl Strategy<Value = Answer> {
    let id = "call_[a-z][0-9][a-z][0-9][A-Z][0-9][a-z]{8}[0-9]{4}";
    prop_oneof![
        "[a-z ]{1,300}\\. [0-9]{6}".prop_map(|said| text(&said)),
        vec(id, 1..4).prop_map(|calls| Answer { text: String::new(), calls }),
        ("[a-zé🙂\"\\\\]{0,9}", vec(id, 1..3)).prop_map(|(text, calls)| Answer { text, calls }),
    ]
}

/// The requests of one that goes on from `talk`: each answered, and what follows sent.
async fn go_on(talks: &Talks, talk: &mut Talk, said: &Answer, n: usize) -> String {
    let session = talks.send(talk, said).await;
    *talk = talk.clone().answered(said, &format!("turn {n}"));
    session
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// One session before they part and two from there on, wherever and however they part, and in
    /// whatever order they go on.
    #[test]
    fn conversations_that_part_are_two_from_where_they_part(
        form in 0..6_usize,
        before in vec(answer(), 0..5),
        parting in prop_oneof![Just(Parting::Edited), Just(Parting::Regenerated)],
        at in (answer(), answer()),
        after in vec((any::<bool>(), answer()), 1..9),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let talks = Talks::start();
            let mut common = forms("hello").nth(form).unwrap();
            let mut shared = None;
            for (n, said) in before.iter().enumerate() {
                let session = go_on(&talks, &mut common, said, n).await;
                assert_eq!(*shared.get_or_insert_with(|| session.clone()), session);
            }
            let is_first = before.is_empty();
            let mut sides = [common.clone(), common.clone()];
            let mut sessions: [Option<String>; 2] = [None, None];
            match parting {
                Parting::Regenerated => {
                    let (one, other) = (talks.send(&common, &at.0).await, talks.send(&common, &at.1).await);
                    // Whoever sends a first request that was answered is a stranger.
                    assert_eq!(one == other, !is_first, "{one} {other}");
                    sides = [(0, &at.0), (1, &at.1)].map(|(n, said)| {
                        sides[n].clone().answered(said, "go on")
                    });
                    shared = Some(one).filter(|_| !is_first);
                }
                Parting::Edited => {
                    for (n, side) in sides.iter_mut().enumerate() {
                        let said = if n == 0 { &at.0 } else { &at.1 };
                        let last = side.turns.last_mut().unwrap();
                        match last {
                            Turn::Asked(text) => *text = format!("{text} {n}"),
                            Turn::Results(results) => results[0].1 = format!("result {n}"),
                            Turn::Answered(_) => unreachable!(),
                        }
                        sessions[n] = Some(go_on(&talks, side, said, 0).await);
                    }
                    assert_ne!(sessions[0], sessions[1]);
                    if !is_first {
                        assert_eq!(sessions[0], shared, "the first goes on in the session");
                    }
                }
            }
            for (n, (which, said)) in after.iter().enumerate() {
                let which = usize::from(*which);
                let session = go_on(&talks, &mut sides[which], said, n + 1).await;
                let known = sessions[which].get_or_insert_with(|| session.clone());
                assert_eq!(*known, session, "side {which}, turn {n}");
            }
            if let [Some(one), Some(other)] = &sessions {
                assert_ne!(one, other);
                let first = shared.as_ref().is_none_or(|shared| [one, other].contains(&shared));
                assert!(first, "one of them keeps the session");
            }
            // Links do not grow with the conversation.
            assert!(talks.store.len() <= 24, "{}", talks.store.len());
        });
    }
}
