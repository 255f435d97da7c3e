"""The models of the catalog: who is there, and whether their shapes say what was published or measured elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.models import ModelCard, load_families
from sizing.architectures import ARCHITECTURES
from sizing.errors import DataFileError
from sizing.specs import AttentionKind, ModelSpec
from sizing.tensors import count_params

CARDS = {card.model_id: card for card in load_families()}
UNKNOWN_TO_LLAMA_CPP = {"mllama"}  # Llama 3.2 Vision: no such architecture in llama.cpp's src/llama-arch.cpp

NAMED = """
meta-llama/Llama-3.1-8B-Instruct meta-llama/Llama-3.1-70B-Instruct meta-llama/Llama-3.1-405B-Instruct
meta-llama/Llama-3.2-1B-Instruct meta-llama/Llama-3.2-3B-Instruct meta-llama/Llama-3.2-11B-Vision-Instruct
meta-llama/Llama-3.2-90B-Vision-Instruct meta-llama/Llama-3.3-70B-Instruct
mistralai/Mistral-7B-Instruct-v0.3 mistralai/Mistral-Nemo-Instruct-2407 mistralai/Mistral-Small-24B-Instruct-2501
mistralai/Codestral-22B-v0.1 mistralai/Mixtral-8x7B-Instruct-v0.1 mistralai/Mixtral-8x22B-Instruct-v0.1
google/gemma-2-2b-it google/gemma-2-9b-it google/gemma-2-27b-it google/codegemma-7b-it google/paligemma-3b-mix-224
Qwen/Qwen2.5-0.5B-Instruct Qwen/Qwen2.5-1.5B-Instruct Qwen/Qwen2.5-3B-Instruct Qwen/Qwen2.5-7B-Instruct
Qwen/Qwen2.5-14B-Instruct Qwen/Qwen2.5-32B-Instruct Qwen/Qwen2.5-72B-Instruct
Qwen/Qwen2.5-Coder-7B-Instruct Qwen/Qwen2.5-Coder-32B-Instruct Qwen/Qwen2.5-Math-7B-Instruct
Qwen/Qwen2.5-Math-72B-Instruct Qwen/QwQ-32B Qwen/Qwen2-VL-7B-Instruct Qwen/Qwen2-VL-72B-Instruct
deepseek-ai/DeepSeek-V2-Chat deepseek-ai/DeepSeek-V3 deepseek-ai/DeepSeek-R1
deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B deepseek-ai/DeepSeek-R1-Distill-Qwen-7B
deepseek-ai/DeepSeek-R1-Distill-Qwen-14B deepseek-ai/DeepSeek-R1-Distill-Qwen-32B
deepseek-ai/DeepSeek-R1-Distill-Llama-8B deepseek-ai/DeepSeek-R1-Distill-Llama-70B
deepseek-ai/DeepSeek-Coder-V2-Instruct deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct
microsoft/Phi-3-mini-4k-instruct microsoft/Phi-3-mini-128k-instruct microsoft/Phi-3-medium-4k-instruct
microsoft/Phi-3-medium-128k-instruct microsoft/Phi-3.5-mini-instruct microsoft/phi-4
CohereLabs/c4ai-command-r-v01 CohereLabs/c4ai-command-r-plus tiiuae/falcon-180B 01-ai/Yi-34B-Chat
microsoft/Orca-2-7b microsoft/Orca-2-13b upstage/SOLAR-10.7B-Instruct-v1.0
allenai/OLMo-7B-hf allenai/OLMo-2-1124-7B-Instruct allenai/OLMo-2-1124-13B-Instruct
EleutherAI/pythia-1.4b EleutherAI/pythia-6.9b EleutherAI/pythia-12b
""".split()

NEWEST_FAMILIES = (
    """
Llama 4|Qwen3|Qwen3.5|Gemma 3|Gemma 3n|Gemma 4|gpt-oss|GLM-4.5|GLM-5|Kimi K2|Kimi K3|MiniMax M2|MiniMax M3
DeepSeek V3|DeepSeek V4|Mistral Small|Devstral|Magistral|Ministral|Phi-4|Granite 3|Granite 4|SmolLM2|SmolLM3
Falcon-H1|Nemotron|ERNIE 4.5|LFM2|Hunyuan
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


