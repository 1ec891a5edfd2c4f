"""The README's quick start: its configuration, and the clients set up as it says.

Two simulated providers play the two vendors, so it is seen which of them was called. The lines are the
README's own; only addresses are replaced, and what a client would fetch from elsewhere is turned off.
"""

import json
import os
import re
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from checks import fail, passed

README = Path(__file__).parents[3] / "README.md"
GATEWAY = os.environ["QUICKSTART_URL"]
VENDORS = {vendor: os.environ[f"{vendor.upper()}_URL"] for vendor in ("anthropic", "openai")}
PROGRAMS = Path(os.environ["NODE_PROGRAMS"])

TASK = "Review this code for bugs: a function that sorts a list"
LIMIT = 90


def block(language: str) -> str:
    """The one block of `language` in the README, for this gateway."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    if len(found) != 1:
        fail(f"the README has {len(found)} blocks of {language}, not one")
    return found[0].replace("http://127.0.0.1:12000", GATEWAY)


def answered() -> dict[str, int]:
    """How many turns each model has answered, by `vendor/model`."""
    turns = {}
    for vendor, url in VENDORS.items():
        with urllib.request.urlopen(f"{url}/stats", timeout=10) as answer:
            for model, count in json.load(answer)["requests"].items():
                turns[f"{vendor}/{model}"] = count
    return turns


def holds_one_model(name: str, model: str, prepare: Callable[[Path], tuple[list[str], dict]]) -> None:
    before = answered()
    with tempfile.TemporaryDirectory() as home:
        command, variables = prepare(Path(home))
        # Nothing of the user's own settings. Programs look for each other along the path.
        path = f"{PROGRAMS}:{os.environ['PATH']}"
        try:
            program = subprocess.run(
                [PROGRAMS / command[0], *command[1:]],
                cwd=home,
                env={"PATH": path, "HOME": home, **variables},
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
    turns = {model: count - before.get(model, 0) for model, count in answered().items()}
    turns = {model: count for model, count in turns.items() if count}
    if set(turns) != {model} or turns[model] < 2:
        fail(f"{name}: not a loop by {model} alone: {turns}")
    passed(f"{name}, as the README says: {model} for all {turns[model]} turns")


def claude_code(_: Path) -> tuple[list[str], dict]:
    line = next(line for line in README.read_text().splitlines() if line.endswith(" claude"))
    line = line.replace("http://127.0.0.1:12000", GATEWAY)
    variables = dict(word.split("=", 1) for word in line.split()[:-1])
    # No call to its maker.
    return ["claude", "-p", TASK], variables | {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


def codex(home: Path) -> tuple[list[str], dict]:
    (home / ".codex").mkdir()
    fetches_nothing = "[analytics]\nenabled = false\n[features]\napps = false\nplugins = false\n"
    text = f"check_for_update_on_startup = false\n{block('toml')}{fetches_nothing}"
    (home / ".codex/config.toml").write_text(text)
    return ["codex", "exec", "--skip-git-repo-check", TASK], {}


def opencode(home: Path) -> tuple[list[str], dict]:
    # Two blocks of JSON would be two configurations.
    (home / "opencode.json").write_text(block("json"))
    fetches_nothing = {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"}
    return ["opencode", "run", "--model", "openai/gpt-5.5", TASK], fetches_nothing


# The route of the task names OpenAI's model first; only Anthropic speaks what Claude Code does.
holds_one_model("Claude Code", "anthropic/claude-sonnet-5-5", claude_code)
holds_one_model("Codex", "openai/gpt-5.5", codex)
holds_one_model("OpenCode", "openai/gpt-5.5", opencode)
