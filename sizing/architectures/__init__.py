"""Tensor tables by GGUF architecture. Importing this package registers them all."""

from __future__ import annotations

from sizing.architectures import deepseek4 as deepseek4
from sizing.architectures import dense as dense
from sizing.architectures import gemma4 as gemma4
from sizing.architectures import hybrid as hybrid
from sizing.architectures import latent as latent
from sizing.architectures import moe as moe
from sizing.architectures.base import ARCHITECTURES, Architecture, KeyValue, TensorInfo

__all__ = ["ARCHITECTURES", "Architecture", "KeyValue", "TensorInfo"]
