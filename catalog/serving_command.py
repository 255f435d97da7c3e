"""`python -m catalog serving-logs`: how far the rules of vLLM and SGLang are from what they printed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from catalog.serving_logs import (
    LEFT_OUT,
    TARGETS,
    Measure,
    MeasureSummary,
    ServingComparison,
    compare_serving_logs,
    list_serving_logs,
    sum_up,
)
from catalog.store import Catalog
from sizing.command_line import EXIT_DONE, print_json
from sizing.units import MIB


def add_serving_command(commands: Any, open_here: Callable[[], Catalog]) -> argparse.ArgumentParser:
    """Register the command; `--json` is added by the caller, as to all."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "serving-logs", help="published starts of vLLM and SGLang beside the rules here, with medians and worst cases"
    )
    parser.set_defaults(run=lambda args: run_serving_logs(args, open_here()))
    return parser


def run_serving_logs(args: argparse.Namespace, catalog: Catalog) -> int:
    """Print every published figure beside ours, then the medians."""
    found = compare_serving_logs(catalog)
    summary = sum_up(found)
    if args.json:
        print_json(
            {
                "rows": [comparison_record(c) for c in found],
                "medians": [summary_record(s) for s in summary],
                "left_out": [{"rows": int(count), "why": why} for count, why in LEFT_OUT],
            }
        )
        return EXIT_DONE
    for log in list_serving_logs(catalog):
        rows = [c for c in found if c.log == log]
        print(f"{log.checkpoint}  {log.engine} {log.engine_version or '(version not told)'}  {describe_cards(rows[0])}")
        for c in rows:
            print(
                f"  {c.measure:<11} {describe_value(c, c.published):>14} published  {describe_value(c, c.ours):>14} "
                f"here  {c.share:+.2%}"
            )
        if log.mind:
            print(f"  mind: {log.mind}")
    print()
    for s in summary:
        print(describe_summary(s))
    print()
    print(f"Left out: {'; '.join(f'{count} {why}' for count, why in LEFT_OUT)}.")
    return EXIT_DONE


def describe_cards(comparison: ServingComparison) -> str:
    """The cards of a log and the share it may take of them."""
    log = comparison.log
    share = "share not told" if log.utilization is None else f"share {log.utilization:g}"
    return f"{log.n_cards}x {log.hardware}, {share}"


def describe_value(comparison: ServingComparison, value: float) -> str:
    """A figure in the unit of its measure."""
    if comparison.measure is Measure.WEIGHTS:
        return f"{value / MIB:,.0f} MiB"
    return f"{value:.2f}" if comparison.measure is Measure.REQUESTS else f"{value:,.0f} tokens"


def describe_summary(summary: MeasureSummary) -> str:
    """One measure over one set of rows, with its target and its worst row."""
    target = TARGETS.get(summary.measure)
    wanted = "" if target is None else f" (target {target:.0%})"
    worst = summary.worst
    return (
        f"{summary.measure}, {summary.rows}: median error {summary.median_error:.2%}{wanted} over {summary.n_rows}; "
        f"worst {worst.share:+.2%}, {worst.log.checkpoint} on {worst.log.n_cards}x {worst.log.hardware}"
    )


def comparison_record(comparison: ServingComparison) -> dict[str, object]:
    """A comparison as JSON: weights in bytes."""
    log = comparison.log
    return {
        "model_id": log.model_id,
        "checkpoint": log.checkpoint,
        "weight_format": log.weight_format,
        "engine": log.engine,
        "engine_version": log.engine_version,
        "hardware": log.hardware,
        "n_cards": log.n_cards,
        "utilization": log.utilization,
        "context_tokens": log.context_tokens,
        "measure": comparison.measure.value,
        "published": comparison.published,
        "ours": comparison.ours,
        "share": comparison.share,
        "mind": log.mind,
        "source_url": log.source_url,
        "source_note": log.source_note,
    }


def summary_record(summary: MeasureSummary) -> dict[str, object]:
    """A median as JSON, with its worst row."""
    return {
        "measure": summary.measure.value,
        "rows": summary.rows,
        "n_rows": summary.n_rows,
        "median_error": summary.median_error,
        "target": TARGETS.get(summary.measure),
        "within_target": summary.is_within_target,
        "worst": comparison_record(summary.worst),
    }