def spec_of(model_id: str) -> ModelSpec:
    return CARDS[model_id].spec


@pytest.mark.parametrize("model_id", NAMED)
def test_a_named_model_is_in_the_catalog_with_what_a_choice_needs(model_id: str) -> None:
    card = CARDS[model_id]
    assert card.license_id and card.openness and card.modalities and card.tasks
    assert card.spec.context_tokens >= 2048  # Pythia, OLMo and Falcon have the shortest


def test_the_newest_families_are_there() -> None:
    assert len(NEWEST_FAMILIES) == 29
    assert set(NEWEST_FAMILIES) <= {card.family for card in CARDS.values()}


def test_at_least_190_models_each_with_sources() -> None:
    assert len(CARDS) >= 190
    for card in CARDS.values():
        assert card.source_url.startswith("https://"), card.model_id
        assert len(card.sources) == len(set(card.sources)), card.model_id
        assert card.as_of.startswith("202"), card.model_id
        assert card.basis, card.model_id


def test_what_is_from_memory_says_so() -> None:
    recalled = [card for card in CARDS.values() if card.confidence == "recalled"]
    assert recalled
    assert all(any("memory" in text for text in card.unverified) for card in recalled)


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.model_id)
def test_shapes_hold_together(card: ModelCard) -> None:
    spec = card.spec
    assert [i for i, _ in enumerate(spec.by_layer)] == sorted(i for g in spec.groups for i in g.layers)
    assert spec.n_active_params <= spec.n_params
    assert spec.is_moe or spec.n_active_params == spec.n_params
    assert all(g.attention or g.recurrent or g.ffn for g in spec.groups)
    if spec.architecture not in UNKNOWN_TO_LLAMA_CPP:
        assert spec.architecture in ARCHITECTURES


@pytest.mark.parametrize(
    "card",
    [card for card in CARDS.values() if card.spec.architecture not in UNKNOWN_TO_LLAMA_CPP],
    ids=lambda card: card.model_id,
)
def test_parameters_counted_from_the_tensors_are_those_of_the_card(card: ModelCard) -> None:
    """Llama 3's and Phi's rope factors are tensors of the file (at most 128 values), not parameters of the model."""
    assert count_params(card.spec) == pytest.approx(card.spec.n_params, rel=1e-5)


