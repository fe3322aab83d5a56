"""What can go wrong in a simulated episode, by name: one class a kind, one file a family. docs/perturbations.md."""

from __future__ import annotations

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.sim.perturbations.base import Moment, Perturbation, Picture
from ebt_policy_ros.sim.perturbations.camera import Black, Blurred, Frozen, Occluded, Shifted, Tinted
from ebt_policy_ros.sim.perturbations.delays import Late
from ebt_policy_ros.sim.perturbations.external import Pushed
from ebt_policy_ros.sim.perturbations.joints import Biased, Noisy
from ebt_policy_ros.sim.perturbations.scene import Distractor, Nudge, Slip, Teleport, WrongScene

_SCENE: tuple[type[Perturbation], ...] = (Teleport, Nudge, Slip, Distractor, WrongScene)
_SENSES: tuple[type[Perturbation], ...] = (Black, Frozen, Blurred, Occluded, Tinted, Shifted, Biased, Noisy)
PERTURBATIONS: dict[str, type[Perturbation]] = {kind.name: kind for kind in (*_SCENE, *_SENSES, Pushed, Late)}
FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(kind.family for kind in PERTURBATIONS.values()))
GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(PERTURBATIONS),
    **{family: tuple(n for n, kind in PERTURBATIONS.items() if kind.family == family) for family in FAMILIES},
    "recoverable": tuple(name for name, kind in PERTURBATIONS.items() if kind.is_recoverable),
    "held-out": tuple(name for name, kind in PERTURBATIONS.items() if kind.is_held_out),
}
"""Names for several kinds at once."""


def find_kind(name: str) -> type[Perturbation]:
    """The kind called ``name``; SettingsError lists what there is."""
    if name not in PERTURBATIONS:
        raise SettingsError(f"perturbation '{name}': expected one of {', '.join(PERTURBATIONS)}")
    return PERTURBATIONS[name]


__all__ = ["FAMILIES", "GROUPS", "PERTURBATIONS", "Moment", "Perturbation", "Picture", "find_kind"]
