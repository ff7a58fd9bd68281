"""Checks the components that a configuration names, before a command opens anything."""

from __future__ import annotations

from typing import Any

from clipdefend.attacks import ATTACKS
from clipdefend.config import DefendConfig, FilterConfig, FinetuneAttackConfig, PoisonConfig, RunConfig
from clipdefend.defences import DEFENCES
from clipdefend.detection import PAIR_SCORES
from clipdefend.errors import ConfigError
from clipdefend.objectives import METHODS


def check_components(config: RunConfig) -> None:
    """Check the names and parameters of a configuration's attack, method, terms, defence and scores.

    A known name without parameters imports nothing, so that ``--dry-run`` stays fast.

    Raises:
        ConfigError: an unknown name or parameter, or a value that the component refuses.
    """
    if isinstance(config, PoisonConfig):
        ATTACKS.check(*attack_parameters(config))
    if isinstance(config, FilterConfig):
        for name in config.scores:
            PAIR_SCORES.check(name, {})
    if not isinstance(config, DefendConfig | FinetuneAttackConfig):
        return
    if config.method == "auto":
        raise ConfigError(
            "--method auto is a command of its own: clipdefend clean, which tries several methods and applies the best."
        )
    if config.terms or config.defence or config.method not in (*METHODS, *DEFENCES.names()):
        from clipdefend.defences.build_defence import build_defence

        build_defence(config.method, config.terms, config.defence)


def all_parameters(config: RunConfig, key: str) -> dict[str, Any] | None:
    """Return the parameters of a run's component, those that are not given with their defaults.

    Args:
        key: of the configuration: ``attack`` or ``defence``.

    Returns:
        None: the run has no such component. Terms alone, as in ``ft``, have no parameters of their own.
    """
    if key == "attack" and isinstance(config, PoisonConfig):
        name, given = attack_parameters(config)
        return {**ATTACKS.defaults(name), **given}
    if key == "defence" and isinstance(config, DefendConfig | FinetuneAttackConfig):
        known = DEFENCES.defaults(config.method) if config.method in DEFENCES.names() else {}
        return {**known, **config.defence}
    return None


def attack_parameters(config: PoisonConfig) -> tuple[str, dict[str, Any]]:
    """Return name and parameters of the attack. Raises ConfigError where it has no name."""
    parameters = dict(config.attack)
    name = parameters.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError("The attack has no name: give --attack NAME.")
    return name, parameters