# Totals of the safetensors files as the Hugging Face model pages show them; tied embeddings counted once.
PUBLISHED_PARAMS = [
    ("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248),
    ("meta-llama/Llama-3.1-70B-Instruct", 70_553_706_496),
    ("meta-llama/Llama-3.1-405B-Instruct", 405_853_388_800),
    ("meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400),
    ("mistralai/Mistral-7B-Instruct-v0.3", 7_248_023_552),
    ("mistralai/Mistral-Nemo-Instruct-2407", 12_247_782_400),
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", 46_702_792_704),
    ("google/gemma-2-9b-it", 9_241_705_984),
    ("google/gemma-3-1b-it", 999_885_952),
    ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
    ("Qwen/Qwen3-30B-A3B", 30_532_122_624),
    ("Qwen/Qwen3-Coder-Next", 79_674_391_296),
    ("deepseek-ai/DeepSeek-V2-Chat", 235_741_434_880),
    ("deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct", 15_706_484_224),
    ("microsoft/Phi-3-mini-4k-instruct", 3_821_079_552),
    ("microsoft/phi-4", 14_659_507_200),
    ("tiiuae/falcon-180B", 179_522_565_120),
    ("allenai/OLMo-2-1124-7B-Instruct", 7_298_617_344),
    ("openai/gpt-oss-20b", 20_914_757_184),
    ("ibm-granite/granite-4.0-h-small", 32_207_337_984),
    ("tiiuae/Falcon-H1-34B-Instruct", 33_642_516_224),
    ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", 8_888_227_328),
    ("nvidia/Llama-3_3-Nemotron-Super-49B-v1_5", 49_867_145_216),
    ("LiquidAI/LFM2-1.2B", 1_170_340_608),
]


@pytest.mark.parametrize(("model_id", "n_params"), PUBLISHED_PARAMS)
def test_shapes_give_the_published_parameter_count(model_id: str, n_params: int) -> None:
    assert count_params(spec_of(model_id)) == pytest.approx(n_params, abs=128)


def cached_bytes_per_token(spec: ModelSpec, bytes_per_value: int = 2) -> int:
    """What a cache without windows would keep per token, in f16 unless told otherwise."""
    return bytes_per_value * sum(
        g.attention.cached_k_width + g.attention.cached_v_width for g in spec.by_layer if g.attention
    )


@pytest.mark.parametrize(
    ("model_id", "n_bytes"),
    [
        # "Insights into DeepSeek-V3", table 1 (arXiv:2505.09343): KV cache per token in BF16, 1 KB = 1,000 bytes
        ("deepseek-ai/DeepSeek-V3", 70_272),
        ("Qwen/Qwen2.5-72B-Instruct", 327_680),
        ("meta-llama/Llama-3.1-405B-Instruct", 516_096),
        # 128 KiB, 320 KiB: 2 x layers x KV heads x head width x 2 bytes of the published config.json
        ("meta-llama/Llama-3.1-8B-Instruct", 2 * 32 * 8 * 128 * 2),
        ("meta-llama/Llama-3.3-70B-Instruct", 2 * 80 * 8 * 128 * 2),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 2 * 32 * 8 * 128 * 2),
        ("Qwen/Qwen2.5-7B-Instruct", 2 * 28 * 4 * 128 * 2),
        ("Qwen/Qwen3-30B-A3B", 2 * 48 * 4 * 128 * 2),
        ("google/gemma-2-9b-it", 2 * 42 * 8 * 256 * 2),
        ("microsoft/Phi-3-mini-4k-instruct", 2 * 32 * 32 * 96 * 2),
        ("tiiuae/falcon-180B", 2 * 80 * 8 * 64 * 2),
        ("openai/gpt-oss-20b", 2 * 24 * 8 * 64 * 2),
        # 64 KiB per token, llama.cpp's log of Qwen3.5-27B: 512 MiB for 8192 cells in 16 layers
        ("Qwen/Qwen3.5-27B", 512 * 2**20 // 8192),
        # 4224 MiB for 135168 cells in 8 layers, llama.cpp's log of Qwen3.5-9B
        ("Qwen/Qwen3.5-9B", 4224 * 2**20 // 135_168),
        # https://github.com/GeniePod/genie-claw/issues/410: 768 MiB for 32768 cells in 24 layers
        ("tiiuae/Falcon-H1-1.5B-Instruct", 768 * 2**20 // 32_768),
        # 49 of 80 layers attend, 8 KV heads each (the model's config.json)
        ("nvidia/Llama-3_3-Nemotron-Super-49B-v1_5", 2 * 49 * 8 * 128 * 2),
        ("nomic-ai/nomic-embed-text-v1.5", 0),
    ],
)
def test_keys_and_values_per_token(model_id: str, n_bytes: int) -> None:
    assert cached_bytes_per_token(spec_of(model_id)) == n_bytes


@pytest.mark.parametrize(
    ("model_id", "conv_mib", "state_mib"),
    [
        # llama.cpp's log, `llama_memory_recurrent: ... R (f32) ..., S (f32) ...` for one sequence
        ("tiiuae/Falcon-H1-1.5B-Instruct", 0.98, 72.00),  # https://github.com/GeniePod/genie-claw/issues/410
        ("Qwen/Qwen3.5-27B", 5.62, 144.00),
        ("Qwen/Qwen3.5-4B", 2.25, 48.00),
        ("Qwen/Qwen3.5-9B", 9.00 / 4, 192.00 / 4),  # logged for 4 sequences
        ("Qwen/Qwen3.5-35B-A3B", 11.25 / 4, 240.00 / 4),  # logged for 4 sequences
    ],
)
def test_recurrent_state_is_what_llama_cpp_logs(model_id: str, conv_mib: float, state_mib: float) -> None:
    states = [g.recurrent for g in spec_of(model_id).by_layer if g.recurrent]
    assert sum(r.conv_elements for r in states) * 4 / 2**20 == pytest.approx(conv_mib, abs=0.006)
    assert sum(r.state_elements for r in states) * 4 / 2**20 == pytest.approx(state_mib, abs=0.006)


@pytest.mark.parametrize(
    ("model_id", "window", "n_windowed", "first_full"),
    [
        ("google/gemma-2-9b-it", 4096, 21, 1),  # every other layer (arXiv:2408.00118, section 2)
        ("google/gemma-3-27b-it", 1024, 52, 5),  # five local layers per global one (arXiv:2503.19786, section 2)
        ("google/gemma-3n-E4B-it", 512, 28, 4),
        ("google/gemma-4-31B-it", 1024, 50, 5),
        ("openai/gpt-oss-20b", 128, 12, 1),  # alternating (arXiv:2508.10925, section 2.2)
        ("allenai/Olmo-3-7B-Instruct", 4096, 24, 3),
        ("CohereLabs/c4ai-command-a-03-2025", 4096, 48, 3),  # three to one (arXiv:2504.00698, section 2.1)
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 8192, 36, 3),
        ("XiaomiMiMo/MiMo-V2-Flash", 128, 39, 0),
        ("stepfun-ai/Step-3.7-Flash", 512, 33, 0),
    ],
)
def test_windows_stand_on_their_layers(model_id: str, window: int, n_windowed: int, first_full: int) -> None:
    kinds = [g.attention for g in spec_of(model_id).by_layer if g.attention]
    windowed = [a for a in kinds if a.window_tokens is not None]
    assert {a.window_tokens for a in windowed} == {window}
    assert len(windowed) == n_windowed
    assert next(i for i, a in enumerate(kinds) if a.window_tokens is None) == first_full


@pytest.mark.parametrize("model_id", ["microsoft/Phi-3-mini-4k-instruct", "mistralai/Ministral-8B-Instruct-2410"])
def test_a_window_llama_cpp_ignores_is_no_window(model_id: str) -> None:
    assert all(g.attention and g.attention.kind is AttentionKind.FULL for g in spec_of(model_id).groups)


@pytest.mark.parametrize(
    ("model_id", "n_attending", "n_recurrent"),
    [
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 12, 36),
        ("ibm-granite/granite-4.0-h-small", 4, 36),
        ("tiiuae/Falcon-H1-7B-Instruct", 44, 44),  # side by side in every layer
        ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", 4, 27),  # and 25 layers of feed-forward alone
        ("LiquidAI/LFM2-1.2B", 6, 10),
        ("moonshotai/Kimi-K3", 24, 69),
        ("zai-org/GLM-5.3-Flash", 11, 34),
    ],
)
def test_hybrids_mix_attention_and_recurrence(model_id: str, n_attending: int, n_recurrent: int) -> None:
    layers = spec_of(model_id).by_layer
    assert sum(g.attention is not None for g in layers) == n_attending
    assert sum(g.recurrent is not None for g in layers) == n_recurrent


def test_layers_that_borrow_keys_and_values_keep_none() -> None:
    layers = spec_of("google/gemma-3n-E4B-it").by_layer
    assert [i for i, g in enumerate(layers) if g.attention and not g.attention.has_cache] == list(range(20, 35))
    wide = spec_of("google/gemma-4-E2B-it").by_layer
    assert [g.ffn.ffn_dim for g in wide if g.ffn] == [6144] * 15 + [12288] * 20


def test_experts_stand_on_their_layers() -> None:
    maverick = [bool(g.ffn and g.ffn.is_moe) for g in spec_of("meta-llama/Llama-4-Maverick-17B-128E-Instruct").by_layer]
    assert maverick == [False, True] * 24
    v3 = [bool(g.ffn and g.ffn.is_moe) for g in spec_of("deepseek-ai/DeepSeek-V3").by_layer]
    assert v3 == [False] * 3 + [True] * 58


def test_only_some_layers_of_glm_5_2_own_an_indexer() -> None:
    """Its published count is below that of GLM-5.1 by exactly the indexers it lacks (Hugging Face, safetensors)."""
    assert (
        count_params(spec_of("zai-org/GLM-5.1")) - count_params(spec_of("zai-org/GLM-5.2"))
        == 753_864_139_008 - 753_329_940_480
    )


@pytest.mark.parametrize(
    ("model_id", "head_dim"),
    [
        ("mistralai/Mistral-Nemo-Instruct-2407", 128),  # 5120 / 32 would be 160
        ("google/gemma-2-9b-it", 256),  # 3584 / 16 would be 224
        ("Qwen/Qwen3-0.6B", 128),  # 1024 / 16 would be 64
        ("openai/gpt-oss-20b", 64),  # 2880 / 64 would be 45
        ("google/codegemma-7b-it", 256),  # 3072 / 16 would be 192
    ],
)
def test_head_width_is_a_fact_not_a_quotient(model_id: str, head_dim: int) -> None:
    spec = spec_of(model_id)
    attention = spec.groups[0].attention
    assert attention is not None and attention.head_dim == head_dim
    assert spec.hidden_dim != attention.n_heads * head_dim


# ---------------------------------------------------------------- refusals

GOOD = """\
family = "Toy"
org = "Toys"

[[model]]
id = "toys/toy-1b"
name = "Toy 1B"
release = "2026-01"
license = "mit"
openness = "open weight"
modalities = ["text"]
tasks = ["chat"]
architecture = "llama"
n_layers = 4
hidden_dim = 64
n_heads = 4
n_kv_heads = 2
head_dim = 16
ffn_dim = 128
vocab_size = 1000
context_tokens = 4096
tied_embeddings = true
n_params = 1000
n_active_params = 1000
n_params_reported = 1000
confidence = "read"
basis = "read from its config.json"
source_url = "https://example.org/toy"
as_of = "2026-11"

[model.moe]
n_experts = 8
n_active_experts = 2
expert_ffn_dim = 32
"""


def load_text(folder: Path, text: str) -> tuple[ModelCard, ...]:
    families = folder / "families"
    families.mkdir()
    (families / "toy.toml").write_text(text, encoding="utf-8")
    return load_families(folder)


def test_a_good_record_is_read(tmp_path: Path) -> None:
    (card,) = load_text(tmp_path, GOOD)
    assert (card.model_id, card.family, card.spec.n_layers, card.gated) == ("toys/toy-1b", "Toy", 4, None)
    assert card.sources == ("https://example.org/toy",)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('source_url = "https://example.org/toy"\n', "", 4, "missing source_url"),
        ('as_of = "2026-11"\n', "", 4, "missing as_of"),
        ('as_of = "2026-11"', 'as_of = "last year"', 28, "as_of wants the form"),
        ("head_dim = 16\n", "", 4, "missing head_dim"),
        ("n_layers = 4", 'n_layers = "four"', 13, "n_layers wants int, got 'four'"),
        ("n_layers = 4", "n_layers = 4\nn_layrs = 5", 14, "unknown key 'n_layrs'"),
        ("n_experts = 8", "n_experts = 8\nn_expert = 9", 32, "[model.moe] unknown key 'n_expert'"),
        ("expert_ffn_dim = 32\n", "", 30, "[model.moe] missing expert_ffn_dim"),
        ("n_active_experts = 2", "n_active_experts = 9", 5, "n_active_experts 9"),
        ("n_layers = 4", 'n_layers = 4\nlayers = "SF"', 5, "no window table"),
        ("n_layers = 4", 'n_layers = 4\nlayers = "QF"', 5, "got 'QF'"),
        ('openness = "open weight"', 'openness = "free"', 9, "openness wants one of"),
        ('name = "Toy 1B"', "name = Toy 1B", 6, "not TOML"),
        ('basis = "read from its config.json"', 'basis = " "', 26, "basis is empty"),
    ],
)
def test_a_broken_record_is_refused_with_file_and_line(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert old in GOOD
    with pytest.raises(DataFileError) as refused:
        load_text(tmp_path, GOOD.replace(old, new, 1))
    assert refused.value.file.endswith("toy.toml")
    assert refused.value.line == line
    assert says in refused.value.problem


def test_a_model_named_twice_is_refused(tmp_path: Path) -> None:
    second = GOOD[GOOD.index("[[model]]") :]
    with pytest.raises(DataFileError, match="already in toy.toml") as refused:
        load_text(tmp_path, GOOD + "\n" + second)
    assert refused.value.line == 35


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="restore the folder"):
        load_families(tmp_path)
