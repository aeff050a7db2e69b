import os
from pathlib import Path

import pytest
import torch

from datamodules.leap.humidity import (
    level_pressure,
    relative_humidity,
    saturation_pressure,
    saturation_pressure_ice,
    saturation_pressure_liquid,
)
from datamodules.leap.hybrid_levels import HYAM, HYBM


def kelvin(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_liquid_agrees_with_bolton() -> None:
    """Bolton 1980: 611.2 Pa exp(17.67 t / (t + 243.5)), good to 0.3 % between -35 and 35 degrees C."""
    t = torch.linspace(-35, 35, 71, dtype=torch.float64)
    bolton = 611.2 * torch.exp(17.67 * t / (t + 243.5))
    torch.testing.assert_close(saturation_pressure_liquid(t + 273.15), bolton, rtol=4e-3, atol=0)


@pytest.mark.parametrize(("coldest", "hottest", "tolerance"), [(200.0, 273.15, 0.02), (185.0, 200.0, 0.15)])
def test_ice_agrees_with_murphy_and_koop(coldest: float, hottest: float, tolerance: float) -> None:
    """Murphy and Koop 2005, eq. 7; the polynomial drifts off where it holds 0.03 Pa."""
    t = torch.linspace(coldest, hottest, 50, dtype=torch.float64)
    expected = torch.exp(9.550426 - 5723.265 / t + 3.53068 * t.log() - 0.00728332 * t)
    torch.testing.assert_close(saturation_pressure_ice(t), expected, rtol=tolerance, atol=0)


def test_blend_is_ice_below_and_liquid_above() -> None:
    cold, half, warm = kelvin(250.0), kelvin(263.16), kelvin(290.0)
    assert torch.equal(saturation_pressure(cold), saturation_pressure_ice(cold))
    assert torch.equal(saturation_pressure(warm), saturation_pressure_liquid(warm))
    middle = 0.5 * (saturation_pressure_ice(half) + saturation_pressure_liquid(half))
    torch.testing.assert_close(saturation_pressure(half), middle)


def test_saturation_pressure_rises_and_stays_positive_from_stratosphere_to_spikes() -> None:
    t = torch.linspace(150.0, 1400.0, 2001, dtype=torch.float64)
    pressure = saturation_pressure(t)
    assert (pressure > 0).all()
    assert (pressure.diff() > -1e-4 * pressure[1:]).all()


def test_level_pressure_lies_between_model_top_and_surface() -> None:
    pressure = level_pressure(kelvin(7.5e4, 1e5, 1.02e5))
    assert pressure.shape == (3, 60)
    assert (pressure.diff(dim=1) > 0).all()
    assert pressure[1, 0].item() == pytest.approx(7.8348, rel=1e-4)
    assert pressure[1, -1].item() == pytest.approx(99263.55, rel=1e-5)
    assert torch.equal(pressure[0, :22], pressure[2, :22])  # pure pressure levels aloft
    assert len(HYAM) == len(HYBM) == 60


def test_relative_humidity_of_saturated_air_is_one() -> None:
    t, p = kelvin(230.0, 263.0, 300.0), kelvin(3e4, 6e4, 1e5)
    saturated = saturation_pressure(t) * 287.0 / (461.0 * p)
    torch.testing.assert_close(relative_humidity(t, saturated, p), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(relative_humidity(t, 0.5 * saturated, p), torch.full((3,), 0.5, dtype=torch.float64))


@pytest.mark.real_data
@pytest.mark.skipif("PODIUM_REAL_DATA" not in os.environ, reason="PODIUM_REAL_DATA is not set")
def test_real_columns() -> None:
    """Pressure equals the climate model's own; the troposphere is humid and hardly ever above saturation."""
    import netCDF4

    files = sorted(Path(os.environ["PODIUM_REAL_DATA"]).rglob("E3SM-MMF.mli.*.nc"))
    assert files
    with netCDF4.Dataset(files[0]) as data:
        state = {name: torch.from_numpy(data[name][:].filled()) for name in ("state_t", "state_q0001", "state_pmid")}
        pressure = level_pressure(torch.from_numpy(data["state_ps"][:].filled()))
    torch.testing.assert_close(pressure, state["state_pmid"].T)
    humidity = relative_humidity(state["state_t"].T, state["state_q0001"].T, pressure)
    troposphere = humidity[:, 24:]
    assert troposphere.min() > 0
    assert 0.6 < troposphere.median() < 0.95
    assert troposphere.quantile(0.99) < 1.1
