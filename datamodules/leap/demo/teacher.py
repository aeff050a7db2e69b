"""Synthetic columns on the real climatology, and the fixed random net, the *teacher*, that says what a step does to them.

States follow the real means, spreads and ranges of ``climate.py``; latitude, season and hour shape them. The teacher is one
net for all data sets: convolutions over the levels whose features gate each other, so that a net over the levels can learn
what no linear map of the column can. On top comes noise of known size, which nobody can learn.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import expit

from datamodules.leap import schema
from datamodules.leap.demo.climate import Climate, load_climate
from datamodules.leap.demo.spec import DemoSpec, Step

State = dict[str, np.ndarray]
"""Variables by their ClimSim names: profiles (columns, 60), scalars (columns,), float64."""

NO_ICE = 1e30
"""ClimSim's fill value of ``cam_in_SNOWHICE`` where there is no sea ice."""

_STATE_STREAM, _NOISE_STREAM = 2, 3
_TEACHER_SEED = 20080
_REFERENCE = DemoSpec(seed=_TEACHER_SEED, months=12, steps_per_month=1)  # what the teacher's outputs are scaled on
_ABLATED_LEVELS = int(schema.zero_weight_mask()[schema.TARGET_GROUPS["q0001"]].sum())
_WATER = ("state_q0001", "state_q0002", "state_q0003")
_SUNLIT = ("cam_out_NETSW", "cam_out_SOLS", "cam_out_SOLL", "cam_out_SOLSD", "cam_out_SOLLD")

# Liquid cloud at levels 12-27 is what numerical diffusion leaves: powers of ten that fall to 1e-53 and rise again,
# often exactly zero. Per level: log10 of the largest value, log10 span from there to the median, share of zeros.
_TRACE_TOP = np.array([-38, -44, -49, -53, -51, -45, -41, -38, -35, -32, -28, -25, -21, -16, -12, -7], dtype=float)
_TRACE_SPAN = np.array([3, 3, 3, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 12, 12, 12], dtype=float)
_TRACE_ZERO = np.array([0, 0, 0.28, 0.95, 0.95, 0.9, 0.88, 0.85, 0.69, 0.52, 0.41, 0.33, 0.27, 0.23, 0.2, 0.19])
_TRACE = slice(schema.PTEND_TRICK_LEVELS.start, schema.PTEND_TRICK_LEVELS.stop)


def before(spec: DemoSpec, step: Step) -> State:
    """The variables of one ``.mli`` file but ``ymd`` and ``tod``, in ClimSim's units.

    Args:
        spec: Spec of the data set.
        step: The time step.
    """
    climate = load_climate(spec.columns)
    random = np.random.default_rng([spec.seed, _STATE_STREAM, step.number])
    latitude, longitude = np.deg2rad(climate.lat), np.deg2rad(climate.lon)
    season = np.sin(2 * np.pi * (step.day_of_year - 110) / 365)  # +1 in northern midsummer
    warmth = 3.3 * (np.cos(latitude) ** 2 - 2 / 3) + 0.4 * season * np.sin(latitude)
    jet = 2.4 * (np.exp(-(((np.abs(climate.lat) - 36.0) / 14.0) ** 2)) - 0.35)

    t = 0.6 * warmth[:, None] + 0.8 * smooth_levels(random, spec.columns, 6.0)
    moisture = 0.6 * t + 0.8 * smooth_levels(random, spec.columns, 4.0)
    cloud = 0.5 * moisture + 0.87 * smooth_levels(random, spec.columns, 3.0)
    u = 0.5 * jet[:, None] + 0.87 * smooth_levels(random, spec.columns, 8.0)
    v = smooth_levels(random, spec.columns, 8.0)
    state = {
        **{f"state_{name}": climate.normal(f"state_{name}", z) for name, z in (("t", t), ("u", u), ("v", v))},
        "state_q0001": climate.lognormal("state_q0001", moisture),
        "state_q0002": climate.lognormal("state_q0002", cloud),
        "state_q0003": climate.lognormal("state_q0003", cloud),
        "state_ps": climate.clip("state_ps", climate.surface_pressure + 650.0 * random.standard_normal(spec.columns)),
    }
    depth, zero = (smooth_levels(random, spec.columns, 4.0)[:, _TRACE] for _ in range(2))
    trace = 10.0 ** (_TRACE_TOP - _TRACE_SPAN / 0.674 * np.abs(depth))
    # the logistic quantile is close enough to the normal one
    threshold = np.log(np.maximum(_TRACE_ZERO, 1e-9) / (1.0 - _TRACE_ZERO)) / 1.702
    state["state_q0002"][:, _TRACE] = np.where(zero < threshold, 0.0, trace)
    state["state_q0002"] = climate.clip("state_q0002", state["state_q0002"])
    state["state_pmid"] = climate.mid_pressure(state["state_ps"])

    pattern = 1.6 * (np.abs(np.sin(latitude)) - 0.5) + 0.7 * season * np.sin(latitude)
    for name in schema.GAS_PROFILES:
        state[name] = climate.normal(name, (pattern if name == "pbuf_ozone" else -pattern)[:, None])
    return state | _surface(climate, random, step, season, latitude, longitude, {"t": t, "u": u, "v": v})


