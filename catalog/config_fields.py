"""Typed reading of a config.json that anybody may have written: every value is checked, nothing in it is run.

A value that is missing, of another type or absurd is a BadInputError that names the key, what was wanted and what came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sizing.errors import BadInputError

MAX_LAYERS = 512
MAX_WIDTH = 1 << 24
"""Largest width, count or vocabulary taken for meant; the largest published ones are below a million."""
MAX_TOKENS = 1 << 31
SHOWN_CHARS = 60
ALIASES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd",),
    "num_hidden_layers": ("n_layer", "n_layers"),
    "num_attention_heads": ("n_head",),
    "head_dim": ("attention_head_dim",),
    "intermediate_size": ("n_inner",),
    "max_position_embeddings": ("n_positions",),
}
"""Older names of keys, as the classes of transformers (`attribute_map`) and llama.cpp's `find_hparam` accept them."""


@dataclass(frozen=True, slots=True)
class Same:
    """A default that is another key's value."""

    key: str


@dataclass(frozen=True, slots=True)
class Quotient:
    """A default that is one key's value over another's, where the model type's own class divides so."""

    key: str
    by: str


def show(value: object) -> str:
    """A value from outside as short ASCII text, fit for an error."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length():,} bits"
    text = ascii(value) if isinstance(value, (str, int, float, type(None))) else type(value).__name__
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."


@dataclass(frozen=True, slots=True)
class Fields:
    """The keys of one config with the defaults of its model type; `where` is the path that errors name."""

    values: Mapping[str, object]
    defaults: Mapping[str, object] = field(default_factory=dict)
    where: str = ""

    def states(self, key: str) -> bool:
        """Whether the config itself gives the key a value."""
        return self.values.get(key) is not None

    def states_null(self, key: str) -> bool:
        """Whether the config writes the key as null."""
        return key in self.values and self.values[key] is None

    def find(self, *keys: str) -> object | None:
        """The first of these keys that has a value, else the default of the first that has one, else None.

        A key's older names count as the key.
        """
        for key in keys:
            for name in (key, *ALIASES.get(key, ())):
                if self.values.get(name) is not None:
                    return self.values[name]
        return next((self.defaults[key] for key in keys if self.defaults.get(key) is not None), None)

    def wrong(self, key: str, wanted: str, value: object) -> BadInputError:
        """The error for a key that holds what it should not, or nothing."""
        if value is None:
            return BadInputError(f"config.json: missing {self.where}{key}; wanted {wanted}")
        return BadInputError(f"config.json: {self.where}{key} wants {wanted}, got {show(value)}")

    def number(self, *keys: str, low: int = 1, high: int = MAX_WIDTH) -> int:
        """A whole number from `low` to `high`."""
        value = self.find(*keys)
        if isinstance(value, Same):
            return self.number(value.key, low=low, high=high)
        if isinstance(value, Quotient):
            return self._divide(keys[0], value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(keys[0], f"a whole number from {low} to {high}", value)
        return value

    def _divide(self, key: str, rule: Quotient) -> int:
        whole, parts = self.number(rule.key), self.number(rule.by)
        if whole % parts:
            raise BadInputError(
                f"config.json: missing {self.where}{key}, and {rule.key} {whole} is no multiple of {rule.by} {parts}"
            )
        return whole // parts

    def maybe_number(self, *keys: str, low: int = 1, high: int = MAX_WIDTH) -> int | None:
        """A whole number, or None where the config leaves it out or says null."""
        return None if self.find(*keys) is None else self.number(*keys, low=low, high=high)

    def real(self, *keys: str) -> float | None:
        """A finite number, or None where left out."""
        value = self.find(*keys)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e18 < value < 1e18:
            raise self.wrong(keys[0], "a number", value)
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false; false where neither the config nor its model type says."""
        value = self.find(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false", value)
        return value

    def word(self, *keys: str) -> str | None:
        """A text, or None where left out."""
        value = self.find(*keys)
        if value is not None and not isinstance(value, str):
            raise self.wrong(keys[0], "a text", value)
        return value

    def table(self, key: str) -> Fields:
        """A table within; empty where left out."""
        value = self.find(key)
        if value is None:
            return Fields({}, {}, f"{self.where}{key}.")
        if not isinstance(value, Mapping):
            raise self.wrong(key, "a table", value)
        return Fields(value, {}, f"{self.where}{key}.")

    def items(self, key: str) -> tuple[object, ...] | None:
        """A list of at most 4096 values, or None where left out."""
        value = self.find(key)
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or len(value) > 4096:
            raise self.wrong(key, "a list of at most 4096 values", value)
        return tuple(value)

    def words(self, key: str) -> tuple[str, ...] | None:
        """A list of texts, or None where left out."""
        found = self.items(key)
        if found is None:
            return None
        words = tuple(item for item in found if isinstance(item, str))
        if len(words) != len(found):
            raise self.wrong(key, "a list of texts", next(i for i in found if not isinstance(i, str)))
        return words

    def numbers(self, key: str, low: int = 0, high: int = MAX_WIDTH) -> tuple[int, ...] | None:
        """A list of whole numbers, or None where left out."""
        found = self.items(key)
        if found is None:
            return None
        out: list[int] = []
        for item in found:
            if isinstance(item, bool) or not isinstance(item, int) or not low <= item <= high:
                raise self.wrong(key, f"a list of whole numbers from {low} to {high}", item)
            out.append(item)
        return tuple(out)

    def one_number(self, key: str, low: int = 1) -> int:
        """A whole number, written once or once per layer and the same on all (Hunyuan writes lists)."""
        value = self.find(key)
        if not isinstance(value, (list, tuple)):
            return self.number(key, low=low)
        numbers = set(self.numbers(key, low=low) or ())
        if len(numbers) != 1:
            raise self.wrong(key, "one whole number for all layers", value)
        return numbers.pop()
