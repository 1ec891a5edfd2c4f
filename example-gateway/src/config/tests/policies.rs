//! What a session does before it holds, and which requests leave its model.

use super::*;

const THREE: &str = "model_providers: [{model: openai/gpt-4o}, {model: openai/gpt-4o-mini}, \
                     {model: groq/llama, input: [text]}]\n";

fn inputs(image: bool, audio: bool, file: bool) -> Inputs {
    let mut inputs = Inputs::default();
    (inputs.image, inputs.audio, inputs.file) = (image, audio, file);
    inputs
}

#[test]
fn a_model_takes_everything_unless_it_says_what() {
    for (input, expected) in [
        ("", Inputs::ALL),
        (", input: [text, image, audio, file]", Inputs::ALL),
        (", input: [text]", Inputs::default()),
        (", input: []", Inputs::default()),
        (", input: [image]", inputs(true, false, false)),
        (", input: [file, audio]", inputs(false, true, true)),
    ] {
        let config = read(&format!("model_providers: [{{model: groq/m{input}}}]\n")).unwrap();
        assert_eq!(config.providers[0].input, expected, "{input}");
    }
    refused(&[(
        "llm_providers: [{model: groq/a, input: [text, video]}]",
        "2: llm_providers[0].input[1]: must be one of: text, image, audio, file",
    )]);
}

#[test]
fn inputs_cover_what_they_name() {
    assert!(Inputs::default().cover(Inputs::default()));
    assert!(Inputs::ALL.cover(Inputs::ALL));
    for needed in
        [inputs(true, false, false), inputs(false, true, false), inputs(false, false, true)]
    {
        assert!(needed.cover(needed) && Inputs::ALL.cover(needed));
        assert!(!Inputs::default().cover(needed) && !needed.cover(Inputs::ALL));
    }
}

#[test]
fn warm_up_and_escalation_are_off_unless_asked_for() {
    let plain = with_model("").routing;
    assert_eq!((plain.warm_up_turns, plain.escalation.len()), (0, 0));
    let text = "routing: {warm_up_turns: 2, escalation: [llama, gpt-4o-mini, openai/gpt-4o]}\n";
    let config = read(&format!("{THREE}{text}")).unwrap();
    assert_eq!(config.routing.warm_up_turns, 2);
    let order: Vec<_> = config.routing.escalation.iter().map(ModelName::as_str).collect();
    assert_eq!(order, ["groq/llama", "openai/gpt-4o-mini", "openai/gpt-4o"]);
    let shown = summary(&config).to_string();
    for line in [
        "model     groq/llama: https://api.groq.com/openai/v1, without a key, speaks chat, responses, \
         takes text\n",
        "warm-up   2 turns\n",
        "escalate  groq/llama < openai/gpt-4o-mini < openai/gpt-4o\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_or_warns() {
    refused(&[
        (
            "routing: {warm_up_turns: 101}",
            "2: routing.warm_up_turns: must be a whole number of turns, 0 to 100",
        ),
        (
            "routing: {escalation: [openai/gpt-4o, gpt-4o]}",
            "2: routing.escalation[1]: this model is listed above",
        ),
        (
            "routing: {escalation: [gpt-4]}",
            "2: routing.escalation[0]: the model is not declared in model_providers",
        ),
    ]);
    let config = with_model("routing: {release: user_turn, warm_up_turns: 1}\n");
    assert_eq!(config.routing.warm_up_turns, 0);
    let expected = "routing.warm_up_turns: has no effect with release: user_turn, which decides \
                    every turn again";
    assert_eq!(warnings(&config), [expected]);
}

#[test]
fn the_sample_of_regret_is_a_share() {
    let text = "must be a number, 0 to 1";
    refused(&[
        ("routing: {regret_sample: 1.5}", &format!("2: routing.regret_sample: {text}")),
        ("routing: {regret_sample: -0.1}", &format!("2: routing.regret_sample: {text}")),
        ("routing: {regret_sample: often}", &format!("2: routing.regret_sample: {text}")),
    ]);
    let regret =
        |text| (with_model(text).routing.regret_sample, summary(&with_model(text)).to_string());
    let (share, shown) = regret("routing: {regret_sample: 0.25}\n");
    assert_eq!(share, 0.25);
    assert!(shown.contains("regret    0.25 of pinned turns are routed again\n"), "{shown}");
    let (share, shown) = regret("");
    assert!(share == 0.0 && !shown.contains("regret"), "{shown}");
}