def _surface(
    climate: Climate,
    random: np.random.Generator,
    step: Step,
    season: float,
    latitude: np.ndarray,
    longitude: np.ndarray,
    air: State,
) -> State:
    """Sun, surface types, albedos and surface fluxes, all (columns,)."""
    declination = np.deg2rad(23.45) * np.sin(2 * np.pi * (step.day_of_year - 80) / 365)
    hour_angle = 2 * np.pi * step.day_fraction + longitude - np.pi
    cosine = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    cosine = np.maximum(cosine, 0.0)
    continents = np.sin(2 * longitude + 0.6) * np.cos(latitude) + 0.8 * np.sin(3 * longitude + 4 * latitude)
    land = np.round(expit(4.0 * (continents - 0.6)), 3)
    polar = np.abs(climate.lat) - 7.0 * season * np.sign(latitude)
    ice = (1.0 - land) * np.clip((polar - 64.0) / 9.0, 0.0, 0.99)
    snow = np.where(land > 0.02, np.clip((polar - 54.0) / 25.0, 0.0, 1.0), 0.0)
    heating = land * (3.0 * cosine - 0.5)
    noise = iter(random.standard_normal((4, len(land))))
    scalars = {
        "cam_in_LWUP": 0.9 * air["t"][:, -1] + 0.4 * heating,
        "pbuf_SHFLX": heating + 0.5 * next(noise),
        "pbuf_LHFLX": 0.5 * air["t"][:, -1] + 0.5 * (1.0 - land) + 0.7 * next(noise),
        "pbuf_TAUX": -0.8 * air["u"][:, -1] + 0.6 * next(noise),
        "pbuf_TAUY": -0.8 * air["v"][:, -1] + 0.6 * next(noise),
    }
    fields = {name: climate.normal(name, z) for name, z in scalars.items()}
    fields |= {"cam_in_LANDFRAC": land, "cam_in_ICEFRAC": ice, "cam_in_OCNFRAC": np.maximum(1.0 - land - ice, 0.0)}
    fields |= {"cam_in_SNOWHLAND": snow, "pbuf_COSZRS": cosine, "pbuf_SOLIN": 1370.0 * cosine}
    for band, bare in (("AL", 0.25), ("AS", 0.1)):
        for beam, ocean in (("DIF", 0.06), ("DIR", 0.02 + 0.05 / (cosine + 0.2))):
            bright = land * (bare + 0.5 * snow) + 0.6 * ice + ocean * fields["cam_in_OCNFRAC"]
            fields[f"cam_in_{band}{beam}"] = np.where(cosine > 0, bright, 1.0)
    fields = {name: climate.clip(name, values) for name, values in fields.items()}
    return fields | {"cam_in_SNOWHICE": np.where(ice > 0, 0.2 * ice, NO_ICE)}


