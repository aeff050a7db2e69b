"""All metrics by name, and functions of the user."""

from __future__ import annotations

import re
from importlib import import_module

from blend.metrics.scores import (
    R2,
    ClippedR2,
    ColumnLogLoss,
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    MulticlassLogLoss,
    Pinball,
    RootMeanSquaredError,
)
from blend.metrics.tables import (
    F1,
    Accuracy,
    AreaUnderCurve,
    AveragePrecision,
    BalancedAccuracy,
    FunctionMetric,
    MeanAveragePrecisionAtK,
    QuadraticKappa,
    RootMeanSquaredLogError,
    Spearman,
)
from datamodules.banks.bank import BankError
from datamodules.errors import UsageError, nearest_name

KNOWN: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        R2(),
        ClippedR2(),
        ColumnLogLoss(),
        MeanAbsoluteError(),
        MeanSquaredError(),
        RootMeanSquaredError(),
        RootMeanSquaredLogError(),
        MulticlassLogLoss(),
        AreaUnderCurve(),
        AveragePrecision(),
        Accuracy(),
        BalancedAccuracy(),
        F1(),
        QuadraticKappa(),
        Spearman(),
    )
}
"""Metrics without a parameter, by name."""
_WITH_NUMBER = re.compile(r"(map|pinball)@(\d*\.?\d+)")
NAMES = f"{', '.join(KNOWN)}, map@K, pinball@Q"
_HIGHER, _LOWER = ("_score",), ("_error", "_loss", "_deviance")


def named_metric(name: str, where: str) -> Metric:
    """A metric by name; what a file says never names code.

    Args:
        name: Such as ``auc`` or ``pinball@0.9``.
        where: The flag or file that gave it, for the message.

    Raises:
        BankError: there is no such metric.
    """
    if name in KNOWN:
        return KNOWN[name]
    found = _WITH_NUMBER.fullmatch(name)
    if found and found[1] == "map" and found[2].isdigit() and int(found[2]) > 0:
        return MeanAveragePrecisionAtK(int(found[2]))
    if found and found[1] == "pinball" and 0 < float(found[2]) < 1:
        return Pinball(float(found[2]))
    if ":" in name:
        raise BankError(
            f"{where} names the function {name!r} as its metric; functions are taken from the command line only: "
            f"give --metric {name} if you trust it"
        )
    near = nearest_name(name, KNOWN)
    hint = f"; did you mean {near}?" if near else "."
    raise UsageError(f"metric {name!r} of {where} is unknown{hint} Use {NAMES}, or --metric package.module:function")


def given_metric(name: str, direction: str | None, shape: tuple[int, ...] | None = None) -> Metric:
    """The metric of the command line: a name, or ``package.module:function`` with its direction.

    Args:
        name: See above.
        direction: ``minimize`` or ``maximize``; scikit-learn's functions know their own.
        shape: Trailing shape of one prediction, for functions.

    Raises:
        UsageError: there is no such metric or function, or nobody says its direction.
    """
    module, colon, function = name.partition(":")
    if not colon:
        return named_metric(name, "--metric")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"metric {name!r} cannot be imported: {error}") from None
    if direction is None and found.__module__.startswith("sklearn.metrics"):
        known = function.endswith(_HIGHER), function.endswith(_LOWER)
        direction = "maximize" if known[0] else "minimize" if known[1] else None
    if direction is None:
        raise UsageError(f"--metric {name} needs its direction: give --direction maximize or --direction minimize")
    return FunctionMetric(name, found, direction == "maximize", shape)
