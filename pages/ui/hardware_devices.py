"""The devices of the machine in the bar and all that the catalog lists, with what is known of each, folded."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from pages.ui import cached, charts, frame, inputs, tables, words
from sizing.hardware import Device, DeviceKind, Machine
from sizing.inverse_record import format_price
from sizing.units import GIB, THIN, format_bytes, format_figures

KIND_WORDS = {DeviceKind.CPU: "host", DeviceKind.GPU: "card", DeviceKind.UNIFIED: "unified memory"}


def show_machine(question: frame.Question) -> None:
    """Each device of the machine with its figures, and what is assumed or unknown about it."""
    machine = question.machine
    name, usable = frame.format_machine(machine), format_bytes(frame.main_bytes(machine))
    with st.expander(charts.roomy(f"{name}: {usable} for a model")):
        for device in list_parts(machine):
            st.html(f'<p class="wb-figures">{escape(device.name)}</p>{frame.facts_html(list_facts(device))}')
            if device.notes:
                st.caption("  \n".join(frame.to_sentence(n) for n in device.notes))
        if question.wishes.machine == inputs.THIS:
            st.caption("Read anew every five minutes: what other programs hold is not usable for a model.")


def list_parts(machine: Machine) -> tuple[Device, ...]:
    """The devices of a machine, cards first, several of one kind once; a unified pool stands for its host."""
    if machine.is_unified:
        return machine.accelerators
    return tuple(dict.fromkeys((*machine.accelerators, machine.host)))


def list_facts(device: Device) -> tuple[tuple[str, str], ...]:
    """What is known of a device, as name and text."""
    bandwidth, flops = device.bandwidth_bytes_per_s, device.fp16_flops
    facts = [
        ("Kind", KIND_WORDS[device.kind]),
        ("Memory", format_bytes(device.memory_bytes)),
        ("Usable", format_bytes(device.usable_bytes)),
        ("Bandwidth", f"{format_figures(bandwidth / 1e9)}{THIN}GB/s" if bandwidth else words.UNKNOWN),
        ("16-bit arithmetic", f"{format_figures(flops / 1e12)}{THIN}TFLOPS, dense" if flops else words.UNKNOWN),
        ("Backend", device.backend),
    ]
    if device.kind is DeviceKind.CPU:
        facts.append(("Physical cores", str(device.n_cores) if device.n_cores else words.UNKNOWN))
        facts.append(("Instruction sets", ", ".join(device.instruction_sets) or words.UNKNOWN))
    else:
        facts.append(("Power", f"{format_figures(device.power_watts)}{THIN}W" if device.power_watts else words.UNKNOWN))
        facts.append(("Price", format_price(device.price_usd).removeprefix("price ")))
    return tuple(facts)


def show_listed() -> None:
    """Every device the catalog lists, folded."""
    devices = cached.list_devices()
    with st.expander(f"{len(devices)} listed devices"):
        st.caption("Build a machine of them in the bar above: any cards, any number of each, in any host.")
        nan = float("nan")
        table = pd.DataFrame(
            {
                "Device": [d.name for d in devices],
                "Kind": [KIND_WORDS[d.kind] for d in devices],
                "Memory, GiB": [d.memory_bytes / GIB for d in devices],
                "Usable, GiB": [d.usable_bytes / GIB for d in devices],
                "Bandwidth, GB/s": [d.bandwidth_bytes_per_s / 1e9 if d.bandwidth_bytes_per_s else nan for d in devices],
                "16-bit, TFLOPS": [d.fp16_flops / 1e12 if d.fp16_flops else nan for d in devices],
                "Power, W": [d.power_watts if d.power_watts is not None else nan for d in devices],
                "Price, US$": [d.price_usd if d.price_usd is not None else nan for d in devices],
            }
        )
        tables.show_table(
            words.style_table(table),
            height=620,
            key="devices",
            column_config=frame.right_aligned(),
        )
