"""An agent that chooses a database for a shop, in a loop of tool calls over chat completions."""

import json

import openai
from checks import GATEWAY, KEY, MAX_TURNS, Turn, expect, fail, holds_one_model

client = openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0)

TASK = "PostgreSQL or MongoDB for an e-commerce platform? Look at data, then recommend one."


def get_db_benchmarks(database: str, **_) -> dict:
    rates = {"postgresql": 11_000, "mongodb": 14_000}
    return {"database": database, "checkouts_per_second": rates[database]}


def get_case_studies(database: str, **_) -> dict:
    studies = {"postgresql": "a shop's orders and payments", "mongodb": "a shop's catalogue"}
    return {"database": database, "study": studies[database]}


def check_feature_support(database: str, feature: str, **_) -> dict:
    return {"database": database, "feature": feature, "supported": database == "postgresql"}


TOOLS = {tool.__name__: tool for tool in (get_db_benchmarks, get_case_studies, check_feature_support)}


def offer(name: str) -> dict:
    properties = {"database": {"type": "string", "enum": ["postgresql", "mongodb"]}}
    if name == "check_feature_support":
        properties["feature"] = {"type": "string"}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def investigate(session: dict[str, str]) -> list[Turn]:
    turns, used, messages = [], set(), [{"role": "user", "content": TASK}]
    while len(turns) < MAX_TURNS:
        raw = client.chat.completions.with_raw_response.create(
            model="gpt-4o-mini",
            messages=messages,
            tools=[offer(name) for name in TOOLS],
            extra_headers=session,
        )
        answer = raw.parse()
        turns.append(Turn.of(raw.headers, answer.model))
        message = answer.choices[0].message
        if not message.tool_calls:
            expect("the tools that were used", used, set(TOOLS))
            return turns
        messages.append(message)
        for call in message.tool_calls:
            used.add(call.function.name)
            result = TOOLS[call.function.name](**json.loads(call.function.arguments))
            text = json.dumps(result)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": text})
    fail(f"the agent has no answer after {MAX_TURNS} turns")


holds_one_model("Database agent", investigate)
