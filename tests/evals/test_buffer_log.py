"""Lines that llama.cpp logged on real accelerators, as their owners published them."""

from __future__ import annotations

import pytest

from evals.buffer_log import LoggedBuffer, is_buffer_of, read_buffers, read_copies, read_parts
from sizing.memory import Parts
from sizing.units import MIB

# https://github.com/ggml-org/llama.cpp/pull/11397 (comment of 2025-03-04): experts on the host, a file in parts
EXPERTS_ON_HOST = """
load_tensors: offloaded 62/62 layers to GPU
load_tensors:        CUDA0 model buffer size =  9460.52 MiB
load_tensors:   CPU_Mapped model buffer size = 45358.94 MiB
load_tensors:   CPU_Mapped model buffer size = 47124.64 MiB
load_tensors:   CPU_Mapped model buffer size = 14105.06 MiB
"""

# https://github.com/ggml-org/llama.cpp/pull/6122 (comment): two cards, batches pipelined
TWO_CARDS = """
llama_kv_cache_init:      CUDA0 KV buffer size =  1536.00 MiB
llama_kv_cache_init:      CUDA1 KV buffer size =  3584.00 MiB
llama_new_context_with_model: KV self size  = 5120.00 MiB, K (f16): 2560.00 MiB, V (f16): 2560.00 MiB
llama_new_context_with_model:  CUDA_Host  output buffer size =     1.95 MiB
llama_new_context_with_model: pipeline parallelism enabled (n_copies=4)
llama_new_context_with_model:      CUDA0 compute buffer size =   672.01 MiB
"""

# https://github.com/Anbeeld/beellama.cpp/issues/7: buffers reserved a second time, larger
RESERVED_TWICE = """
2.11.005.504 I sched_reserve:      CUDA1 compute buffer size =   144.64 MiB
2.11.005.505 I sched_reserve:  CUDA_Host compute buffer size =    11.54 MiB
2.11.005.508 I sched_reserve: reserve took 88.65 ms, sched copies = 4
2.12.071.817 I sched_reserve: reserving ...
2.12.086.615 I sched_reserve:      CUDA0 compute buffer size =    46.79 MiB
2.12.086.620 I sched_reserve:      CUDA1 compute buffer size =   146.41 MiB
2.12.086.621 I sched_reserve:  CUDA_Host compute buffer size =    17.82 MiB
"""

# https://github.com/aleksandrreva-eng/llm-test-bench/blob/46254ff27eb47e955733aa69a5a26bc851d95330/
# check_memory_metrics.py: Qwen3.5-0.8B on an RTX 5060 Ti, llama.cpp b10976
HYBRID = """
0.00.979.528 I load_tensors:   CPU_Mapped model buffer size =   257.66 MiB
0.00.979.529 I load_tensors:        CUDA0 model buffer size =   763.78 MiB
0.01.227.385 I llama_context:  CUDA_Host  output buffer size =     3.79 MiB
0.01.227.601 I llama_kv_cache:      CUDA0 KV buffer size =    24.00 MiB
0.01.230.153 I llama_memory_recurrent:      CUDA0 RS buffer size =    77.06 MiB
0.01.236.047 I sched_reserve:      CUDA0 compute buffer size =    42.58 MiB
0.01.236.051 I sched_reserve:  CUDA_Host compute buffer size =     6.02 MiB
"""

# https://github.com/ggml-org/llama.cpp/pull/27880: on Metal the host's one buffer is told by two backends
METAL = """
0.00.618.526 I sched_reserve:       MTL0 compute buffer size =  2161.01 MiB
0.00.618.528 I sched_reserve:        CPU compute buffer size =   397.05 MiB
0.00.618.529 I sched_reserve:        CPU compute buffer size =   397.05 MiB
"""

