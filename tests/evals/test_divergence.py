"""Divergence of real files: against plain arithmetic, against itself, over quantizations, resumed, bounded, refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evals.demo.measure import MODEL_FILE, make_quant, open_child
from evals.divergence import (
    CHILD_COMMAND,
    DivergenceFailure,
    DivergencePlan,
    DivergenceReason,
    check_text,
    find_needed_bytes,
    list_open_params,
    measure_divergence,
)
from evals.divergence_child import PIECE_BYTES, find_cut, read_pieces
from evals.divergence_result import DivergenceResult, WindowResult, read_window
from evals.dry_run import EngineChild
from evals.texts import build_demo_text, build_own_text
from sizing.errors import BadInputError

PLAN = DivergencePlan(context_tokens=128, max_tokens=128 * 20, n_threads=1, parse_special=True)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "demo.txt"
    path.write_text(build_demo_text(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def quants() -> Iterator[dict[str, Path]]:
    with open_child() as child:
        yield {name: make_quant(child, MODEL_FILE, name) for name in ("F16", "Q8_0", "Q4_K_M", "Q2_K")}


def measure(reference: Path, candidate: Path, text: Path | str, **changes: Any) -> DivergenceResult:
    found = measure_divergence(reference, candidate, text, **{"plan": PLAN, **changes})
    assert isinstance(found, DivergenceResult), found
    return found


def work_out_plainly(reference: Path, candidate: Path, text: Path, context_tokens: int, n_windows: int) -> Any:
    script = Path(__file__).with_name("brute_divergence_child.py")
    asked = [sys.executable, *map(str, (script, reference, candidate, text, context_tokens, n_windows))]
    return json.loads(subprocess.run(asked, capture_output=True, text=True, check=True, timeout=100).stdout)


@pytest.mark.engine
def test_figures_equal_plain_arithmetic_over_all_logits(quants: dict[str, Path], text: Path) -> None:
    wanted = work_out_plainly(MODEL_FILE, quants["Q2_K"], text, 128, 4)
    windows: list[WindowResult] = []
    plan = DivergencePlan(context_tokens=128, max_tokens=128 * 4, n_threads=1, parse_special=True)
    found = measure(MODEL_FILE, quants["Q2_K"], text, plan=plan, on_window=windows.append)
    assert [w.tokens_hash for w in windows] == wanted["hashes"][:4]
    assert found.n_tokens == wanted["n_tokens"] == 4 * 63
    assert found.perplexity_reference.value == pytest.approx(wanted["perplexities"][0], rel=1e-4)
    assert found.perplexity_candidate.value == pytest.approx(wanted["perplexities"][1], rel=1e-4)
    assert found.kl_mean.value == pytest.approx(wanted["kl_mean"], abs=1e-4)
    assert found.kl_max == pytest.approx(wanted["kl_max"], rel=1e-3)
    assert found.top_agreement.value == pytest.approx(wanted["agreement"], abs=1.5 / found.n_tokens)
    assert found.shift_mean.value == pytest.approx(wanted["shift_mean"], abs=1e-4)
    assert found.shift_rms.value == pytest.approx(wanted["shift_rms"], abs=1e-4)
    quantiles = [found.kl_median.value, found.kl_p90.value, found.kl_p99.value]
    assert quantiles == pytest.approx(wanted["kl_quantiles"], rel=0.03)


@pytest.mark.engine
def test_pieces_give_the_tokens_of_the_whole_text(text: Path, tmp_path: Path) -> None:
    """Over two cuts, also where a line ends; the hash of every window is that of the text made into tokens at once."""
    lined = tmp_path / "lined.txt"
    lined.write_text(text.read_text(encoding="utf-8").replace("<|end|><|user|>", "<|end|>\n<|user|>"), encoding="utf-8")
    assert lined.stat().st_size > 2 * PIECE_BYTES
    for path in (text, lined):
        hashes = work_out_plainly(MODEL_FILE, MODEL_FILE, path, 512, 1)["hashes"]
        done = [make_window(i, mark) for i, mark in enumerate(hashes)]
        plan = DivergencePlan(context_tokens=512, n_threads=1, parse_special=True)
        found = measure(MODEL_FILE, MODEL_FILE, path, plan=plan, done=done)  # each is passed over once seen to be same
        assert found.n_windows == len(hashes) > 60


@pytest.mark.engine
def test_nothing_diverges_from_itself(text: Path) -> None:
    found = measure(MODEL_FILE, MODEL_FILE, text)
    assert found.kl_mean.value == pytest.approx(0, abs=1e-6) and found.kl_max == pytest.approx(0, abs=1e-6)
    assert found.top_agreement.value == 1 and found.perplexity_ratio.value == 1
    assert found.n_tokens == 20 * 63 and found.setting is not None and found.setting.ended == "max_tokens"


@pytest.mark.engine
def test_fewer_bits_diverge_more(quants: dict[str, Path], text: Path) -> None:
    q8, q4, q2 = (measure(MODEL_FILE, quants[name], text) for name in ("Q8_0", "Q4_K_M", "Q2_K"))
    assert q8.kl_mean.high is not None and q4.kl_mean.low is not None and q4.kl_mean.high is not None
    assert q8.kl_mean.high < q4.kl_mean.low
    assert q2.kl_mean.low is not None and q4.kl_mean.high < q2.kl_mean.low
    assert q8.top_agreement.value > q4.top_agreement.value > q2.top_agreement.value
    assert q8.kl_p99.value < q4.kl_p99.value < q2.kl_p99.value
    assert q2.perplexity_ratio.low is not None and q2.perplexity_ratio.low > 1
    assert q8.perplexity_reference == q2.perplexity_reference


@pytest.mark.engine
def test_a_text_the_model_knows_nothing_of_is_named(text: Path) -> None:
    """The demonstration model has 768 tokens and its own small language."""
    plan = DivergencePlan(context_tokens=128, max_tokens=512, n_threads=1)
    assert "blindly" in measure(MODEL_FILE, MODEL_FILE, build_own_text(), plan=plan).warning
    assert measure(MODEL_FILE, MODEL_FILE, text).warning == ""


@pytest.mark.engine
def test_a_quantized_cache_costs_something_too(text: Path) -> None:
    plan = DivergencePlan(
        context_tokens=128,
        max_tokens=1280,
        n_threads=1,
        parse_special=True,
        candidate_kv_type_k="q4_0",
        candidate_kv_type_v="q4_0",
    )
    found = measure(MODEL_FILE, MODEL_FILE, text, plan=plan)
    assert found.kl_mean.value > 1e-5


@pytest.mark.engine
def test_a_run_goes_on_from_its_windows(quants: dict[str, Path], text: Path) -> None:
    whole = measure(MODEL_FILE, quants["Q4_K_M"], text)
    kept: list[str] = []

    def stop(window: WindowResult) -> None:
        kept.append(json.dumps(window.to_record()))
        if len(kept) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(MODEL_FILE, quants["Q4_K_M"], text, on_window=stop)
    told: list[int] = []
    done = [read_window(json.loads(line)) for line in kept]
    resumed = measure(MODEL_FILE, quants["Q4_K_M"], text, done=done, on_window=lambda w: told.append(w.index))
    assert told == list(range(7, 20))
    for name in ("kl_mean", "kl_median", "kl_p99", "perplexity_candidate", "top_agreement", "shift_rms", "n_tokens"):
        assert getattr(resumed, name) == getattr(whole, name)


@pytest.mark.engine
def test_windows_of_another_text_are_not_added(text: Path) -> None:
    found = measure_divergence(MODEL_FILE, MODEL_FILE, text, PLAN, done=[make_window(0, "other")])
    assert isinstance(found, DivergenceFailure) and found.reason is DivergenceReason.CHANGED


@pytest.mark.engine
def test_a_token_that_begins_texts_begins_every_window(quants: dict[str, Path], text: Path, tmp_path: Path) -> None:
    pair = []
    for name in ("F16", "Q4_K_M"):
        raw = bytearray(quants[name].read_bytes())
        at = raw.index(b"tokenizer.ggml.add_bos_token") + len(b"tokenizer.ggml.add_bos_token") + 4
        raw[at] = 1
        pair.append(tmp_path / f"{name}.gguf")
        pair[-1].write_bytes(raw)
    wanted, plain = (work_out_plainly(x, y, text, 128, 3) for x, y in (pair, (MODEL_FILE, quants["Q4_K_M"])))
    windows: list[WindowResult] = []
    plan = DivergencePlan(context_tokens=128, max_tokens=128 * 3, n_threads=1, parse_special=True)
    found = measure(*pair, text, plan=plan, on_window=windows.append)
    assert [w.tokens_hash for w in windows] == wanted["hashes"][:3] != plain["hashes"][:3]
    assert found.kl_mean.value == pytest.approx(wanted["kl_mean"], abs=1e-4)
    assert found.perplexity_candidate.value == pytest.approx(wanted["perplexities"][1], rel=1e-4)


@pytest.mark.engine
def test_memory_does_not_grow_with_the_windows_compared(text: Path) -> None:
    """Were the logits kept, the longer text would take another 80 MB."""
    short = text.read_text(encoding="utf-8")[:16_000]
    peaks = []
    for times in (1, 8):
        plan = DivergencePlan(context_tokens=128, n_threads=1, parse_special=True)
        found = measure(MODEL_FILE, MODEL_FILE, short * times, plan=plan)
        assert found.setting is not None and found.setting.ended == "text"
        assert found.setting.text_bytes == 16_000 * times
        peaks.append(found.setting.peak_bytes)
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.engine
def test_memory_does_not_grow_with_the_text_read(text: Path, tmp_path: Path) -> None:
    """The same, with windows only passed over: the longer text alone is 4 MB, its tokens as a list 40 or more."""
    peaks = []
    for times in (1, 30):
        path = tmp_path / "long.txt"
        path.write_text(text.read_text(encoding="utf-8") * times, encoding="utf-8")
        with EngineChild(CHILD_COMMAND) as child:
            ask(child, list_open_params(MODEL_FILE, MODEL_FILE, DivergencePlan(n_threads=1)))
            ask(child, {"kind": "text", "path": str(path), "parse_special": True})
            n_windows = 0
            while "end" not in ask(child, {"kind": "window", "compute": False}):
                n_windows += 1
            assert n_windows * 512 * 6 > path.stat().st_size / 2
            peaks.append(ask(child, {"kind": "memory"})["peak"])
    assert peaks[1] < 1.1 * peaks[0]


def ask(child: EngineChild, question: dict[str, Any]) -> dict[str, Any]:
    reply = child.ask(question)
    assert isinstance(reply, dict), reply
    return reply


@pytest.mark.engine
def test_time_ends_a_run_between_windows(text: Path) -> None:
    plan = DivergencePlan(context_tokens=128, max_seconds=1e-6, n_threads=1, parse_special=True)
    found = measure(MODEL_FILE, MODEL_FILE, text, plan=plan)
    assert found.n_windows == 1 and found.kl_mean.stderr is None
    assert found.setting is not None and found.setting.ended == "max_seconds"


@pytest.mark.engine
def test_other_vocabularies_are_refused(tmp_path: Path, text: Path) -> None:
    raw = MODEL_FILE.read_bytes()
    at = raw.index(b"<|user|>", raw.index(b"tokenizer.ggml.tokens"))
    other = tmp_path / "other.gguf"
    other.write_bytes(raw[:at] + b"<|usex|>" + raw[at + 8 :])
    found = measure_divergence(MODEL_FILE, other, text, PLAN)
    assert isinstance(found, DivergenceFailure) and found.reason is DivergenceReason.VOCABULARY
    assert "768 tokens" in found.message


@pytest.mark.engine
@pytest.mark.parametrize(
    ("said", "plan", "reason", "words"),
    [
        ("Too short.", PLAN, DivergenceReason.TOO_SHORT, "longer text"),
        ("", PLAN, DivergenceReason.TOO_SHORT, "0 whole windows"),
        ("long " * 9000, DivergencePlan(context_tokens=4096), DivergenceReason.CONTEXT, "trained for"),
    ],
)
def test_unfit_texts_are_refused(said: str, plan: DivergencePlan, reason: DivergenceReason, words: str) -> None:
    found = measure_divergence(MODEL_FILE, MODEL_FILE, said, plan)
    assert isinstance(found, DivergenceFailure) and found.reason is reason and words in found.message


@pytest.mark.engine
def test_a_damaged_file_is_a_failure_with_its_reason(tmp_path: Path, text: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(MODEL_FILE.read_bytes()[:200_000])
    found = measure_divergence(MODEL_FILE, broken, text, PLAN)
    assert isinstance(found, DivergenceFailure) and found.reason is DivergenceReason.ENGINE
    assert "candidate" in found.message


def test_files_and_texts_are_looked_at_before_any_engine(tmp_path: Path) -> None:
    wrong = tmp_path / "latin.txt"
    wrong.write_bytes("Grüße, ".encode() * 200_000 + "Grüße".encode("latin-1"))
    never = (sys.executable, "-c", "raise SystemExit('started')")
    found = measure_divergence(MODEL_FILE, MODEL_FILE, wrong, command=never)
    assert isinstance(found, DivergenceFailure) and found.reason is DivergenceReason.NOT_UTF8
    assert f"byte {9 * 200_000 + 2:,}" in found.message and "latin.txt" in found.message
    found = measure_divergence(MODEL_FILE, tmp_path / "none.gguf", "x", command=never)
    assert isinstance(found, DivergenceFailure) and found.reason is DivergenceReason.NO_FILE
    assert "candidate" in found.message
    found = measure_divergence(MODEL_FILE, MODEL_FILE, "x", DivergencePlan(memory_bytes=1000), command=never)
    assert isinstance(found, DivergenceFailure) and found.reason is DivergenceReason.NO_ROOM
    long = tmp_path / "long.txt"
    with long.open("wb") as file:
        file.truncate(65 * 1024**2)  # sparse: no bytes are written
    found = measure_divergence(MODEL_FILE, MODEL_FILE, long, command=never)
    assert isinstance(found, DivergenceFailure) and found.reason is DivergenceReason.TOO_LONG


def test_one_file_twice_needs_its_room_once(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-0000{i}-of-00002.gguf" for i in (1, 2)]
    for part in parts:
        part.write_bytes(b"x" * 1000)
    assert find_needed_bytes(parts[0], parts[0]) - find_needed_bytes(parts[0], MODEL_FILE) == -MODEL_FILE.stat().st_size


DYING = """
import json, os, sys
window = {"tokens_hash": "t", "n_tokens": 63, "nll_reference": 1.0, "nll_candidate": 1.0, "kl_sum": 1.0,
          "kl_squares": 1.0, "kl_max": 1.0, "n_agree": 60, "shift_sum": 0.0, "shift_squares": 0.0, "kl_bins": [[1, 63]],
          "seconds": 0.1}
