"""Agent programs as they come from their makers: Claude Code and Codex, without a person.

They do not show headers, so the simulated provider's counters tell which models answered. Each runs
against a gateway that leaves the agents' headers alone, and against one as it is by default.
"""

import json
import os
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from checks import GATEWAY, KEY, fail, passed

CONTROL = os.environ["CONTROL_URL"]
RELEASING = os.environ["RELEASING_URL"]
PROVIDER = os.environ["PROVIDER_URL"]
PROGRAMS = Path(os.environ["NODE_PROGRAMS"])

TASK = "Write a function that sorts a list"
LIMIT = 60


def stats() -> dict:
    with urllib.request.urlopen(f"{PROVIDER}/stats", timeout=10) as answer:
        return json.load(answer)


def models(name: str, gateway: str, prepare: Callable[[Path, str], tuple[list[str], dict]]) -> dict:
    """How many turns each model answered, and how many decisions were made."""
    before = stats()
    with tempfile.TemporaryDirectory() as home:
        command, variables = prepare(Path(home), gateway)
        # Nothing of the user's own settings.
        environment = {"PATH": os.environ["PATH"], "HOME": home, **variables}
        try:
            program = subprocess.run(
                [PROGRAMS / command[0], *command[1:]],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=LIMIT,
            )
        except subprocess.TimeoutExpired:
            fail(f"{name}: no end within {LIMIT} s")
    if program.returncode != 0:
        fail(f"{name}: status {program.returncode}\n{program.stdout[-3000:]}")
    after = stats()
    old = before["requests"]
    turns = {model: count - old.get(model, 0) for model, count in after["requests"].items()}
    turns = {model: count for model, count in turns.items() if count}
    return {"turns": turns, "decisions": after["routing_calls"] - before["routing_calls"]}


def holds_one_model(name: str, prepare: Callable[[Path, str], tuple[list[str], dict]]) -> None:
    free = models(name, CONTROL, prepare)
    if len(free["turns"]) < 2:
        fail(f"{name}: the model did not change without a pin, so this shows nothing: {free}")
    kept = models(name, GATEWAY, prepare)
    if len(kept["turns"]) != 1 or kept["decisions"] != 1:
        fail(f"{name}: not one model by one decision: {kept}")
    (model, turns) = kept["turns"].popitem()
    if turns < 2:
        fail(f"{name}: one turn is no loop")
    shared = " and ".join(f"{count} by {model}" for model, count in free["turns"].items())
    passed(f"{name}: {model} for all {turns} turns; {shared} when its headers are left alone")


def sub_agents_end_nothing(name: str, prepare: Callable[[Path, str], tuple[list[str], dict]]) -> None:
    """Pins end with the model's final answer; that of a sub-agent is not the main loop's."""
    kept = models(name, RELEASING, prepare)
    if len(kept["turns"]) != 1 or kept["decisions"] != 1:
        fail(f"{name}: a sub-agent ended the pin: {kept}")
    passed(f"{name}: one model also where the final answers of its sub-agents could end the pin")


def claude_code(_: Path, gateway: str) -> tuple[list[str], dict]:
    command = ["claude", "-p", TASK, "--model", "claude-sonnet-4-20250514"]
    variables = {
        "ANTHROPIC_BASE_URL": gateway,
        "ANTHROPIC_API_KEY": KEY,
        # No call to its maker.
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    return command, variables


def codex(home: Path, gateway: str) -> tuple[list[str], dict]:
    folder = home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(
        f"""
model = "gpt-4o"
model_provider = "gateway"
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
# Both would be fetched from elsewhere.
apps = false
plugins = false
[model_providers.gateway]
name = "gateway"
base_url = "{gateway}/v1"
env_key = "GATEWAY_KEY"
wire_api = "responses"
supports_websockets = true
"""
    )
    return ["codex", "exec", "--skip-git-repo-check", TASK], {"GATEWAY_KEY": KEY}


holds_one_model("Claude Code 2.1", claude_code)
sub_agents_end_nothing("Claude Code 2.1", claude_code)
holds_one_model("Codex 0.169", codex)
