"""Stacks of blends, written as YAML.

A node weighs its members, and members may be nodes: fixed weights (``weight`` on every member), equal ones, or any
method's. The weights of all nodes multiply into one vector over the models, so that a stack is scored, nested, saved and
applied like every other blend::

    members:
      - {name: low_res, weight: 0.35, members: ["runs/leap_lr_*"]}
      - {name: high_res, weight: 0.65, method: convex, members: [runs/leap_hr_a, runs/leap_hr_b]}
    steps:
      - clip: [0, 1]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blend.weights import Kind
from datamodules.banks.bank import BankError
from datamodules.banks.roles import TableFlags
from datamodules.banks.sources import Source, locate, resolve
from datamodules.files import shipped

_KEYS = {"name", "weight", "method", "options", "members", "bank", "steps", "kind", "clip"}
_PLAIN = TableFlags()


@dataclass
class Node:
    """One blend of a stack, or one model.

    Attributes:
        name: For messages.
        leaf: Position of the model, None for a blend.
        method: Solver of the members' weights; ``fixed`` takes ``weights``.
        weights: Fixed weights of the members.
        options: Options of the solver.
        members: What is weighed.
    """

    name: str
    leaf: int | None = None
    method: str = "equal"
    weights: list[float] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    members: list[Node] = field(default_factory=list)


@dataclass
class Recipe:
    """A stack.

    Attributes:
        root: The outermost blend.
        sources: Models, in the order of the leaves.
        steps: post-processing.
        kind, clip: Mean that all nodes take.
    """

    root: Node
    sources: list[Source]
    steps: list[dict[str, Any]]
    kind: Kind = "arithmetic"
    clip: float = 0.0


def read_recipe(path: Path, flags: TableFlags = _PLAIN) -> Recipe:
    """Read a recipe and find its models.

    Args:
        path: YAML file.
        flags: How tables are read.

    Raises:
        BankError: a key is unknown, weights do not sum to 1, or a bank does not exist; the node is named.
    """
    import yaml

    path = shipped(path)
    if not path.is_file():
        raise BankError(f"there is no recipe {path}")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise BankError(f"{path} is not valid YAML: {error}") from None
    banks: list[str] = []
    try:
        root = _node(content, "the recipe", banks)
        steps, kind, clip = content.get("steps") or [], content.get("kind", "arithmetic"), content.get("clip", 0.0)
    except (TypeError, ValueError, AttributeError) as error:
        raise BankError(f"{path} has a value of the wrong type: {error}") from None
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise BankError(f"{path}: steps is a list of mappings such as - clip: [0, 1], not {steps!r}")
    if kind not in ("arithmetic", "logit", "rank") or not isinstance(clip, int | float) or not 0 <= clip < 0.5:
        raise BankError(
            f"{path}: kind is arithmetic, logit or rank and clip lies in [0, 0.5), not {kind!r} and {clip!r}"
        )
    sources = resolve(banks, flags=flags)
    if len(sources) != len(banks):
        raise BankError(f"{path}: {len(banks)} banks were named but {len(sources)} found")
    return Recipe(root, sources, steps, kind, float(clip))


def _node(content: Any, name: str, banks: list[str]) -> Node:
    if isinstance(content, str):
        content = {"bank": content}
    if not isinstance(content, dict):
        raise BankError(f"{name}: a member is a bank or a mapping, not {content!r}")
    unknown = set(content) - _KEYS
    if unknown:
        raise BankError(f"{name}: unknown key {sorted(unknown)[0]!r}; a node knows {', '.join(sorted(_KEYS))}")
    name = str(content.get("name", content.get("bank", name)))
    if "bank" in content:
        return _leaves(content["bank"], name, banks)
    members = content.get("members")
    if members is not None and not isinstance(members, list):
        raise BankError(f"{name}: members is a list, not {members!r}")
    if not members:
        raise BankError(f"{name} has no members; give members: [...] or bank: PATH")
    node = Node(name, method=content.get("method", "equal"), options=dict(content.get("options", {})))
    node.members = [_node(member, f"member {i + 1} of {name}", banks) for i, member in enumerate(members)]
    given = [float(m["weight"]) for m in members if isinstance(m, dict) and m.get("weight") is not None]
    if given:
        if len(given) < len(members) or "method" in content:
            raise BankError(f"{name}: give a weight to every member, or to none and a method")
        node.method, node.weights = "fixed", given
        if abs(sum(node.weights) - 1.0) > 1e-6 or min(node.weights) < 0:
            raise BankError(
                f"{name}: the weights of the members must not be negative and sum to 1, they sum to {sum(node.weights):g}"
            )
    return node


def _leaves(bank: str, name: str, banks: list[str]) -> Node:
    """A model, or the mean of the models that a glob finds."""
    found = [str(path) for path in locate([bank])]
    if len(found) == 1:
        banks.append(bank)
        return Node(name, leaf=len(banks) - 1)
    leaves = []
    for path in found:
        banks.append(path)
        leaves.append(Node(path, leaf=len(banks) - 1))
    return Node(name, members=leaves)
