"""Spot-check suites of our own: generated, versioned, offline. Each is an lm-eval task with its items beside it."""

from __future__ import annotations

from evals.suites.listing import Suite, find_suite, list_suites, load_items
from evals.suites.tasks import load_task, task_from_items

__all__ = ["Suite", "find_suite", "list_suites", "load_items", "load_task", "task_from_items"]
