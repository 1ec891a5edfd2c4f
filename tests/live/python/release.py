"""Pins that end when the model says that it is done: one session, two tasks, and a model for each.

The gateway here has `release: final_answer`.
"""

import uuid
from collections.abc import Callable

from anthropic_sdk import tool_loop
from checks import Turn, fail, one_model, passed
from openai_sdk import chat_tools, responses_tools


def releases(name: str, task: Callable[[dict[str, str]], list[Turn]]) -> None:
    """The tool calls of a task hold its model; the next task is routed afresh."""
    session = {"x-model-affinity": str(uuid.uuid4())}
    first, second = task(session), task(session)
    one_model(name, first)
    one_model(name, second)
    if first[0].model == second[0].model:
        fail(f"{name}: the pin outlived the final answer: {first + second}")
    models = f"{first[0].model}, then {second[0].model}"
    passed(f"{name}, released by the final answer: {models}")


releases("OpenAI Python, chat tool loop", chat_tools)
releases("OpenAI Python, responses tool loop", responses_tools)
releases("Anthropic Python, tool loop streamed", tool_loop)