def after(spec: DemoSpec, step: Step, state: State, draw: int = 0) -> State:
    """The variables of one ``.mlo`` file but ``ymd`` and ``tod``.

    The rules that hold exactly in the real files hold here: moisture and wind do not change at levels 0-11 (the ablated
    targets), liquid at the trick levels is removed entirely, water never turns negative. In expanded files temperature alone
    divides the cloud water that a step leaves between liquid and ice.

    Args:
        spec: Spec of the data set.
        step: The time step.
        state: From :func:`before`.
        draw: 0 is what the files hold; other numbers draw other noise on the same state.
    """
    climate = load_climate(spec.columns)
    random = np.random.default_rng([spec.seed, _NOISE_STREAM, step.number, draw])
    levels, fluxes = _scaled_teacher(climate, state)
    outcome = {}
    for i, name in enumerate(schema.STATE_PROFILES):
        tendency = levels[..., i] + spec.noise_sigma * smooth_levels(random, spec.columns, 2.0)
        change = schema.STEP_SECONDS * climate.std(name.replace("state_", "ptend_")) * tendency
        if name != "state_t":
            change[:, :_ABLATED_LEVELS] = 0.0
        outcome[name] = state[name] + change
    outcome["state_q0002"][:, _TRACE] = 0.0
    for name in _WATER:
        outcome[name][:, _ABLATED_LEVELS:] = np.maximum(outcome[name], 0.0)[:, _ABLATED_LEVELS:]

    if spec.expanded:
        _divide_cloud(outcome)

    fluxes = fluxes + spec.noise_sigma * random.standard_normal(fluxes.shape)
    drawn = dict(zip(schema.FLUXES, fluxes.T, strict=True))
    shaped = {name: 2.5 * state["pbuf_COSZRS"] * np.exp(0.3 * drawn[name]) for name in _SUNLIT}
    freezing = np.clip((275.0 - state["state_t"][:, -1]) / 10.0, 0.0, 1.0)
    shaped["cam_out_FLWDS"] = np.maximum(4.0 + drawn["cam_out_FLWDS"], 0.0)
    shaped["cam_out_PRECC"] = np.exp(0.6 * drawn["cam_out_PRECC"])
    shaped["cam_out_PRECSC"] = freezing * np.exp(0.6 * drawn["cam_out_PRECSC"])
    scaled = {name: climate.std(name) * shaped[name] for name in schema.FLUXES}
    scaled["cam_out_PRECSC"] = np.minimum(scaled["cam_out_PRECSC"], scaled["cam_out_PRECC"])
    return outcome | scaled


def _divide_cloud(state: State) -> None:
    """Divide cloud water after a step by temperature, as E3SM-MMF does; where a step removes all liquid, all of it is ice."""
    import torch

    from datamodules.leap.humidity import liquid_share

    share = liquid_share(torch.from_numpy(state["state_t"])).numpy().copy()
    share[:, _TRACE] = 0.0
    liquid, ice = (state[name][:, _ABLATED_LEVELS:] for name in ("state_q0002", "state_q0003"))
    cloud, share = liquid + ice, share[:, _ABLATED_LEVELS:]
    liquid[:], ice[:] = share * cloud, (1.0 - share) * cloud


def expand(spec: DemoSpec, step: Step, state: State) -> State:
    """What expanded files hold beside the state, made so that it helps: weather persists, so that the physics of the steps before
    did nearly what the physics of this step will do, up to noise of their own, and the dynamics had worked against them.

    Args:
        spec: Spec of the data set.
        step: The time step.
        state: From :func:`before`.
    """
    climate = load_climate(spec.columns)
    draws = [after(spec, step, state, draw) for draw in range(1, 5)]
    change = [
        {name: (draw[name] - state[name]) / schema.STEP_SECONDS for name in schema.STATE_PROFILES} for draw in draws
    ]
    more: State = {}
    for when, (physics, dynamics) in {"": change[:2], "tm_": change[2:]}.items():
        for name in ("state_t", "state_u"):
            more[f"{when}{name}_dyn"] = -dynamics[name]
        more[f"{when}state_q0_dyn"] = -np.sum([dynamics[name] for name in _WATER], axis=0)
        more |= {f"{when}{name}_prvphy": physics[name] for name in (*_WATER, "state_t", "state_u")}
    latitude = np.deg2rad(climate.lat)
    return more | dict(zip(schema.PLACES, (np.cos(latitude), np.sin(latitude)), strict=True))


def targets(state: State, outcome: State) -> np.ndarray:
    """The 368 targets in schema order, (columns, 368): tendencies per second, then the surface fluxes."""
    tendencies = [(outcome[name] - state[name]) / schema.STEP_SECONDS for name in schema.STATE_PROFILES]
    return np.concatenate([*tendencies, *(outcome[name][:, None] for name in schema.FLUXES)], axis=1)


