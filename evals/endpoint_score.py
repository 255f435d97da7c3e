"""The log-likelihood of a given continuation at a server that echoes a prompt with its log-probabilities.

The border between prompt and continuation is found by counting tokens: the prompt is echoed alone once, and as many
tokens are left off the whole text, as lm-eval cuts it for a model in process. Character offsets (`text_offset`) are not
used: servers count them in bytes, in "_" for blanks or from a token that begins the text, and are off by one with it.

What a server lists is not believed before it was checked (`check_scoring`). llama_cpp.server, for one, lists
log-probabilities one token late for models whose text has no token to begin it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evals.endpoint import EndpointClient, Scored, find_choice, find_count
from sizing.errors import EndpointError, UnsupportedError

GREEDY_SLACK = 1e-5
"""How far below the largest listed log-probability (natural logarithm) a token still counts as the greedy one."""

CHECK_TOLERANCE = 0.2
"""How far two log-probabilities of one token may lie apart in `check_scoring`: batched and single arithmetic differ,
quantized caches more so. A shift by one token differs by whole units."""

MAX_KNOWN_COUNTS = 1024

CHECK_PROMPTS = (
    "The days of the week are Monday, Tuesday, Wednesday, Thursday,",
    "1, 2, 3, 4, 5, 6, 7, 8, 9,",
    "def add(a, b):\n    return",
    "In the year 1905 the town had one school, two mills and a",
)

REFUSAL = "this server gives no log-likelihoods of a prompt; choose a suite that generates"


@dataclass(frozen=True, slots=True)
class Echo:
    """The prompt's tokens as a server lists them, generated ones cut off.

    `log_probabilities` are natural logarithms, None where a token has no predecessor; `is_greedy` says the same of
    each token's rank. `n_prompt_tokens` is what the server counts. `has_beginning`: the first listed token is none of
    the text's own but one that begins every text.
    """

    log_probabilities: tuple[float | None, ...]
    is_greedy: tuple[bool, ...]
    n_prompt_tokens: int
    has_beginning: bool

    @property
    def n_listed(self) -> int:
        """How many tokens of the prompt are listed."""
        return len(self.log_probabilities)


@dataclass(frozen=True, slots=True)
class EchoAnswer:
    """An echo and the seconds it took."""

    echo: Echo
    seconds: float


def score(client: EndpointClient, prompt: str, continuation: str) -> Scored:
    """The log-likelihood of `continuation` after `prompt`, both as text.

    Blanks that end the prompt count to the continuation, as in lm-eval. Where a token lies across the border, what
    follows it is weighed after that token; lm-eval in process puts the prompt's own last token in its place. With an
    empty prompt the first token has a log-probability only where the server puts a token before the text:
    UnsupportedError elsewhere.
    """
    kept = prompt.rstrip()
    whole = ask_echo(client, prompt + continuation)
    n_before = count_prompt_tokens(client, kept) if kept else int(whole.echo.has_beginning)
    return sum_from(whole, min(n_before, whole.echo.n_listed - 1))


def score_text(client: EndpointClient, text: str) -> Scored:
    """The log-likelihood of a whole text in one piece, its first token left out where the server gives none for it.

    A text longer than the server's context is an EndpointError with the server's words: it is not cut here.
    """
    whole = ask_echo(client, text)
    first = whole.echo.log_probabilities[0]
    return sum_from(whole, int(first is None))


def sum_from(whole: EchoAnswer, border: int) -> Scored:
    """The sum of log-probabilities from the token `border` on. UnsupportedError where one of them is unknown."""
    values = whole.echo.log_probabilities[border:]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        raise UnsupportedError(
            "this server gives no log-likelihood of a text's first token; the prompt must not be empty"
        )
    greedy = all(whole.echo.is_greedy[border:])
    return Scored(math.fsum(known), greedy, whole.echo.n_prompt_tokens, len(known), whole.seconds)


def count_prompt_tokens(client: EndpointClient, prompt: str) -> int:
    """How many tokens the server lists for a prompt alone; asked once for each, the choices of a question share it."""
    known = client.listed_counts.get(prompt)
    if known is None:
        known = ask_echo(client, prompt).echo.n_listed
        if len(client.listed_counts) >= MAX_KNOWN_COUNTS:
            client.listed_counts.clear()
        client.listed_counts[prompt] = known
    return known


def ask_echo(client: EndpointClient, text: str) -> EchoAnswer:
    """The text's own tokens with their log-probabilities. One token is generated besides, for 0 means "no limit" to
    some servers. UnsupportedError where the server does not echo or list."""
    payload = {
        "model": client.find_model(),
        "prompt": text,
        "max_tokens": 1,
        "echo": True,
        "logprobs": 1,
        "temperature": 0.0,
        "stream": False,
    }
    if client.plan.api != "completion":
        raise UnsupportedError("log-likelihoods need api 'completion': a chat endpoint gives none of its prompt")
    try:
        answer = client.ask("/completions", payload)
    except EndpointError as error:
        if error.kind in ("rejected", "path") and ("echo" in str(error) or "logprobs" in str(error)):
            raise UnsupportedError(f"{REFUSAL} ({error})") from None
        raise
    return EchoAnswer(read_echo(answer.body, text), answer.seconds)


def read_echo(body: Any, text: str) -> Echo:
    """The listed tokens of an echoed completion. UnsupportedError where they are not those of the prompt.

    Tokens are counted from the end: what the server counts as generated is cut off. Without its count, an answer ended
    by its limit has generated the one token asked for.
    """
    choice = find_choice(body)
    listed = choice.get("logprobs")
    values = listed.get("token_logprobs") if isinstance(listed, dict) else None
    if not isinstance(listed, dict) or not isinstance(values, list) or not isinstance(choice.get("text"), str):
        raise UnsupportedError(REFUSAL)
    n_generated = find_count(body.get("usage"), "completion_tokens")
    if n_generated is None:
        if choice.get("finish_reason") != "length":
            raise UnsupportedError("this server counts no tokens, so prompt and answer cannot be told apart")
        n_generated = 1
    n_listed = len(values) - n_generated
    if not choice["text"].startswith(text) or n_listed < 1:
        raise UnsupportedError(REFUSAL)
    known = [find_log_probability(value) for value in values[:n_listed]]
    if n_listed > 1 and any(value is None for value in known[1:]):
        raise UnsupportedError(
            "this server leaves out log-probabilities inside the prompt; choose a suite that generates"
        )
    tops = listed.get("top_logprobs")
    tops = tops[:n_listed] if isinstance(tops, list) and len(tops) >= n_listed else [None] * n_listed
    greedy = tuple(find_greediness(value, top) for value, top in zip(known, tops, strict=True))
    n_prompt = find_count(body.get("usage"), "prompt_tokens")
    begins = known[0] is None and is_beginning(listed.get("tokens"), text)
    return Echo(tuple(known), greedy, n_listed if n_prompt is None else n_prompt, begins)


def is_beginning(tokens: Any, text: str) -> bool:
    """Whether the first listed token spells nothing of the text ("", "<s>"), blanks written in any way."""
    if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], str):
        return False
    spelled = tokens[0].lstrip(" \u2581\u0120")  # sentence pieces and byte pairs mark blanks so
    if not tokens[0]:
        return True
    return bool(spelled) and "\ufffd" not in spelled and not text.lstrip().startswith(spelled)


def find_log_probability(value: Any) -> float | None:
    """A finite log-probability (at most a rounding above 0), None for null. UnsupportedError for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value > 1e-3:
        raise UnsupportedError(f"this server listed {value!r} as a log-probability; its numbers cannot be used")
    return float(value)


