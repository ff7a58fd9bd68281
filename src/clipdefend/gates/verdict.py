"""A verdict on each bound. What has no value passes none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

Metrics = Mapping[str, float]
Bounds = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One bound and what was measured.

    Attributes:
        flag: such as "--max-asr".
        metric: such as "asr@5".
        bound: a share.
        value: what is compared with the bound, a share or a drop of shares; None where there is none.
        passed: whether the bound is kept; never without a value.
        sentence: the verdict for people, with the interval and the number of images.
    """

    flag: str
    metric: str
    bound: float
    value: float | None
    passed: bool
    sentence: str

    @property
    def name(self) -> str:
        """Such as "asr@5 <= 0.05", the same whatever was measured."""
        if self.flag == "--min-ba":
            return f"{self.metric} >= {self.bound:g}"
        drop = " drop" if self.flag == "--max-ba-drop" else ""
        return f"{self.metric}{drop} <= {self.bound:g}"


def judge(bounds: Bounds, metrics: Metrics, against: tuple[str, Metrics] | None = None) -> list[Gate]:
    """A verdict on every bound.

    Args:
        bounds: flag -> k -> share.
        metrics: flat ones of the model: ``ba@1``, ``ba@1_low``, ``n_clean`` and so on.
        against: name and metrics of the run that ``--max-ba-drop`` compares with.
    """
    gates = []
    for flag, by_k in bounds.items():
        for k, bound in sorted(by_k.items()):
            metric = f"{'asr' if flag == '--max-asr' else 'ba'}@{k}"
            other = against if flag == "--max-ba-drop" else None
            gates.append(_judge_one(flag, metric, bound, metrics, other))
    return gates


def _judge_one(
    flag: str, metric: str, bound: float, metrics: Metrics, against: tuple[str, Metrics] | None
) -> Gate:
    found, reference = _number(metrics, metric), _number(against[1], metric) if against else None
    limit = f"{flag} {_percent(bound)}"
    fault = None
    if found is None or (against and reference is None):
        whose = metric.upper() if found is None or against is None else f"{metric.upper()} of {against[0]}"
        fault = f"{whose} has no value for {limit}{_why(metric, metrics)}"
    elif against and _other_count(metrics, against[1]):
        fault = (
            f"{metric.upper()} cannot be compared for {limit}: it was measured on {metrics['n_clean']} images here"
            f" and on {against[1]['n_clean']} in {against[0]}"
        )
    if fault is not None or found is None:
        return Gate(flag=flag, metric=metric, bound=bound, value=None, passed=False, sentence=str(fault))
    shown = f"{metric.upper()} is {_described(metrics, metric, found)}"
    if against and reference is not None:
        value = round(reference - found, 12)  # 0.6 - 0.58 is more than 0.02 in floating point
        passed = value <= bound
        drop = f"{100 * abs(value):.2f} points {'below' if value >= 0 else 'above'}"
        shown += f", {drop} the {_described(against[1], metric, reference)} of {against[0]}"
        said = f"{'within' if passed else 'more than'} {limit}"
    elif flag == "--min-ba":
        value, passed = found, found >= bound
        said = f"{'not below' if passed else 'below'} {limit}"
    else:
        value, passed = found, found <= bound
        said = f"{'not above' if passed else 'above'} {limit}"
    return Gate(
        flag=flag, metric=metric, bound=bound, value=value, passed=passed, sentence=f"{shown}, {said}"
    )


def _other_count(metrics: Metrics, others: Metrics) -> bool:
    """Whether two runs say that they measured different numbers of clean images."""
    counts = metrics.get("n_clean"), others.get("n_clean")
    return None not in counts and counts[0] != counts[1]


def _number(metrics: Metrics, name: str) -> float | None:
    """A metric, None where it is absent or no number."""
    value = metrics.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _described(metrics: Metrics, metric: str, value: float) -> str:
    """Such as "12.00 % [10.12, 14.20] (n = 1965)"."""
    low, high = _number(metrics, f"{metric}_low"), _number(metrics, f"{metric}_high")
    n = _number(metrics, "n_triggered" if metric.startswith("asr") else "n_clean")
    interval = "" if low is None or high is None else f" [{100 * low:.2f}, {100 * high:.2f}]"
    return f"{_percent(value)}{interval}{'' if n is None else f' (n = {n:.0f})'}"


def _why(metric: str, metrics: Metrics) -> str:
    if metric.startswith("asr") and metrics.get("n_triggered") == 0:
        return ", since every image is of the target class"
    return ""


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
