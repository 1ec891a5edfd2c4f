"""The OpenAI SDK: chat completions and responses, plain, streamed, and as a loop of tool calls."""

import openai
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

client = openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0)

WORD = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}


def chat(session: dict[str, str]) -> list[Turn]:
    turns, messages = [], []
    for prompt in PROMPTS:
        messages.append({"role": "user", "content": prompt})
        raw = client.chat.completions.with_raw_response.create(
            model="auto", messages=messages, extra_headers=session
        )
        answer = raw.parse()
        messages.append(answer.choices[0].message)
        expect("finish_reason", answer.choices[0].finish_reason, "stop")
        turns.append(Turn.of(raw.headers, answer.model))
    return turns


def chat_streamed(session: dict[str, str]) -> list[Turn]:
    turns, messages = [], []
    for prompt in PROMPTS:
        messages.append({"role": "user", "content": prompt})
        raw = client.chat.completions.with_raw_response.create(
            model="auto", messages=messages, extra_headers=session, stream=True
        )
        chunks = list(raw.parse())
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        messages.append({"role": "assistant", "content": text})
        expect("finish_reason", chunks[-1].choices[0].finish_reason, "stop")
        turns.append(Turn.of(raw.headers, chunks[0].model))
    return turns


def chat_tools(session: dict[str, str]) -> list[Turn]:
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": WORD}}]
    turns, messages = [], [{"role": "user", "content": PROMPTS[0]}]
    while len(turns) < MAX_TURNS:
        raw = client.chat.completions.with_raw_response.create(
            model="auto", messages=messages, tools=tools, extra_headers=session
        )
        answer = raw.parse()
        turns.append(Turn.of(raw.headers, answer.model))
        message = answer.choices[0].message
        if not message.tool_calls:
            return turns
        messages.append(message)
        for call in message.tool_calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "found"})
    fail("the loop of tool calls did not end")


def responses(session: dict[str, str]) -> list[Turn]:
    turns, items = [], []
    for prompt in PROMPTS:
        items.append({"role": "user", "content": prompt})
        raw = client.responses.with_raw_response.create(
            model="auto", input=items, extra_headers=session
        )
        answer = raw.parse()
        items += answer.output
        expect("status", answer.status, "completed")
        turns.append(Turn.of(raw.headers, answer.model))
    return turns


def responses_streamed(session: dict[str, str]) -> list[Turn]:
    turns, items = [], []
    for prompt in PROMPTS:
        items.append({"role": "user", "content": prompt})
        raw = client.responses.with_raw_response.create(
            model="auto", input=items, extra_headers=session, stream=True
        )
        events = list(raw.parse())
        expect("the last event", events[-1].type, "response.completed")
        items += events[-1].response.output
        turns.append(Turn.of(raw.headers, events[-1].response.model))
    return turns


def responses_tools(session: dict[str, str]) -> list[Turn]:
    tools = [{"type": "function", "name": "look_up", "parameters": WORD, "strict": False}]
    turns, items = [], [{"role": "user", "content": PROMPTS[0]}]
    while len(turns) < MAX_TURNS:
        raw = client.responses.with_raw_response.create(
            model="auto", input=items, tools=tools, extra_headers=session
        )
        answer = raw.parse()
        turns.append(Turn.of(raw.headers, answer.model))
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return turns
        items += answer.output
        for call in calls:
            result = {"type": "function_call_output", "call_id": call.call_id, "output": "found"}
            items.append(result)
    fail("the loop of tool calls did not end")


def errors() -> None:
    def ask(model: str, session: dict[str, str]) -> object:
        messages = [{"role": "user", "content": "hello"}]
        return client.chat.completions.create(model=model, messages=messages, extra_headers=session)

    bad = {"x-model-affinity": "two,ids"}
    refusal = refuses("a bad session id", openai.BadRequestError, lambda: ask("auto", bad))
    expect("the code of a bad session id", refusal.code, "invalid_session_id")
    refusal = refuses("an unknown model", openai.NotFoundError, lambda: ask("no-such-model", {}))
    expect("the code of an unknown model", (refusal.code, refusal.param), ("model_not_found", "model"))
    passed("OpenAI Python, errors: BadRequestError invalid_session_id, NotFoundError model_not_found")


def listed() -> None:
    models = [model.id for model in client.models.list()]
    expect("the models and auto", models, [*MODELS, "auto"])
    passed(f"OpenAI Python, models: {len(models)}")


if __name__ == "__main__":
    holds_one_model("OpenAI Python, chat", chat)
    holds_one_model("OpenAI Python, chat streamed", chat_streamed)
    holds_one_model("OpenAI Python, chat tool loop", chat_tools)
    holds_one_model("OpenAI Python, responses", responses)
    holds_one_model("OpenAI Python, responses streamed", responses_streamed)
    holds_one_model("OpenAI Python, responses tool loop", responses_tools)
    errors()
    listed()
