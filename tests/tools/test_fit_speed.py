"""The fit of the speed model: what ships is what the script finds, and it holds on devices it has not seen."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from catalog.speeds import load_speed_devices, load_speeds
from sizing import efficiencies
from sizing.throughput import FITTED, SpeedFit
from tools import fit_speed
from tools.speed_samples import DEVICE_MODELS, Reader, Samples, name_chip


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.fixture(scope="module")
def samples(reader: Reader) -> tuple[Samples, Samples]:
    return reader.read()


@pytest.fixture(scope="module")
def told(samples: tuple[Samples, Samples]) -> tuple[np.ndarray, np.ndarray]:
    return fit_speed.hold_out(samples, fit_speed.SEED)


def test_what_ships_is_what_the_script_finds(reader: Reader, samples: tuple[Samples, Samples]) -> None:
    found = fit_speed.fit_shipped(reader, *samples)
    for field in fields(SpeedFit):
        fitted, shipped = getattr(found, field.name), getattr(FITTED, field.name)
        if isinstance(shipped, dict):
            assert fitted.keys() == shipped.keys(), field.name
            for key, value in shipped.items():
                assert fitted[key] == pytest.approx(value, rel=0.02), (field.name, key)
        else:
            assert fitted == pytest.approx(shipped, rel=0.02), field.name
    assert fit_speed.format_module(FITTED) == fit_speed.OUT.read_text(encoding="utf-8")


def test_the_goals_are_met_on_devices_the_fit_has_not_seen(
    samples: tuple[Samples, Samples], told: tuple[np.ndarray, np.ndarray]
) -> None:
    decode = samples[0]
    found = fit_speed.score(decode, told[0], fit_speed.single(decode) & ~decode.sparse)
    assert found is not None
    assert found.n_rows >= 450 and found.n_devices >= 35
    assert found.error <= 0.20 and found.error_weighed <= 0.20
    assert 0.75 <= found.cover <= 0.90 and 0.75 <= found.cover_weighed <= 0.90
    assert fit_speed.meets_goals(found.error, found.cover)
    assert not fit_speed.meets_goals(0.21, 0.8) and not fit_speed.meets_goals(0.1, 0.95)


def test_no_device_is_in_both_halves(samples: tuple[Samples, Samples]) -> None:
    decode, prefill = samples
    names = {*decode.devices, *prefill.devices}
    half = fit_speed.draw_half(names, fit_speed.SEED)
    assert abs(2 * len(half) - len(names)) <= 1
    assert fit_speed.draw_half(names, fit_speed.SEED) == half != fit_speed.draw_half(names, fit_speed.SEED + 1)
    for s in samples:
        seen = fit_speed.with_devices(s, half)
        first, second = ({m.device for m in s.take(k).measured} for k in (seen, ~seen))
        assert not {name_chip(str(d)) for d in first} & {name_chip(str(d)) for d in second}
    assert name_chip("Apple M4 Pro 24GB") == name_chip("Apple M4 Pro 48GB") == "Apple M4 Pro"


def test_a_device_with_many_rows_does_not_decide(samples: tuple[Samples, Samples]) -> None:
    decode = samples[0]
    per_device = np.bincount(decode.device, decode.weigh())
    assert per_device.max() == pytest.approx(DEVICE_MODELS)
    assert np.bincount(decode.device).max() > 400


def test_every_row_is_used_or_its_reason_counted(reader: Reader, samples: tuple[Samples, Samples]) -> None:
    assert sum(reader.left_out.values()) + sum(len(s) for s in samples) == len(load_speeds())
    assert all(count > 0 for reason, count in reader.left_out.items() if not reason.startswith(("decode", "prefill")))


def test_the_formula_of_the_fit_is_the_products(samples: tuple[Samples, Samples]) -> None:
    decode = samples[0]
    flash = np.array([m.flash_attention is not False for m in decode.measured])
    one = decode.take(fit_speed.single(decode) & flash)
    model = fit_speed.Model("decode", sorted(FITTED.step_s))
    theta = model.prior.copy()
    for name, value in (("share", 1.0), ("by_family", 1.0), ("step", 1.0), ("cache", FITTED.cache_share)):
        theta[model.at[name]] = np.log(value)
    theta[model.at["by_class"]] = 0.0
    theta[model.at["by_both"]] = [np.log(FITTED.decode_share[c, f]) for c in model.classes for f in fit_speed.FAMILIES]
    theta[model.at["step_by_class"]] = [np.log(FITTED.step_s[c]) for c in model.classes]
    theta[model.at["sparse"]], theta[model.at["sparse_step"]] = np.log(FITTED.sparse_share), np.log(FITTED.sparse_step)
    by_fit = np.exp(model.log_time(one, theta, model.number(one)))
    by_product = 1.0 / fit_speed.predict(one, FITTED)[:, 1]
    assert by_product == pytest.approx(by_fit, rel=1e-6)


def test_published_rows_say_where_they_are_from() -> None:
    rows, devices = load_speeds(), load_speed_devices()
    assert len(rows) >= 3_000
    assert all(m.device is None or m.device in devices for m in rows)
    assert all(m.tokens_per_s > 0 and m.n_devices >= 1 for m in rows)
    assert not [m for m in rows if "/home/" in m.model_text or "/home/" in (m.source_note or "")]


def test_a_quantile_takes_its_weights() -> None:
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 8.0])
    assert [fit_speed.quantile(values, weights, q) for q in (0.05, 0.5, 0.95)] == [1.0, 2.0, 3.0]


def test_the_module_says_which_command_wrote_it() -> None:
    assert "Written by `python -m tools.fit_speed`" in (efficiencies.__doc__ or "")