def find_greediness(value: float | None, top: Any) -> bool:
    """Whether no other token is listed as likelier. A token without list or number counts as not greedy."""
    if value is None or not isinstance(top, Mapping):
        return False
    others = [other for other in top.values() if isinstance(other, int | float)]
    return bool(others) and value >= max(others) - GREEDY_SLACK


def check_scoring(client: EndpointClient) -> None:
    """Ask the server for one token, then have that same token scored: both log-probabilities must agree.

    This finds servers that echo nothing, list generated tokens only, or list numbers shifted by a token. Prompts whose
    generated token melts into the text before it prove nothing and are passed over. UnsupportedError when the numbers
    differ, or when no prompt proved anything.
    """
    for prompt in CHECK_PROMPTS:
        n_before = count_prompt_tokens(client, prompt)
        token, expected = ask_one_token(client, prompt)
        if not token or token != token.rstrip() or expected is None or "\ufffd" in token:
            continue
        echo = ask_echo(client, prompt + token).echo
        if echo.n_listed != n_before + 1:
            continue
        listed = echo.log_probabilities[-1]
        if listed is None or abs(listed - expected) > CHECK_TOLERANCE:
            raise UnsupportedError(
                f"this server lists {listed} for a token it generated with {expected:.3f}: its log-likelihoods of a "
                "prompt are wrong (shifted by one token, mostly); choose a suite that generates"
            )
        return
    raise UnsupportedError(
        "this server's log-likelihoods of a prompt could not be checked; choose a suite that generates"
    )


def ask_one_token(client: EndpointClient, prompt: str) -> tuple[str, float | None]:
    """The token greedily generated after a prompt and its log-probability, without echo."""
    payload = {
        "model": client.find_model(),
        "prompt": prompt,
        "max_tokens": 1,
        "logprobs": 1,
        "temperature": 0.0,
        "stream": False,
    }
    choice = find_choice(client.ask("/completions", payload).body)
    listed = choice.get("logprobs")
    values = listed.get("token_logprobs") if isinstance(listed, dict) else None
    text = choice.get("text")
    if not isinstance(values, list) or len(values) != 1 or not isinstance(text, str):
        return "", None
    return text, find_log_probability(values[0])
