"""lm-eval over a model file on this machine, llama.cpp in this process. Only a worker process may import and use it.

Tokens follow lm-eval's own habits for Hugging Face models, so that figures can be compared:

- A beginning-of-text token is put before a text where the vocabulary asks for it, and never twice: a text that spells
  it at its start (a rendered chat does) gets it once.
- The names of special tokens are read as those tokens in text that `apply_chat_template` of this object rendered (and
  in what is appended to it), and as plain letters everywhere else: a task's text cannot end a turn by spelling its end.
- A prompt that does not fit is cut from the left, its first token included; `Facts.n_truncated` counts these.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from evals.answers import Listener, Usage
from evals.loaded import LoadedModel, LoadPlan
from evals.sampling import Sampling
from evals.sequences import Scored, Scoring, Sequences, TooLongError, Writing, Written
from sizing.errors import BadInputError, UnsupportedError

MAX_GEN_TOKENS = 256
"""Tokens written where a request does not say, as for lm-eval's other models."""

HEAD_CHARACTERS = 48
"""A text that begins as a rendered chat does, this far, is taken for one; a shorter chat must begin it whole."""

LENGTH_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names of a request's limit of written tokens, the first that is there counts (lm-eval, `normalize_gen_kwargs`)."""

SILENT_NAMES = frozenset({"until", "do_sample", "temperature", "top_k", "top_p", "min_p", *LENGTH_NAMES})
"""What a request for text may say."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The model and engine that answered, and what answering took so far.

    `n_prompt_tokens` and `n_scored_tokens` are what was asked; `n_computed_tokens` what the engine computed, less where
    requests share their beginnings. `n_prefilled_tokens` and `prefill_s` (wall clock) are of steps with any prompt in
    them, `n_decoded_tokens` and `decode_s` of steps that only wrote on, both with the read of the logits.
    `template_sha256` is None for a file without a chat template.
    """

    engine: str
    description: str
    n_params: int
    n_vocab: int
    n_ctx_train: int
    context_tokens: int
    n_seq: int
    n_threads: int
    template_sha256: str | None
    n_requests: int
    n_truncated: int
    n_prompt_tokens: int
    n_scored_tokens: int
    n_computed_tokens: int
    n_prefilled_tokens: int
    n_decoded_tokens: int
    n_generated_tokens: int
    prefill_s: float
    decode_s: float


