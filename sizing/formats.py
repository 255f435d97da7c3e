"""Weight formats of engines that do not read GGUF: bits, scales, and which matrices they leave alone."""

from __future__ import annotations

from dataclasses import dataclass

from sizing.errors import UnknownNameError
from sizing.modules import Module, Role

FULL_BITS = 16
"""Bits of a value that is not quantized: BF16 or FP16."""

LAYERS_ONLY = frozenset({Role.LINEAR, Role.EXPERT})
"""What nearly every recipe quantizes: the layers' matrices, not the embedding, the head, routers or norms."""


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How a format stores a matrix of n_in x n_out.

    `bits` per value; `group_size` values along the input share `group_bits` of scale (and zero point), 0 for none;
    `row_bits` more for each output. `quantizes` names the roles; all else stays in 16 bits. `loss_quant` is the name
    under which the catalog holds published losses of it, None where nobody published any. `head_bits` are those of the
    output head where it is stored in others than the layers, 0 where it is not.
    """

    name: str
    label: str
    bits: float
    source_url: str
    group_size: int = 0
    group_bits: float = 0.0
    row_bits: int = 0
    quantizes: frozenset[Role] = LAYERS_ONLY
    loss_quant: str | None = None
    head_bits: float = 0.0

    def stores(self, module: Module) -> bool:
        """Whether this module is kept in the format, rather than in 16 bits."""
        return module.role in self.quantizes or (module.role is Role.HEAD and self.head_bits > 0)

    @property
    def whole_groups(self) -> bool:
        """Whether kernels refuse a rank whose inputs are not whole groups, as with AWQ, GPTQ and block FP8."""
        return self.group_size >= 32 and Role.LINEAR in self.quantizes and self.bits in (4, 8) and not self.is_online

    @property
    def is_online(self) -> bool:
        """Whether the engine quantizes a 16-bit checkpoint while it loads, so that any split is whole."""
        return self.name in ("NF4", "NF4-single", "LLM.int8")

    def count_bytes(self, module: Module, n_ranks: int = 1) -> int:
        """Bytes of one layer's worth of a module on one of `n_ranks` tensor-parallel ranks.

        A row-sharded matrix whose rank's inputs do not fill whole groups still stores whole groups.
        """
        return sum(self.count_parts(module, *module.rank_shape(n_ranks)))

    def count_parts(self, module: Module, n_in: int, n_out: int) -> tuple[int, int]:
        """Bytes of a module's values and of its scales, were each of its stacked matrices `n_in` x `n_out`."""
        n_rows = n_out * module.n_stacked
        if not self.stores(module):
            return n_in * n_rows * FULL_BITS // 8, 0
        if module.role is Role.HEAD and self.head_bits:
            return round(n_in * n_rows * self.head_bits / 8), 0
        groups = -(-n_in // self.group_size) * n_rows if self.group_size else 0
        return round(n_in * n_rows * self.bits / 8), round((groups * self.group_bits + n_rows * self.row_bits) / 8)


_VLLM = "https://docs.vllm.ai/en/latest/features/quantization/"

FORMATS: dict[str, WeightFormat] = {
    f.name: f
    for f in (
        WeightFormat("BF16", "BF16, not quantized", 16, "https://arxiv.org/abs/1905.12322", quantizes=frozenset()),
        WeightFormat("FP8", "FP8 E4M3, a scale per output", 8, _VLLM, row_bits=32, loss_quant="FP8"),
        WeightFormat(
            "FP8-block",
            "FP8 E4M3, a scale per block of 128 x 128",
            8,
            "https://arxiv.org/abs/2412.19437",
            128,
            32 / 128,
            loss_quant="FP8",  # measured with one scale a tensor, which is coarser
        ),
        WeightFormat("INT8", "INT8 W8A8, a scale per output", 8, _VLLM, row_bits=32),
        WeightFormat("AWQ", "AWQ 4-bit, groups of 128", 4, "https://arxiv.org/abs/2306.00978", 128, 20),
        WeightFormat("GPTQ", "GPTQ 4-bit, groups of 128", 4, "https://arxiv.org/abs/2210.17323", 128, 20),
        WeightFormat("GPTQ-8bit", "GPTQ 8-bit, groups of 128", 8, "https://arxiv.org/abs/2210.17323", 128, 24),
        WeightFormat(
            "W4A16",
            "4-bit, groups of 128 without zero points (compressed-tensors)",
            4,
            _VLLM,
            128,
            16,
            loss_quant="GPTQ",  # what llm-compressor makes of it is GPTQ
        ),
        WeightFormat("W4A16-g32", "4-bit, groups of 32 (compressed-tensors)", 4, _VLLM, 32, 16),
        WeightFormat(
            "MXFP4",
            "MXFP4 experts, as published",
            4,
            "https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf",
            32,
            8,
            quantizes=frozenset({Role.EXPERT}),
        ),
        WeightFormat("NVFP4", "NVFP4, groups of 16", 4, "https://arxiv.org/abs/2509.25149", 16, 8),
        WeightFormat(
            "NF4", "bitsandbytes NF4, double quantization", 4, "https://arxiv.org/abs/2305.14314", 64, 8 + 32 / 256
        ),
        WeightFormat(
            "NF4-single", "bitsandbytes NF4, single quantization", 4, "https://arxiv.org/abs/2305.14314", 64, 32
        ),
        WeightFormat("LLM.int8", "bitsandbytes INT8", 8, "https://arxiv.org/abs/2208.07339", row_bits=32),
    )
}
"""Formats by name. Scales and zero points are those of the recipes' usual checkpoints."""

EXL2_BITS = (2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 8.0)
EXL3_BITS = (2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 8.0)
"""Averages over the layers' matrices, scales included, that published conversions have; any in between can be made."""

EXL2_HEAD_BITS, EXL3_HEAD_BITS = 6.3, 6.0
"""The converters' default for the output head, 6, which EXL2 makes of mixed widths, "about 6.3 bits" (exllamav2 and
exllamav3 doc/convert.md, `head_bits`)."""

MLX_ROLES = LAYERS_ONLY | {Role.EMBEDDING, Role.HEAD}
"""mlx.nn.quantize takes every Linear and every Embedding (https://ml-explore.github.io/mlx/build/html/python/nn.html)."""

FORMATS |= {
    f.name: f
    for f in (
        *(
            WeightFormat(
                f"EXL2-{bits}",
                f"EXL2, {bits} bits per weight, head {EXL2_HEAD_BITS}",
                bits,
                "https://github.com/turboderp-org/exllamav2/blob/master/doc/convert.md",
                head_bits=EXL2_HEAD_BITS,
            )
            for bits in EXL2_BITS
        ),
        *(
            WeightFormat(
                f"EXL3-{bits}",
                f"EXL3, {bits} bits per weight, head {EXL3_HEAD_BITS:.0f}",
                bits,
                "https://github.com/turboderp-org/exllamav3/blob/master/doc/convert.md",
                row_bits=16,
                head_bits=EXL3_HEAD_BITS,
            )
            for bits in EXL3_BITS
        ),
        *(
            WeightFormat(
                f"MLX-{bits}bit",
                f"MLX {bits}-bit, groups of 64",
                bits,
                "https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/convert.py",
                64,
                32,
                quantizes=MLX_ROLES,
            )
            for bits in (3, 4, 5, 6, 8)
        ),
    )
}


def find_format(name: str) -> WeightFormat:
    """The format called `name`. Raises UnknownNameError with near names."""
    found = FORMATS.get(name) or next((f for f in FORMATS.values() if f.name.casefold() == name.casefold()), None)
    if found is None:
        raise UnknownNameError("weight format", name, FORMATS)
    return found