# https://github.com/ggml-org/llama.cpp/issues/27680: colours, and a cache of no layers beside one with a window
COLOURED = (
    "\x1b[34m1.14.608.918\x1b[0m \x1b[32mI \x1b[0mllama_context:  CUDA_Host  output buffer size =     0.49 MiB\n"
    "\x1b[34m1.14.609.487\x1b[0m \x1b[32mI \x1b[0mllama_kv_cache: size =    0.00 MiB ( 64000 cells,   0 layers)\n"
    "\x1b[34m1.14.610.021\x1b[0m \x1b[32mI \x1b[0mllama_kv_cache:      CUDA0 KV buffer size =   182.75 MiB\n"
)


def mib(figure: float) -> int:
    return round(figure * MIB)


@pytest.mark.parametrize(
    ("log", "buffers"),
    [
        (EXPERTS_ON_HOST, [("CUDA0", "model", 9460.52), ("CPU_Mapped", "model", 45358.94 + 47124.64 + 14105.06)]),
        (
            TWO_CARDS,
            [
                ("CUDA0", "KV", 1536.0),
                ("CUDA1", "KV", 3584.0),
                ("CUDA_Host", "output", 1.95),
                ("CUDA0", "compute", 672.01),
            ],
        ),
        (
            RESERVED_TWICE,
            [("CUDA1", "compute", 146.41), ("CUDA_Host", "compute", 17.82), ("CUDA0", "compute", 46.79)],
        ),
        (METAL, [("MTL0", "compute", 2161.01), ("CPU", "compute", 397.05)]),
        (COLOURED, [("CUDA_Host", "output", 0.49), ("CUDA0", "KV", 182.75)]),
        ("nothing of the kind\n", []),
    ],
)
def test_every_buffer_is_read_once(log: str, buffers: list[tuple[str, str, float]]) -> None:
    found = {(b.name, b.part): b.n_bytes for b in read_buffers(log)}
    assert found.keys() == {(name, part) for name, part, _ in buffers}
    for name, part, size in buffers:
        assert found[name, part] == pytest.approx(mib(size), abs=2)


def test_a_line_is_a_value() -> None:
    assert read_buffers(HYBRID)[0] == LoggedBuffer("CPU_Mapped", "model", mib(257.66))


@pytest.mark.parametrize(("log", "copies"), [(TWO_CARDS, 4), (RESERVED_TWICE, 4), (HYBRID, 1)])
def test_pipelining_shows_in_the_number_of_copies(log: str, copies: int) -> None:
    assert read_copies(log) == copies


@pytest.mark.parametrize(
    ("buffer", "device", "is_its_own"),
    [
        ("CUDA0", "CUDA0", True),
        ("CUDA10", "CUDA1", False),
        ("CUDA_Host", "CUDA0", False),
        ("MTL0_Mapped", "MTL0", True),
        ("CPU_Mapped", "CUDA0", False),
        ("RPC0[127.0.0.1:50052]", "RPC0[127.0.0.1:50052]", True),
        ("RPC0[127.0.0.1:50052]", "RPC0[127.0.0.1:50053]", False),
    ],
)
def test_a_buffer_belongs_to_one_device(buffer: str, device: str, is_its_own: bool) -> None:
    assert is_buffer_of(buffer, device) is is_its_own


def test_parts_of_a_hybrid_from_its_log_alone() -> None:
    host, card = read_parts(HYBRID, None, ["CUDA0"])
    assert host == Parts(mib(257.66), 0, 0, mib(6.02), mib(3.79))
    assert card == Parts(mib(763.78), mib(24.0), mib(77.06), mib(42.58), 0)


def test_exact_bytes_are_taken_where_they_are_known() -> None:
    breakdown = {"CUDA0": [800_876_544, 105_970_000, 44_650_000], "CPU_Mapped": [270_176_256, 0, 0]}
    breakdown["CUDA_Host"] = [0, 0, 6_312_000]
    host, card = read_parts(HYBRID, breakdown, ["CUDA0"])
    assert host == Parts(270_176_256, 0, 0, 6_312_000, mib(3.79))
    state = mib(77.06)  # the breakdown does not tell it from the cache
    assert card == Parts(800_876_544, 105_970_000 - state, state, 44_650_000, 0)
