"""Mixtures of experts over plain attention. Each entry is read from llama.cpp's src/models/<name>.cpp."""

from __future__ import annotations
