"""The Anthropic SDK: messages, plain, streamed, and as a loop of tool calls."""

import uuid

import anthropic
from checks import (
    GATEWAY,
    KEY,
    MAX_TURNS,
    MODELS,
    PROMPTS,
    Turn,
    expect,
    fail,
    holds_one_model,
    passed,
    refuses,
)

client = anthropic.Anthropic(base_url=GATEWAY, api_key=KEY, max_retries=0)

TOOLS = [
    {
        "name": "look_up",
        "description": "Looks up a word.",
        "input_schema": {
            "type": "object",
            "properties": {"word": {"type": "string"}},
            "required": ["word"],
        },
    }
]


def messages(session: dict[str, str]) -> list[Turn]:
    turns, history = [], []
    for prompt in PROMPTS:
        history.append({"role": "user", "content": prompt})
        raw = client.messages.with_raw_response.create(
            model="auto", max_tokens=100, messages=history, extra_headers=session
        )
        answer = raw.parse()
        history.append({"role": "assistant", "content": answer.content})
        expect("stop_reason", answer.stop_reason, "end_turn")
        turns.append(Turn.of(raw.headers, answer.model))
    return turns


def streamed(session: dict[str, str]) -> list[Turn]:
    turns, history = [], []
    for prompt in PROMPTS:
        history.append({"role": "user", "content": prompt})
        with client.messages.stream(
            model="auto", max_tokens=100, messages=history, extra_headers=session
        ) as stream:
            text = "".join(stream.text_stream)
            answer = stream.get_final_message()
            turns.append(Turn.of(stream.response.headers, answer.model))
        expect("the text of the stream", text, answer.content[0].text)
        history.append({"role": "assistant", "content": text})
    return turns


def tool_loop(session: dict[str, str]) -> list[Turn]:
    turns, history = [], [{"role": "user", "content": PROMPTS[0]}]
    while len(turns) < MAX_TURNS:
        with client.messages.stream(
            model="auto", max_tokens=100, messages=history, tools=TOOLS, extra_headers=session
        ) as stream:
            answer = stream.get_final_message()
            turns.append(Turn.of(stream.response.headers, answer.model))
        if answer.stop_reason != "tool_use":
            return turns
        history.append({"role": "assistant", "content": answer.content})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "found"}
            for block in answer.content
            if block.type == "tool_use"
        ]
        history.append({"role": "user", "content": results})
    fail("the loop of tool calls did not end")


def errors() -> None:
    def ask(model: str, session: dict[str, str]) -> object:
        history = [{"role": "user", "content": "hello"}]
        return client.messages.create(
            model=model, max_tokens=100, messages=history, extra_headers=session
        )

    bad = {"x-model-affinity": "two,ids"}
    refusal = refuses("a bad session id", anthropic.BadRequestError, lambda: ask("auto", bad))
    expect("the error's type", refusal.body["error"]["type"], "invalid_request_error")
    refusal = refuses("an unknown model", anthropic.NotFoundError, lambda: ask("no-such-model", {}))
    expect("the error's type", refusal.body["error"]["type"], "not_found_error")
    passed("Anthropic Python, errors: BadRequestError, NotFoundError")


def counts() -> None:
    history = [{"role": "user", "content": PROMPTS[0]}]
    session = {"x-model-affinity": str(uuid.uuid4())}

    def count() -> Turn:
        raw = client.messages.with_raw_response.count_tokens(
            model="auto", messages=history, extra_headers=session
        )
        if raw.parse().input_tokens < 1:
            fail("no tokens were counted")
        return Turn.of(raw.headers)

    expect("a count that comes first", count(), Turn(MODELS[0], False))
    raw = client.messages.with_raw_response.create(
        model="auto", max_tokens=100, messages=history, extra_headers=session
    )
    expect("a turn after a count", Turn.of(raw.headers).pinned, False)
    expect("a count after a turn", count(), Turn(Turn.of(raw.headers).model, True))
    passed("Anthropic Python, count_tokens: reads the pin and makes none")


def listed() -> None:
    models = [model.id for model in client.models.list()]
    expect("the models and auto", models, [*MODELS, "auto"])
    passed(f"Anthropic Python, models: {len(models)}")


if __name__ == "__main__":
    holds_one_model("Anthropic Python, messages", messages)
    holds_one_model("Anthropic Python, messages streamed", streamed)
    holds_one_model("Anthropic Python, tool loop", tool_loop)
    errors()
    counts()
    listed()
