"""What is asked of the engine: context, users, batch sizes, cache types."""

from __future__ import annotations

from dataclasses import dataclass

from sizing.errors import BadInputError
from sizing.quants import GgmlType, find_kv_type

MAX_TOKENS = 2**31 - 1
MAX_PARALLEL = 256  # LLAMA_MAX_SEQ in llama.cpp's llama-cparams.h


@dataclass(frozen=True, slots=True)
class Workload:
    """One way to run a model.

    `context_tokens` is what each of the `n_parallel` slots can hold, so the engine's own context (`-c`) is
    `n_ctx_tokens`. Slots are separate ("split") unless `kv_unified`, where all share one pool of the same size.
    `n_batch` and `n_ubatch` are llama.cpp's logical and physical batch in tokens. `swa_full` False windows the
    cache of sliding-window layers, as llama-server does.
    """

    context_tokens: int
    n_parallel: int = 1
    n_ubatch: int = 512
    n_batch: int = 2048
    kv_type_k: str = "f16"
    kv_type_v: str = "f16"
    flash_attention: bool = True
    kv_unified: bool = False
    swa_full: bool = False

    def __post_init__(self) -> None:
        for name, top in (
            ("context_tokens", MAX_TOKENS),
            ("n_parallel", MAX_PARALLEL),
            ("n_ubatch", 2**20),
            ("n_batch", 2**20),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= top:
                raise BadInputError(f"{name} wants a whole number from 1 to {top:,}, got {value!r}")
        if find_kv_type(self.kv_type_v).block_elements > 1 and not self.flash_attention:
            raise BadInputError(
                f"llama.cpp needs flash attention for a quantized V cache ({self.kv_type_v}); "
                "turn flash attention on or use f16 for V"
            )
        find_kv_type(self.kv_type_k)

    @property
    def n_ctx_tokens(self) -> int:
        """llama.cpp's `-c`: the tokens of all slots together."""
        return self.context_tokens * self.n_parallel

    @property
    def type_k(self) -> GgmlType:
        """Storage of the K cache."""
        return find_kv_type(self.kv_type_k)

    @property
    def type_v(self) -> GgmlType:
        """Storage of the V cache."""
        return find_kv_type(self.kv_type_v)
