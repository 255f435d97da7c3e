"""A child process that serves a file as llama_cpp.server does (its own completion, over http.server), for one test.

Started as `python llama_server_child.py FILE BEGINS`: BEGINS 1 puts a beginning token before every text. It prints its
port. `POST /v1/weigh` answers with the same continuation's log-likelihood, worked out from the logits one by one.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
from llama_cpp import Llama


def weigh(llama: Llama, prompt: str, continuation: str) -> dict[str, Any]:
    before = len(llama.tokenize(prompt.encode(), special=True))
    tokens = llama.tokenize((prompt + continuation).encode(), special=True)
    llama.reset()
    llama.eval(tokens)
    logits = np.array(llama.scores[: len(tokens)], dtype=np.float64)
    total, greedy = 0.0, True
    for place in range(before, len(tokens)):
        row = logits[place - 1]
        total += row[tokens[place]] - row.max() - np.log(np.exp(row - row.max()).sum())
        greedy &= bool(row.argmax() == tokens[place])
    return {"log_likelihood": total, "is_greedy": greedy, "n_tokens": len(tokens) - before}


def main() -> None:
    file, begins = sys.argv[1], sys.argv[2] == "1"
    override: dict[str, bool | int | float | str] = {"tokenizer.ggml.add_bos_token": begins}
    llama = Llama(file, logits_all=True, n_ctx=256, n_threads=1, verbose=False, kv_overrides=override)
    taken = ("prompt", "max_tokens", "echo", "logprobs", "temperature", "seed")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send({"data": [{"id": "demo", "owned_by": "me"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/v1/weigh":
                self.send(weigh(llama, **asked))
            else:
                self.send(llama.create_completion(**{name: asked[name] for name in taken if name in asked}))

        def send(self, body: Any) -> None:
            data = json.dumps(body, default=float).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
