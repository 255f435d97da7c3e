"""Quantizations and cache types: GGML block sizes, llama.cpp file types.

Block sizes are physics, not data: elements per block and bytes per block as laid out in
https://github.com/ggml-org/llama.cpp/blob/b6500/ggml/src/ggml-common.h (`block_q4_K` and its kin).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sizing.errors import BadInputError, UnknownNameError


@dataclass(frozen=True, slots=True)
class GgmlType:
    """One GGML tensor type: `block_elements` values stored in `block_bytes` bytes."""

    name: str
    block_elements: int
    block_bytes: int

    @property
    def bits_per_element(self) -> float:
        """Storage per value, in bits."""
        return 8 * self.block_bytes / self.block_elements

    def row_bytes(self, n_elements: int) -> int:
        """Bytes of one row of `n_elements` values. Raises BadInputError unless the row is whole blocks."""
        if n_elements % self.block_elements:
            raise BadInputError(
                f"{self.name} stores blocks of {self.block_elements} values; a row of {n_elements} is not whole blocks"
            )
        return n_elements // self.block_elements * self.block_bytes


_TYPES = (
    GgmlType("f32", 1, 4),
    GgmlType("f16", 1, 2),
    GgmlType("bf16", 1, 2),
    GgmlType("q8_0", 32, 34),
    GgmlType("q4_0", 32, 18),
    GgmlType("q4_1", 32, 20),
    GgmlType("q5_0", 32, 22),
    GgmlType("q5_1", 32, 24),
    GgmlType("q2_K", 256, 84),
    GgmlType("q3_K", 256, 110),
    GgmlType("q4_K", 256, 144),
    GgmlType("q5_K", 256, 176),
    GgmlType("q6_K", 256, 210),
    GgmlType("iq1_s", 256, 50),
    GgmlType("iq1_m", 256, 56),
    GgmlType("iq2_xxs", 256, 66),
    GgmlType("iq2_xs", 256, 74),
    GgmlType("iq2_s", 256, 82),
    GgmlType("iq3_xxs", 256, 98),
    GgmlType("iq3_s", 256, 110),
    GgmlType("iq4_nl", 32, 18),
    GgmlType("iq4_xs", 256, 136),
    GgmlType("mxfp4", 32, 17),
    GgmlType("i32", 1, 4),  # routing tables; never chosen by a quantization
)
GGML_TYPES = {t.name: t for t in _TYPES}

KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
"""Types llama.cpp accepts for the K and V cache (common/arg.cpp, `kv_cache_types`)."""


@dataclass(frozen=True, slots=True)
class Quant:
    """A llama.cpp file type: a recipe that gives every tensor a GGML type.

    `ftype` is the number in llama.h (`enum llama_ftype`). `nominal_bits_per_weight` orders quants and labels
    them; sizes never come from it. `wants_imatrix`: llama.cpp asks for an importance matrix to make it.
    """

    name: str
    ftype: int
    nominal_bits_per_weight: float
    wants_imatrix: bool = False

    @property
    def family(self) -> str:
        """'K', 'IQ', 'legacy', 'float' or 'mxfp'."""
        if self.name in ("F16", "BF16"):
            return "float"
        if self.name.startswith("IQ"):
            return "IQ"
        if self.name.startswith("MXFP"):
            return "mxfp"
        return "K" if "_K" in self.name else "legacy"


_QUANTS = (
    Quant("F16", 1, 16.0),
    Quant("BF16", 32, 16.0),
    Quant("Q8_0", 7, 8.5),
    Quant("Q6_K", 18, 6.56),
    Quant("Q5_1", 9, 6.0),
    Quant("Q5_K_M", 17, 5.68),
    Quant("Q5_K_S", 16, 5.53),
    Quant("Q5_0", 8, 5.5),
    Quant("Q4_1", 3, 5.0),
    Quant("Q4_K_M", 15, 4.85),
    Quant("Q4_K_S", 14, 4.58),
    Quant("Q4_0", 2, 4.5),
    Quant("IQ4_NL", 25, 4.5),
    Quant("IQ4_XS", 30, 4.25),
    Quant("MXFP4", 38, 4.25),
    Quant("Q3_K_L", 13, 4.27),
    Quant("Q3_K_M", 12, 3.91),
    Quant("IQ3_M", 27, 3.66),
    Quant("Q3_K_S", 11, 3.5),
    Quant("IQ3_S", 26, 3.44),
    Quant("IQ3_XS", 22, 3.3, True),
    Quant("IQ3_XXS", 23, 3.06, True),
    Quant("Q2_K", 10, 2.96),
    Quant("Q2_K_S", 21, 2.79, True),
    Quant("IQ2_M", 29, 2.7, True),
    Quant("IQ2_S", 28, 2.5, True),
    Quant("IQ2_XS", 20, 2.31, True),
    Quant("IQ2_XXS", 19, 2.06, True),
    Quant("IQ1_M", 31, 1.75, True),
    Quant("IQ1_S", 24, 1.56, True),
)
QUANTS = {q.name: q for q in _QUANTS}


def find_quant(name: str) -> Quant:
    """The quantization called `name`, whatever its case; raises UnknownNameError with near names."""
    quant = QUANTS.get(name.upper())
    if quant is None:
        raise UnknownNameError("quant", name, QUANTS)
    return quant


MAX_LABEL_CHARACTERS = 64
"""Longest name of a quantization; names of files' own mixes are at most about half of it."""

_LABEL = re.compile(r"[A-Za-z0-9._+() -]+")


def is_label(text: str) -> bool:
    """Whether a text may name a quantization: a recipe, or a mix that only a file has (`UD-Q4_K_XL`)."""
    if text in QUANTS:
        return True
    return len(text) <= MAX_LABEL_CHARACTERS and text == text.strip() and _LABEL.fullmatch(text) is not None


def read_label(text: str) -> str:
    """A quantization as the catalog writes it: a recipe whatever its case, else a name that a file may have.

    Raises UnknownNameError, with near names, for a text that is neither.
    """
    known = QUANTS.get(text.strip().upper())
    if known is not None:
        return known.name
    if not is_label(text):
        raise UnknownNameError("quant", text, QUANTS)
    return text


def find_quant_class(quant: str) -> str:
    """What speed tells apart: 'coarse' (8 bits and more), 'looked up' (IQ, table values) or 'fine' (others)."""
    recipe = quant.upper().removeprefix("UD-").removeprefix("I1-")  # how publishers mark mixes of their own
    if recipe.startswith(("F16", "BF16", "Q8_")):
        return "coarse"
    return "looked up" if recipe.startswith("IQ") else "fine"


def find_kv_type(name: str) -> GgmlType:
    """The cache type called `name`; raises UnknownNameError listing what llama.cpp accepts."""
    folded = name.lower()
    if folded not in KV_TYPES:
        raise UnknownNameError("KV cache type", name, KV_TYPES)
    return GGML_TYPES[folded]
