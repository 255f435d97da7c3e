"""A client in Python for any server with an OpenAI-like API."""

from __future__ import annotations

from sizing.launch.base import Launch


def write_openai_client(model_id: str, port: int) -> Launch:
    """A streaming chat through the `openai` package against a server on this machine.

    A key is read from the environment, where the server wants one. Source: https://github.com/openai/openai-python
    """
    text = f"""\
import os

from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:{port}/v1", api_key=os.environ.get("OPENAI_API_KEY", "none"))
stream = client.chat.completions.create(
    model={model_id!r},
    messages=[{{"role": "user", "content": "Why is the sky blue?"}}],
    stream=True,
)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
print()
"""
    note = f"Asks the server on port {port} of this machine; needs pip install openai."
    return Launch("Python, OpenAI client", "python", text, "client.py", note)
