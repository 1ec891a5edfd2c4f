"""What the live programs share: answers as the gateway describes them, and what must hold of them."""

import os
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

GATEWAY = os.environ["GATEWAY_URL"]

# Nobody asks for it; the SDKs want one.
KEY = "unused"

# Those of gateway.yaml, in its order.
MODELS = ["openai/gpt-4o-mini", "openai/gpt-4o", "anthropic/claude-sonnet-4-20250514"]

# A conversation that a router would send to different models.
PROMPTS = [
    "Write a function that sorts a list",
    "Compare the trade-offs of that with a heap",
    "Thank you",
]

# The longest loop of an agent.
MAX_TURNS = 10


@dataclass(frozen=True)
class Turn:
    """One answer: the model that gave it, and whether a pin chose that model."""

    model: str
    pinned: bool

    @classmethod
    def of(cls, headers: Mapping[str, str], answered: str | None = None) -> "Turn":
        """Out of an answer's headers; `answered` is the model that its body names."""
        model = headers["x-plano-model"]
        if answered is not None and model.rpartition("/")[2] != answered:
            fail(f"the headers name {model}, the body {answered}")
        return cls(model, headers["x-plano-pinned"] == "true")


class Recorder:
    """Keeps the turns of a client whose framework does not show headers."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    def see(self, response) -> None:
        """The hook of a client."""
        self.turns.append(Turn.of(response.headers))

    async def see_async(self, response) -> None:
        """The hook of an asynchronous client."""
        self.see(response)


def holds_one_model(
    name: str,
    run: Callable[[dict[str, str]], list[Turn]],
    session: dict[str, str] | None = None,
) -> None:
    """Runs a task without a session and with one; only the second may hold one model.

    `session` are the headers that name it, else the one of this project with a new id.
    """
    free = run({})
    if len({turn.model for turn in free}) < 2:
        fail(f"{name}: the model did not change without a session, so this shows nothing: {free}")
    kept = run(session or {"x-model-affinity": str(uuid.uuid4())})
    one_model(name, kept)
    changes = sum(a.model != b.model for a, b in zip(free, free[1:]))
    times = f"{changes} change{'' if changes == 1 else 's'}"
    passed(f"{name}: {kept[0].model} for all {len(kept)} turns; {times} without a session")


def one_model(name: str, turns: list[Turn]) -> None:
    """The first turn is routed, the others follow its pin."""
    if len(turns) < 2 or len({turn.model for turn in turns}) != 1:
        fail(f"{name}: not one model: {turns}")
    if [turn.pinned for turn in turns] != [False] + [True] * (len(turns) - 1):
        fail(f"{name}: not pinned from the second turn on: {turns}")


def refuses(name: str, error: type[Exception], call: Callable[[], object]) -> Exception:
    """The error with which a call must end."""
    try:
        call()
    except error as refusal:
        return refusal
    fail(f"{name}: no {error.__name__}")


def expect(name: str, found: object, wanted: object) -> None:
    """Compares."""
    if found != wanted:
        fail(f"{name}: {found!r} where {wanted!r} should be")


def passed(text: str) -> None:
    """One line for one check."""
    print(f"ok      {text}", flush=True)


def fail(text: str) -> NoReturn:
    """Ends the program."""
    print(f"FAILED  {text}", flush=True)
    sys.exit(1)
