"""Container images, each pinned to a version that was published."""

from __future__ import annotations

VLLM_IMAGE = "vllm/vllm-openai:v0.29.0"
"""https://hub.docker.com/r/vllm/vllm-openai/tags, https://github.com/vllm-project/vllm/releases/tag/v0.29.0"""

SGLANG_IMAGE = "lmsysorg/sglang:v0.5.19-cu129"
"""https://docs.sglang.ai/get_started/install.html, 'the last CUDA 12 tag', so that older drivers run it too"""

TGI_IMAGE = "ghcr.io/huggingface/text-generation-inference:3.3.6"
"""https://github.com/huggingface/text-generation-inference/pkgs/container/text-generation-inference"""

LLAMA_CPP_CUDA_IMAGE = "ghcr.io/ggml-org/llama.cpp:server-cuda12-b9603"
"""https://github.com/orgs/ggml-org/packages/container/llama.cpp/938474228"""

LLAMA_CPP_HOST_IMAGE = "ghcr.io/ggml-org/llama.cpp:server-b10108"
"""https://github.com/ggml-org/llama.cpp/pkgs/container/llama.cpp/versions?filters%5Bversion_type%5D=tagged"""

OLLAMA_IMAGE = "ollama/ollama:0.35.1"
"""https://hub.docker.com/r/ollama/ollama/tags"""
