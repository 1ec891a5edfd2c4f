"""The OpenAI Agents SDK: an agent with tools, on each of the two models that the SDK has."""

import asyncio

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from checks import GATEWAY, KEY, MAX_TURNS, PROMPTS, Recorder, Turn, holds_one_model

# Traces go to their maker's server.
set_tracing_disabled(True)


@function_tool
def look_up(word: str) -> str:
    """Looks up a word."""
    return f"{word} is found"


async def converse(kind: type, streamed: bool, session: dict[str, str]) -> list[Turn]:
    recorder = Recorder()
    http = DefaultAsyncHttpxClient(event_hooks={"response": [recorder.see_async]})
    async with AsyncOpenAI(
        base_url=f"{GATEWAY}/v1",
        api_key=KEY,
        default_headers=session,
        http_client=http,
        max_retries=0,
    ) as client:
        model = kind(model="auto", openai_client=client)
        agent = Agent(name="clerk", instructions="Look words up.", tools=[look_up], model=model)
        items = []
        for prompt in PROMPTS[:2]:
            items.append({"role": "user", "content": prompt})
            if streamed:
                result = Runner.run_streamed(agent, items, max_turns=MAX_TURNS)
                async for _ in result.stream_events():
                    pass
            else:
                result = await Runner.run(agent, items, max_turns=MAX_TURNS)
            items = result.to_input_list()
    return recorder.turns


def loop(kind: type, streamed: bool):
    return lambda session: asyncio.run(converse(kind, streamed, session))


holds_one_model("OpenAI Agents SDK, chat", loop(OpenAIChatCompletionsModel, False))
holds_one_model("OpenAI Agents SDK, chat streamed", loop(OpenAIChatCompletionsModel, True))
holds_one_model("OpenAI Agents SDK, responses", loop(OpenAIResponsesModel, False))
holds_one_model("OpenAI Agents SDK, responses streamed", loop(OpenAIResponsesModel, True))