def noise_ceiling(spec: DemoSpec) -> dict[str, float]:
    """R2 of the best possible predictor: the conditional mean of the targets given the inputs.

    On up to 16 time steps (6,144 rows of the full grid) the noise is drawn four times for the same inputs. The variance
    between draws, averaged over rows, is what remains unexplained even by the conditional mean; one minus its share of
    the total variance is the ceiling of a target. Means over targets follow the judge: a target that never varies counts 1.

    Returns:
        Mean over the 368 targets as ``all``, and over each of :data:`schema.TARGET_GROUPS`.
    """
    steps = spec.steps()
    states = [(step, before(spec, step)) for step in steps[:: -(-len(steps) // 16)]]
    draws = np.stack(
        [
            np.concatenate([targets(state, after(spec, step, state, draw)) for step, state in states])
            for draw in range(4)
        ]
    )
    unexplained, total = draws.var(axis=0, ddof=1).mean(axis=0), draws.var(axis=(0, 1))
    ceiling = np.where(total > 0, 1.0 - unexplained / np.where(total > 0, total, 1.0), 1.0)
    groups = {name: float(ceiling[columns].mean()) for name, columns in schema.TARGET_GROUPS.items()}
    return {"all": float(ceiling.mean()), **groups}


# --- The teacher ----------------------------------------------------------------------------------------------------

_FEATURES, _OUTPUTS = 12, 14
_NEAR, _FAR = 3, 7  # levels that the two convolutions span


def teach(climate: Climate, state: State) -> np.ndarray:
    """Outputs of the net at every level, (columns, 60, 14): six tendencies, then the level shares of eight fluxes."""
    names = ("state_t", "state_q0001", "state_u", "state_v")
    profiles = np.stack([climate.standard(name, state[name]) for name in names], axis=-1)
    names = ("pbuf_COSZRS", "pbuf_SHFLX", "pbuf_LHFLX", "cam_in_LWUP")
    scalars = np.stack([climate.standard(name, state[name]) for name in names], axis=-1)[:, None]
    near, surface, far, whole, gated, plain = _weights()
    features = np.tanh(_windows(profiles, _NEAR) @ near + scalars @ surface)
    gates = np.tanh(_windows(features, _FAR) @ far + features.mean(axis=1, keepdims=True) @ whole)
    outputs: np.ndarray = (features * gates) @ gated + features @ plain
    return outputs


def _scaled_teacher(climate: Climate, state: State) -> tuple[np.ndarray, np.ndarray]:
    """Tendencies (columns, 60, 6) and fluxes (columns, 8) of mean 0 and standard deviation 1 over the year."""
    outputs, (mean, std), (flux_mean, flux_std) = teach(climate, state), *_spread()
    return (outputs[..., :6] - mean) / std, (outputs[..., 6:].mean(axis=1) - flux_mean) / flux_std


@lru_cache(maxsize=1)
def _spread() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Mean and standard deviation of the outputs over the reference year."""
    climate = load_climate(_REFERENCE.columns)
    outputs = np.concatenate([teach(climate, before(_REFERENCE, step)) for step in _REFERENCE.steps()])
    parts = outputs[..., :6], outputs[..., 6:].mean(axis=1)
    (levels, fluxes) = ((part.mean(axis=0), part.std(axis=0)) for part in parts)
    return levels, fluxes


@lru_cache(maxsize=1)
def _weights() -> list[np.ndarray]:
    random = np.random.default_rng(_TEACHER_SEED)
    sizes = (  # inputs, outputs, size of the sum
        (_NEAR * 4, _FEATURES, 1.0),
        (4, _FEATURES, 0.7),
        (_FAR * _FEATURES, _FEATURES, 2.0),
        (_FEATURES, _FEATURES, 2.0),
        (_FEATURES, _OUTPUTS, 2.0),
        (_FEATURES, _OUTPUTS, 1.2),
    )
    return [random.standard_normal((n, m)) * size / np.sqrt(n) for n, m, size in sizes]


def _windows(x: np.ndarray, width: int) -> np.ndarray:
    """Every level with its neighbours, (columns, 60, width * channels); the outermost levels repeat beyond the ends."""
    padded = np.pad(x, ((0, 0), (width // 2, width // 2), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width, axis=1).reshape(*x.shape[:2], -1)


def smooth_levels(random: np.random.Generator, columns: int, length: float) -> np.ndarray:
    """Standard normal noise, (columns, 60), with vertical correlation length ``length`` in levels."""
    result: np.ndarray = random.standard_normal((columns, schema.LEVELS)) @ _vertical(length).T
    return result


@lru_cache(maxsize=8)
def _vertical(length: float) -> np.ndarray:
    """Cholesky factor of the squared-exponential covariance (the small diagonal keeps it positive definite)."""
    levels = np.arange(schema.LEVELS, dtype=np.float64)
    covariance = np.exp(-0.5 * ((levels[:, None] - levels) / length) ** 2)
    return np.linalg.cholesky((1 - 1e-6) * covariance + 1e-6 * np.eye(schema.LEVELS))
