"""Two accounts of a provider, `/one` and `/two`: each knows only what it made, and only by its own key."""

import json
import sys
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MADE: dict[str, dict[str, dict]] = defaultdict(dict)


def response(account: str, body: dict) -> dict:
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    message["content"] = [{"type": "output_text", "text": account, "annotations": []}]
    status = "queued" if body.get("background") else "completed"
    return {
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": body["model"],
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


class Account(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: dict | bytes) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def serve(self) -> None:
        _, account, *path = self.path.partition("?")[0].split("/")
        raw = self.body()
        if self.headers.get("authorization") != f"Bearer {account}":
            return self.answer(401, {"error": {"message": "not this account's key"}})
        made = MADE[account]
        match self.command, *path:
            case "POST", "responses":
                new = response(account, json.loads(raw))
            case "POST", "files":
                new = {"object": "file", "bytes": len(raw), "created_at": 1, "filename": "a.txt"}
                new |= {"purpose": "assistants", "status": "processed"}
            case "POST", "embeddings":
                model = json.loads(raw)["model"]
                vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
                usage = {"prompt_tokens": 1, "total_tokens": 1}
                data = {"object": "list", "data": [vector], "model": model, "usage": usage}
                return self.answer(200, data)
            case "POST", "audio", "transcriptions":
                return self.answer(200, {"text": f"{len(raw)} bytes"})
            case _, kind, id, *_ if id not in made:
                return self.answer(404, {"error": {"message": f"no {kind} {id} at {account}"}})
            case "GET", "files", _, "content":
                return self.answer(200, b"content")
            case "GET", "responses", _, "input_items":
                items = {"object": "list", "data": [], "has_more": False}
                return self.answer(200, items | {"first_id": "a", "last_id": "a"})
            case "POST", "responses", id, "cancel":
                made[id]["status"] = "cancelled"
                return self.answer(200, made[id])
            case "GET", _, id:
                return self.answer(200, made[id])
            case "DELETE", kind, id:
                del made[id]
                return self.answer(200, {"id": id, "object": kind, "deleted": True})
            case _:
                return self.answer(404, {"error": {"message": "no such path"}})
        new["id"] = f"{path[0]}_{account}_{len(made)}"
        made[new["id"]] = new
        self.answer(200, new)

    do_GET = do_POST = do_DELETE = serve


server = ThreadingHTTPServer(("127.0.0.1", 0), Account)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
sys.stdout.close()
server.serve_forever()