n = 0
for line in sys.stdin:
    kind = json.loads(line)["kind"]
    n += kind == "window"
    if n > 3:
        sys.stderr.write("ggml.c:12: GGML_ASSERT(false) failed\\n")
        sys.stderr.flush()
        os.abort()
    print(json.dumps({"ok": window if kind == "window" else {}}), flush=True)
"""


def test_a_native_abort_is_a_failure_that_keeps_its_windows(text: Path) -> None:
    told: list[WindowResult] = []
    found = measure_divergence(
        MODEL_FILE, MODEL_FILE, text, PLAN, on_window=told.append, command=(sys.executable, "-c", DYING)
    )
    assert isinstance(found, DivergenceFailure) and found.reason is DivergenceReason.ENGINE
    assert "signal 6" in found.message and "GGML_ASSERT" in found.message
    assert [w.index for w in found.windows] == [0, 1, 2] and list(found.windows) == told


@pytest.mark.parametrize(
    "wrong",
    [
        {"context_tokens": 8},
        {"max_tokens": 600},
        {"max_seconds": 0},
        {"n_threads": 0},
        {"candidate_kv_type_k": "q9"},
    ],
)
def test_plans_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((BadInputError, LookupError)):
        DivergencePlan(**wrong)


def test_pieces_are_the_text_again(tmp_path: Path) -> None:
    texts = [
        "line one\nline two\n\n  indented\n" * 9000,
        "word " * 60_000,
        "x" * (5 * PIECE_BYTES + 3),
        "漢字" * 100_000,
        "\n" * 200_000,
        "",
        "\ufeffbegins with a mark",
    ]
    for text in texts:
        path = tmp_path / "text.txt"
        path.write_text(text, encoding="utf-8")
        pieces = list(read_pieces(str(path)))
        assert b"".join(pieces).decode() == text.removeprefix("\ufeff")
        for piece in pieces:
            piece.decode()  # cut between letters
            assert len(piece) <= 5 * PIECE_BYTES
        assert check_text(path).n_bytes == len(text.encode())


def test_a_piece_ends_where_no_tokenizer_joins() -> None:
    assert find_cut(b"one two\nthree four") == len(b"one two\n")
    assert find_cut(b"one two\n\n  three") == len(b"one")  # spaces after a line end may belong to one token with it
    assert find_cut(b"one") == 0


def make_window(index: int, mark: str) -> WindowResult:
    return WindowResult(index, mark, 255, 1.0, 1.0, 0.0, 0.0, 0.0, 255, 0.0, 0.0, ((-10_000, 255),), 0.1)
