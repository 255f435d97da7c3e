"""What classes of devices reach of their peak. Written by `python -m tools.fit_speed`: change that instead.

`sizing.throughput.SpeedFit` says what each is.
"""

from __future__ import annotations

DECODE_SHARE: dict[tuple[str, str], float] = {
    ("amd", "16 bit"): 0.85,
    ("amd", "8 bit"): 0.833,
    ("amd", "4 to 6 bit"): 0.802,
    ("amd", "3 bit"): 0.594,
    ("amd", "2 bit"): 0.401,
    ("amd unified", "16 bit"): 0.878,
    ("amd unified", "8 bit"): 0.874,
    ("amd unified", "4 to 6 bit"): 0.817,
    ("amd unified", "3 bit"): 0.619,
    ("amd unified", "2 bit"): 0.41,
    ("apple", "16 bit"): 0.941,
    ("apple", "8 bit"): 0.891,
    ("apple", "4 to 6 bit"): 0.812,
    ("apple", "3 bit"): 0.629,
    ("apple", "2 bit"): 0.425,
    ("cpu", "16 bit"): 0.595,
    ("cpu", "8 bit"): 0.586,
    ("cpu", "4 to 6 bit"): 0.588,
    ("cpu", "3 bit"): 0.544,
    ("cpu", "2 bit"): 0.534,
    ("cpu many", "16 bit"): 0.569,
    ("cpu many", "8 bit"): 0.557,
    ("cpu many", "4 to 6 bit"): 0.55,
    ("cpu many", "3 bit"): 0.541,
    ("cpu many", "2 bit"): 0.513,
    ("cuda", "16 bit"): 0.887,
    ("cuda", "8 bit"): 0.842,
    ("cuda", "4 to 6 bit"): 0.841,
    ("cuda", "3 bit"): 0.656,
    ("cuda", "2 bit"): 0.42,
    ("cuda hbm", "16 bit"): 0.589,
    ("cuda hbm", "8 bit"): 0.607,
    ("cuda hbm", "4 to 6 bit"): 0.596,
    ("cuda hbm", "3 bit"): 0.433,
    ("cuda hbm", "2 bit"): 0.292,
    ("cuda unified", "16 bit"): 0.924,
    ("cuda unified", "8 bit"): 0.894,
    ("cuda unified", "4 to 6 bit"): 0.891,
    ("cuda unified", "3 bit"): 0.645,
    ("cuda unified", "2 bit"): 0.435,
    ("intel unified", "16 bit"): 0.683,
    ("intel unified", "8 bit"): 0.662,
    ("intel unified", "4 to 6 bit"): 0.637,
    ("intel unified", "3 bit"): 0.477,
    ("intel unified", "2 bit"): 0.322,
}
DECODE_SHARE_UNKNOWN: dict[str, float] = {
    "16 bit": 0.754,
    "8 bit": 0.739,
    "4 to 6 bit": 0.703,
    "3 bit": 0.527,
    "2 bit": 0.355,
}
STEP_S: dict[str, float] = {
    "amd": 7.02e-05,
    "amd unified": 8.62e-05,
    "apple": 0.00011,
    "cpu": 3.12e-05,
    "cpu many": 0.000109,
    "cuda": 5.82e-05,
    "cuda hbm": 0.000102,
    "cuda unified": 7.08e-05,
    "intel unified": 0.000109,
}
STEP_S_UNKNOWN = 8.53e-05
CACHE_SHARE = 0.767
NO_FLASH = 0.119
SPARSE_SHARE = 0.864
SPARSE_STEP = 1.27
PREFILL_SHARE: dict[tuple[str, str], float] = {
    ("amd unified", "16 bit"): 0.147,
    ("amd unified", "8 bit"): 0.145,
    ("amd unified", "4 to 6 bit"): 0.143,
    ("amd unified", "3 bit"): 0.141,
    ("amd unified", "2 bit"): 0.144,
    ("apple", "16 bit"): 0.651,
    ("apple", "8 bit"): 0.642,
    ("apple", "4 to 6 bit"): 0.655,
    ("apple", "3 bit"): 0.627,
    ("apple", "2 bit"): 0.64,
    ("cpu", "16 bit"): 0.239,
    ("cpu", "8 bit"): 0.236,
    ("cpu", "4 to 6 bit"): 0.237,
    ("cpu", "3 bit"): 0.226,
    ("cpu", "2 bit"): 0.234,
    ("cuda", "16 bit"): 0.783,
    ("cuda", "8 bit"): 0.766,
    ("cuda", "4 to 6 bit"): 0.771,
    ("cuda", "3 bit"): 0.75,
    ("cuda", "2 bit"): 0.762,
    ("cuda hbm", "16 bit"): 0.33,
    ("cuda hbm", "8 bit"): 0.325,
    ("cuda hbm", "4 to 6 bit"): 0.327,
    ("cuda hbm", "3 bit"): 0.317,
    ("cuda hbm", "2 bit"): 0.324,
    ("cuda unified", "16 bit"): 0.298,
    ("cuda unified", "8 bit"): 0.289,
    ("cuda unified", "4 to 6 bit"): 0.298,
    ("cuda unified", "3 bit"): 0.287,
    ("cuda unified", "2 bit"): 0.292,
    ("cuda workstation", "16 bit"): 0.277,
    ("cuda workstation", "8 bit"): 0.269,
    ("cuda workstation", "4 to 6 bit"): 0.267,
    ("cuda workstation", "3 bit"): 0.263,
    ("cuda workstation", "2 bit"): 0.268,
}
PREFILL_SHARE_UNKNOWN: dict[str, float] = {
    "16 bit": 0.339,
    "8 bit": 0.333,
    "4 to 6 bit": 0.335,
    "3 bit": 0.325,
    "2 bit": 0.332,
}
PREFILL_SPARSE = 0.566
PREFILL_STEP_S = 0.000286
ATTENTION_SHARE = 0.362
STREAM_FACTOR = 1.46
HOP_S = 0.000233
SPREAD: dict[str, tuple[float, float]] = {
    "decode": (-0.152, 0.194),
    "sparse": (-0.206, 0.318),
    "prefill": (-0.343, 0.858),
}
N_ROWS: dict[str, dict[str, int]] = {
    "decode": {
        "amd": 61,
        "amd unified": 445,
        "apple": 72,
        "cpu": 75,
        "cpu many": 4,
        "cuda": 155,
        "cuda hbm": 6,
        "cuda unified": 40,
        "intel unified": 2,
    },
    "prefill": {
        "amd unified": 479,
        "apple": 18,
        "cpu": 68,
        "cuda": 87,
        "cuda hbm": 6,
        "cuda unified": 40,
        "cuda workstation": 8,
    },
}
N_DEVICES: dict[str, dict[str, int]] = {
    "decode": {
        "amd": 1,
        "amd unified": 2,
        "apple": 8,
        "cpu": 8,
        "cpu many": 1,
        "cuda": 14,
        "cuda hbm": 2,
        "cuda unified": 1,
        "intel unified": 1,
    },
    "prefill": {
        "amd unified": 1,
        "apple": 3,
        "cpu": 3,
        "cuda": 8,
        "cuda hbm": 2,
        "cuda unified": 1,
        "cuda workstation": 3,
    },
}
