"""What the reader knows about one model type of the Hub, and the parts that many types share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from catalog.config_fields import Quotient, Same
from catalog.config_shapes import Part, read_ffn, read_rope, read_widths, refuse_llama3_rope

Values = Mapping[str, object]

HEADS = Same("num_attention_heads")
RATIO = Quotient("hidden_size", "num_attention_heads")
RATIO_MHA: Values = {"num_key_value_heads": HEADS, "head_dim": RATIO}
RATIO_GQA8: Values = {"num_key_value_heads": 8, "head_dim": RATIO}
UNBIASED: Values = {"attention_bias": False}
UNBIASED_ALL: Values = {"attention_bias": False, "mlp_bias": False}


@dataclass(frozen=True, slots=True)
class ModelType:
    """How the config.json of one model type is read.

    `source` is the folder of its class in transformers (src/transformers/models), or who else says so. `defaults` are
    what the class fills in where the file leaves a key out; widths that a file always states have none. `fixed` is what
    the tensor table takes for granted; a config that says otherwise is refused.
    """

    architecture: str
    source: str
    parts: tuple[Part, ...]
    defaults: Values = field(default_factory=dict)
    fixed: Values = field(default_factory=dict)


def make_dense(architecture: str, source: str, defaults: Values, fixed: Values, *more: Part) -> ModelType:
    """A decoder with one dense feed-forward width and the usual rotation."""
    parts = (read_widths, read_ffn, read_rope, refuse_llama3_rope, *more)
    return ModelType(architecture, source, parts, defaults, fixed)
