"""The pure core: what a model needs, where it goes, how fast it runs, whether it fits, which one to take.

The names stand in the order of the flow; a value made earlier never learns about anything made later.
"""

from sizing.specs import (  # isort: skip
    Attention,
    AttentionKind,
    FeedForward,
    Indexer,
    Latent,
    LayerGroup,
    ModelSpec,
    Recurrent,
    RecurrentKind,
)
from sizing.quants import GGML_TYPES, KV_TYPES, QUANTS, GgmlType, Quant, find_kv_type, find_quant  # isort: skip
from sizing.workload import Workload  # isort: skip
from sizing.hardware import Calibration, Device, DeviceKind, Machine  # isort: skip
from sizing.placement import Offload, Placement, place  # isort: skip
from sizing.memory import DeviceUse, MemoryEstimate, Parts, WeightBytes  # isort: skip
from sizing.throughput import Interval, SpeedEstimate  # isort: skip
from sizing.fit import Fit, Verdict  # isort: skip
from sizing.estimate import Estimate, estimate, find_largest_context  # isort: skip
from sizing.beside import PairEstimate, estimate_pair  # isort: skip
from sizing.recommend import Candidate, Needs, Option, Quality, QuantLoss, Ranker, Recommendation, RuledOut  # isort: skip
from sizing.solver import Asked, GivenUp, NoSolution, Solution, solve  # isort: skip
from sizing.inverse import HardwareAnswer, HardwareNeeds, MachineAnswer, find_hardware  # isort: skip

__all__ = [  # noqa: RUF022  (in the order of the flow)
    "ModelSpec",
    "LayerGroup",
    "Attention",
    "AttentionKind",
    "Latent",
    "Indexer",
    "Recurrent",
    "RecurrentKind",
    "FeedForward",
    "Quant",
    "QUANTS",
    "GgmlType",
    "GGML_TYPES",
    "KV_TYPES",
    "find_quant",
    "find_kv_type",
    "Workload",
    "Device",
    "DeviceKind",
    "Calibration",
    "Machine",
    "Offload",
    "Placement",
    "place",
    "WeightBytes",
    "Parts",
    "DeviceUse",
    "MemoryEstimate",
    "Interval",
    "SpeedEstimate",
    "Fit",
    "Verdict",
    "Estimate",
    "estimate",
    "find_largest_context",
    "PairEstimate",
    "estimate_pair",
    "Candidate",
    "Quality",
    "QuantLoss",
    "Needs",
    "Ranker",
    "Option",
    "Recommendation",
    "RuledOut",
    "Asked",
    "Solution",
    "NoSolution",
    "GivenUp",
    "solve",
    "HardwareNeeds",
    "HardwareAnswer",
    "MachineAnswer",
    "find_hardware",
]
