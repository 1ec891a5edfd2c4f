"""Agent clients by their wire: the headers that each sends on its own, and no setting of ours.

Seen from Claude Code 2.1.197, Codex 0.169.0, OpenCode 1.18.33 and pi 0.73.1.
"""

import json
import urllib.request
import uuid

from checks import GATEWAY, Turn, expect, holds_one_model

# What the main loop asks for, and what the client uses for titles and summaries.
MAIN, SMALL = "gpt-4o", "gpt-4o-mini"

ROUNDS = 4
CLAUDE_CODE, CODEX, OPENCODE, PI = (str(uuid.uuid4()) for _ in range(4))


def post(path: str, headers: dict[str, str], body: dict) -> Turn:
    headers = {"content-type": "application/json", **headers}
    data = json.dumps(body).encode()
    request = urllib.request.Request(GATEWAY + path, data, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()
        return Turn.of({name.lower(): value for name, value in answer.headers.items()})


def conversation(at: int) -> list[dict]:
    """The history at a turn; a user speaks first and last."""
    roles = ["user", "assistant"] * at + ["user"]
    return [{"role": role, "content": f"step {n}"} for n, role in enumerate(roles)]


def claude_code(session: dict[str, str]) -> list[Turn]:
    """Counts tokens first, and then as it likes; side calls and sub-agents name the same session."""
    headers = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
        "user-agent": "claude-cli/2.1.197 (external, sdk-cli)",
        "x-app": "cli",
        **session,
    }
    agent = {**headers, "x-claude-code-agent-id": "ac7ce26672a5a0863"} if session else headers
    user = json.dumps({"session_id": session.get("x-claude-code-session-id")})

    def ask(path: str, headers: dict[str, str], model: str, at: int) -> Turn:
        metadata = {"metadata": {"user_id": user}} if session else {}
        body = {"model": model, "max_tokens": 100, "messages": conversation(at), **metadata}
        return post(path, headers, body)

    turns = []
    expect("a count pins nothing", ask("/v1/messages/count_tokens", headers, MAIN, 0).pinned, False)
    for at in range(ROUNDS):
        turn = ask("/v1/messages?beta=true", headers, MAIN, at)
        turns.append(turn)
        ask("/v1/messages?beta=true", headers, SMALL, 0)
        inherited = ask("/v1/messages?beta=true", agent, MAIN, 0)
        counted = ask("/v1/messages/count_tokens", headers, MAIN, at)
        if session:
            expect("the sub-agent's model", inherited, Turn(turn.model, True))
            expect("whose tokens are counted", counted, Turn(turn.model, True))
    return turns


def codex(session: dict[str, str]) -> list[Turn]:
    """One id under several names; a summary of the conversation runs under it too."""
    headers = {"originator": "codex_exec", "accept": "text/event-stream", **session}
    key = {"prompt_cache_key": session["session-id"]} if session else {}

    def ask(headers: dict[str, str], at: int) -> Turn:
        body = {"model": MAIN, "stream": True, "store": False, "input": conversation(at), **key}
        return post("/v1/responses", headers, body)

    turns = [ask(headers, at) for at in range(ROUNDS)]
    summary = ask({**headers, "x-openai-subagent": "compact"}, ROUNDS)
    if session:
        expect("the model of the summary", summary, Turn(turns[0].model, True))
    return turns


def opencode(session: dict[str, str]) -> list[Turn]:
    """Asks the small model for a title before anything else, under the id of the main loop."""
    headers = {"user-agent": "opencode/1.18.33 ai-sdk/provider-utils/4.0.23", **session}

    def ask(model: str, at: int) -> Turn:
        return post("/v1/chat/completions", headers, {"model": model, "messages": conversation(at)})

    title = ask(SMALL, 0)
    turns = [ask(MAIN, at) for at in range(ROUNDS)]
    if session:
        expect("the title's own pin", ask(SMALL, 0), Turn(title.model, True))
        expect("the title has another model", title.model != turns[0].model, True)
    return turns


def pi(session: dict[str, str]) -> list[Turn]:
    key = {"prompt_cache_key": session["session_id"]} if session else {}

    def ask(at: int) -> Turn:
        body = {"model": MAIN, "input": conversation(at), "store": False, **key}
        return post("/v1/responses", session, body)

    return [ask(at) for at in range(ROUNDS)]


SESSIONS = {
    claude_code: ("Claude Code", {"x-claude-code-session-id": CLAUDE_CODE}),
    codex: (
        "Codex",
        {
            "session-id": CODEX,
            "thread-id": CODEX,
            "x-client-request-id": CODEX,
            "x-codex-window-id": f"{CODEX}:0",
            "x-codex-turn-metadata": json.dumps({"session_id": CODEX, "request_kind": "turn"}),
        },
    ),
    opencode: ("OpenCode", {"x-session-affinity": OPENCODE, "x-session-id": OPENCODE}),
    pi: ("pi", {"session_id": PI, "x-client-request-id": PI}),
}
for client, (name, headers) in SESSIONS.items():
    holds_one_model(f"{name}, its headers", client, headers)
