"""The Triton kernel, run on the CPU by Triton's interpreter and compiled for a GPU that is not there."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from packaging.version import Version

from benchmarks.gwi_predicted import resources
from datamodules.gwi.propagation import resolve_backend

triton = pytest.importorskip("triton", reason="triton is not installed")


def interpreted(script: str) -> None:
    """Run a script with Triton's interpreter, which has to be chosen before the import."""
    if Version(triton.__version__) < Version("3.7") and Version(np.__version__) >= Version("2.4"):
        pytest.skip("this interpreter turns arrays of one number into numbers, which numpy no longer does")
    env = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_equals_the_plain_steps_whichever_of_a_turns_two_steps_comes_first() -> None:
    """Odd and even numbers of samples, grids that are no multiple of a block, receivers that share a cell; float64, so to rounding."""
    interpreted("""
        import functools, torch
        from datamodules.gwi import march
        from datamodules.gwi.acquisition import Acquisition
        from datamodules.gwi.simulator import Simulator

        survey = dict(sponge=3, source_columns=(0, 6), receiver_columns=(0, 4, 4, 6), receiver_rows=(1, 0, 0, 8), frequency=90.0)
        both = march.march
        for samples, size in ((9, (11, 7)), (8, (9, 60))):
            a = Acquisition(samples=samples, **survey)
            velocity = 1500 + 3000 * torch.rand(2, *size, dtype=torch.float64)
            expected = Simulator(a, "torch")(velocity)
            assert float(expected.abs().max()) > 0
            for backwards in (False, True):
                march.march = functools.partial(both, backwards=backwards)
                torch.testing.assert_close(Simulator(a, "triton")(velocity), expected, rtol=1e-12, atol=1e-14)
    """)


def test_gradients_are_those_of_plain_steps() -> None:
    interpreted("""
        import torch
        from datamodules.gwi import propagation
        from datamodules.gwi.acquisition import Acquisition
        from datamodules.gwi.simulator import Simulator

        propagation.COMPILER = "eager"
        gradients = []
        for backend in ("triton", "torch"):
            velocity = torch.linspace(1500, 4000, 64, dtype=torch.float64).view(1, 8, 8).requires_grad_()
            a = Acquisition(samples=4, sponge=3, source_columns=(3,), frequency=90.0)
            Simulator(a, backend)(velocity).square().sum().backward()
            gradients.append(velocity.grad)
        torch.testing.assert_close(*gradients)
    """)


def test_is_refused_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="runs on a GPU"):
        resolve_backend("triton", torch.device("cpu"))


def test_compiles_for_a_gpu_without_spilling_registers() -> None:
    """Three programs of 256 threads fit a multiprocessor's 65,536 registers."""
    pytest.importorskip("triton", minversion="3.3", reason="older ones compile by other calls")
    used = resources()
    assert used.stack == 0
    assert used.registers <= 80
    assert 40 < used.instructions < 110