class LlamaLM(TemplateLM):  # type: ignore[misc] # lm-eval ships no types
    """A GGUF file as an lm-eval model: likelihoods, rolling likelihoods and text. See `LoadPlan` for the settings.

    `listener`, where set, is told of each answer as it is known; what it raises ends the call, and the next call works.
    `seed` decides what is drawn where a request samples. Raises EngineError where llama.cpp refuses the file.
    """

    def __init__(
        self,
        *,
        path: str,
        context_tokens: int | None = None,
        n_seq: int = 8,
        n_batch: int = 2048,
        n_ubatch: int = 512,
        kv_type_k: str = "f16",
        kv_type_v: str = "f16",
        flash_attention: bool = True,
        n_threads: int | None = None,
        n_gpu_layers: int = 0,
        swa_full: bool = False,
        n_cells: int | None = None,
        seed: int = 1234,
    ) -> None:
        super().__init__()
        plan = LoadPlan(
            str(path),
            context_tokens,
            n_seq,
            n_batch,
            n_ubatch,
            kv_type_k,
            kv_type_v,
            flash_attention,
            n_threads,
            n_gpu_layers,
            swa_full,
            n_cells,
        )
        self.listener: Listener | None = None
        self.loaded = LoadedModel(plan)
        self.sequences = Sequences(self.loaded, seed)
        self._heads: set[str] = set()
        self._short_chats: set[str] = set()
        self._n_requests = self._n_truncated = 0
        self._n_prompt = self._n_scored = self._n_generated = 0
        api, vocab = self.loaded.api, self.loaded.vocab
        self._bos = int(api.llama_vocab_bos(vocab))
        self._eos = int(api.llama_vocab_eos(vocab))
        self._adds_bos = bool(api.llama_vocab_get_add_bos(vocab)) and self._bos >= 0
        self._bos_text = self._spell_special(self._bos)
        template = api.llama_model_chat_template(self.loaded.model, None)
        self._template: str | None = template.decode("utf-8", "replace") if template else None

    def _spell_special(self, token: int) -> str:
        return self.loaded.spell(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text: the vocabulary's end of text, else its end of turn, else the first token."""
        if self._eos >= 0:
            return self._eos
        return max(int(self.loaded.api.llama_vocab_eot(self.loaded.vocab)), 0)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context: the beginning of text, else the end of one."""
        return self._bos if self._bos >= 0 else self.eot_token_id

    @property
    def max_length(self) -> int:
        """Tokens one sequence may have."""
        return self.loaded.context_tokens

    @property
    def max_gen_toks(self) -> int:
        """Tokens written where a request does not say."""
        return MAX_GEN_TOKENS

    @property
    def tokenizer_name(self) -> str:
        """What tells this vocabulary and chat format from others, for lm-eval's cache of requests."""
        read = self.loaded.read_metadata
        name = "-".join(read(f"tokenizer.ggml.{key}") or "unnamed" for key in ("model", "pre"))
        return f"gguf-{name}-{self.loaded.n_vocab}-{(self._template_sha256() or 'plain')[:16]}"

    def _template_sha256(self) -> str | None:
        return None if self._template is None else hashlib.sha256(self._template.encode()).hexdigest()

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The file's own chat template; None where it has none or none is wanted. Names are ignored: it holds one."""
        return None if chat_template is False else self._template

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A chat as one text, by the file's template; the text of an unfinished answer at its end is left open.

        A system message that the template refuses goes before the first user message. Raises UnsupportedError where
        the file has no template or it refuses the chat.
        """
        messages = [dict(message) for message in chat_history]
        try:
            text = self._render(messages, add_generation_prompt)
        except Exception as error:  # a template may raise anything
            if messages[:1] and messages[0].get("role") == "system" and len(messages) > 1:
                system, first, *others = messages
                joined = {**first, "content": f"{system['content']}\n\n{first['content']}"}
                try:
                    text = self._render([joined, *others], add_generation_prompt)
                except Exception as again:
                    raise UnsupportedError(f"the file's chat template refuses this chat: {again}") from again
            else:
                raise UnsupportedError(f"the file's chat template refuses this chat: {error}") from error
        if not add_generation_prompt and messages[-1]["role"] == "assistant":
            text = leave_open(text, messages[-1]["content"])
        if len(text) < HEAD_CHARACTERS:
            self._short_chats.add(text)
        else:
            self._heads.add(text[:HEAD_CHARACTERS])
        return text

    def _render(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        if self._template is None:
            raise UnsupportedError("it has none; ask without a chat template")
        chat = Jinja2ChatFormatter(
            template=self._template,
            eos_token=self._spell_special(self._eos),
            bos_token=self._bos_text,
            add_generation_prompt=add_generation_prompt,
        )
        return str(chat(messages=messages).prompt)

    def _is_chat(self, text: str) -> bool:
        return text[:HEAD_CHARACTERS] in self._heads or any(text.startswith(chat) for chat in self._short_chats)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Tokens of a text. None: a beginning of text where the vocabulary adds it, once; True, False: with, without.

        Text that `apply_chat_template` rendered is read with its special tokens, any other as letters.
        """
        is_chat = self._is_chat(string)
        begins = bool(self._bos_text) and string.startswith(self._bos_text)
        if begins and add_special_tokens is None:
            string = string[len(self._bos_text) :]
        adds = (self._adds_bos or begins) if add_special_tokens is None else add_special_tokens
        tokens = self.loaded.tokenize(string, parse_special=is_chat)
        return [self._bos, *tokens] if adds and self._bos >= 0 else tokens

    def count_tokens(self, text: str) -> int:
        """Tokens of a text as a prompt."""
        return len(self.tok_encode(text))

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Both encoded as one text and split where the context ends.

        Where the last token of the context joins with the continuation, the split moves back to the last token that
        both encodings share, so that no token is lost or scored twice.
        """
        n_spaces = len(context) - len(context.rstrip())
        if n_spaces:
            context, continuation = context[:-n_spaces], context[-n_spaces:] + continuation
        if not context:
            return [self.prefix_token_id], self.tok_encode(continuation, add_special_tokens=False)
        whole, alone = self.tok_encode(context + continuation), self.tok_encode(context)
        if len(alone) >= len(whole) and continuation:
            n = next((i for i, (a, b) in enumerate(zip(whole, alone)) if a != b), len(whole) - 1)
            return whole[: max(n, 1)], whole[max(n, 1) :]
        return whole[: len(alone)], whole[len(alone) :]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Logarithm of each continuation's probability after its context, and whether it is the greedy one.

        An empty context is the beginning of a text; an empty continuation is certain. Raises TooLongError where a
        continuation alone exceeds the context.
        """
        encoded: list[tuple[tuple[str, str] | None, list[int], list[int]]] = []
        for context, continuation in (request.args for request in requests):
            if context == "":
                tokens = self.tok_encode(continuation, add_special_tokens=False)
                # a text that spells the beginning of text itself has it once
                n_begin = int(bool(tokens) and tokens[0] == self.prefix_token_id)
                pair = ([self.prefix_token_id], tokens[n_begin:])
            else:
                pair = self._encode_pair(context, continuation)
            encoded.append(((context, continuation), *pair))
        return self._loglikelihood_tokens(encoded)

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str] | None, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """As `loglikelihood`, of tokens."""
        started = time.monotonic()
        scorings = [self._fit(context, continuation) for _, context, continuation in requests]

        def told(i: int, scored: Scored) -> None:
            answer = (scored.log_likelihood, scored.is_greedy)
            text = requests[i][0]
            if text is not None:
                self.cache_hook.add_partial("loglikelihood", text, answer)
            scoring = scorings[i]
            usage = Usage(len(scoring.context), len(scoring.continuation), time.monotonic() - started, "scored")
            self._tell(i, answer, usage)

        scores = self.sequences.score(scorings, told)
        return [(scored.log_likelihood, scored.is_greedy) for scored in scores]

    def _fit(self, context: Sequence[int], continuation: Sequence[int]) -> Scoring:
        """A pair cut from the left to the context; the last token is asked about, never computed."""
        n_room = self.max_length + 1 - len(continuation)
        if n_room < 1:
            raise TooLongError(
                f"a continuation wants {len(continuation)} tokens of context, a sequence has {self.max_length}; "
                "open the model with a larger context"
            )
        self._n_truncated += len(context) > n_room
        context = context[-n_room:]
        self._n_prompt += len(context)
        self._n_scored += len(continuation)
        return Scoring(context, continuation)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Logarithm of the probability of each whole text, in windows as long as the context where it is longer."""
        started = time.monotonic()
        texts = [request.args[0] for request in requests]
        scorings: list[Scoring] = []
        owners: list[int] = []
        for i, text in enumerate(texts):
            tokens = self.tok_encode(text, add_special_tokens=False)
            windows = get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, 1)
            for context, continuation in map(make_disjoint_window, windows):
                scorings.append(self._fit(context, continuation))
                owners.append(i)
        totals = np.zeros(len(texts))
        n_left = np.bincount(np.asarray(owners, dtype=np.int64), minlength=len(texts))
        n_tokens = np.bincount(owners, [len(s.continuation) for s in scorings], len(texts)).astype(int)

        def finish(i: int) -> None:
            self.cache_hook.add_partial("loglikelihood_rolling", (texts[i],), float(totals[i]))
            self._tell(i, float(totals[i]), Usage(0, int(n_tokens[i]), time.monotonic() - started, "scored"))

        def told(window: int, scored: Scored) -> None:
            i = owners[window]
            totals[i] += scored.log_likelihood
            n_left[i] -= 1
            if n_left[i] == 0:
                finish(i)

        for i in np.flatnonzero(n_left == 0).tolist():
            finish(i)
        self.sequences.score(scorings, told)
        return [float(total) for total in totals]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """The text written on from each prompt, up to a stop, the end of a turn or `max_gen_toks`.

        Greedy unless the request samples (`do_sample` with a temperature). Raises TooLongError where `max_gen_toks`
        leaves no room for a prompt, BadInputError for a setting nobody knows.
        """
        started = time.monotonic()
        asked = [request.args for request in requests]
        writings = [self._plan_writing(context, dict(settings)) for context, settings in asked]

        def told(i: int, written: Written) -> None:
            self._n_generated += written.n_tokens
            self.cache_hook.add_partial("generate_until", asked[i], written.text)
            usage = Usage(len(writings[i].prompt), written.n_tokens, time.monotonic() - started, written.finish)
            self._tell(i, written.text, usage)

        return [written.text for written in self.sequences.write(writings, told)]

    def _plan_writing(self, context: str, settings: dict[str, Any]) -> Writing:
        if unknown := set(settings) - SILENT_NAMES:
            raise BadInputError(
                f"a request for text knows {', '.join(sorted(SILENT_NAMES))}; got {', '.join(sorted(unknown))}"
            )
        limit = next((settings[name] for name in LENGTH_NAMES if settings.get(name) is not None), MAX_GEN_TOKENS)
        max_tokens = int(limit)
        n_room = self.max_length - max_tokens
        if n_room < 1 or max_tokens < 1:
            raise TooLongError(
                f"max_gen_toks wants 1 to {self.max_length - 1} of a context of {self.max_length}, got {limit!r}"
            )
        tokens = self.tok_encode(context) or [self.prefix_token_id]
        self._n_truncated += len(tokens) > n_room
        tokens = tokens[-n_room:]
        self._n_prompt += len(tokens)
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else [stop for stop in until if stop]
        return Writing(
            tokens,
            max_tokens,
            tuple(stop.encode() for stop in stops),
            frozenset(token for stop in stops for token in self._find_special(stop)),
            find_sampling(settings),
        )

    def _find_special(self, stop: str) -> list[int]:
        """The special token that a stop spells whole, which writes no letters when it comes; none for other stops."""
        tokens = self.loaded.tokenize(stop, parse_special=True)
        is_one = len(tokens) == 1 and not self.loaded.spell(tokens[0])
        return tokens if is_one else []

    def _tell(self, i: int, answer: Any, usage: Usage) -> None:
        self._n_requests += 1
        if self.listener is not None:
            self.listener(i, answer, usage)

    def facts(self) -> Facts:
        """What the model and the engine are, and what was asked and computed since it was opened."""
        import ctypes

        loaded = self.loaded
        room = ctypes.create_string_buffer(256)
        loaded.api.llama_model_desc(loaded.model, room, len(room))
        return Facts(
            engine=f"llama-cpp-python {loaded.api.__version__}",
            description=room.value.decode("utf-8", "replace"),
            n_params=int(loaded.api.llama_model_n_params(loaded.model)),
            n_vocab=loaded.n_vocab,
            n_ctx_train=loaded.n_ctx_train,
            context_tokens=loaded.context_tokens,
            n_seq=loaded.plan.n_seq,
            n_threads=loaded.n_threads,
            template_sha256=self._template_sha256(),
            n_requests=self._n_requests,
            n_truncated=self._n_truncated,
            n_prompt_tokens=self._n_prompt,
            n_scored_tokens=self._n_scored,
            n_computed_tokens=loaded.n_computed,
            n_prefilled_tokens=loaded.n_prefilled,
            n_decoded_tokens=loaded.n_decoded,
            n_generated_tokens=self._n_generated,
            prefill_s=loaded.prefill_s,
            decode_s=loaded.decode_s,
        )

    def close(self) -> None:
        """Free the model; nothing but `close` works afterwards."""
        self.loaded.close()


def leave_open(text: str, answer: str) -> str:
    """A rendered chat up to the end of its last answer, to be written on; unchanged where the answer is not in it."""
    place = text.rfind(answer.strip()) if answer.strip() else -1
    if place < 0:
        return text
    return text[:place] + answer.lstrip()


def find_sampling(settings: dict[str, Any]) -> Sampling:
    """How a request chooses tokens, by lm-eval's names: greedy unless it samples with a temperature above 0.

    Without `do_sample` a temperature above 0 samples; with `do_sample` and no temperature it is 1.
    """
    wanted = settings.get("do_sample")
    temperature = settings.get("temperature")
    if wanted is False or (wanted is None and not temperature):
        return Sampling()
    return Sampling(
        float(1.0 if temperature is None else temperature),
        int(settings.get("top_k") or 0),
        float(settings.get("top_p", 1.0)),
        float(settings.get("min_p", 0.0)),
    )
