"""The frontier and the region of success, on numbers like those of the second paper, worked out by hand."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clipdefend.report.collect import Epoch
from clipdefend.report.frontier import (
    Success,
    count_successes,
    frontier,
    frontier_csv,
    frontier_markdown,
    group_frontiers,
)
from clipdefend.report.plots import Region, Track, plot_scatter

# BA@1 and ASR@1 in percent, epoch 0 first: a victim of 16.0 cleaned at three rates.
LOW = [(16.0, 99.0), (17.5, 19.0), (17.2, 9.0)]
MIDDLE = [(16.0, 99.0), (16.5, 5.0), (16.4, 1.0), (14.5, 0.1)]
HIGH = [(16.0, 99.0), (10.4, 0.0), (17.5, 45.0)]


def epochs(percents: list[tuple[float, float]]) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(number, {"ba@1": ba / 100, "asr@1": asr / 100}) for number, (ba, asr) in enumerate(percents)
    )


RUNS = [epochs(LOW), epochs(MIDDLE), epochs(HIGH)]


def test_the_best_accuracy_under_each_bound() -> None:
    found = [
        (round(100 * p.ba, 6), round(100 * (p.drop or 0), 6), p.run, p.epoch) for p in frontier(RUNS) if p
    ]
    assert found == [
        (14.5, 1.5, 1, 3),
        (16.4, -0.4, 1, 2),
        (16.5, -0.5, 1, 1),
        (17.2, -1.2, 0, 2),
        (17.5, -1.5, 0, 1),
        (17.5, -1.5, 0, 1),  # equal accuracy at 45 %: the lower ASR counts
    ]


def test_what_meets_no_bound_has_no_point_and_the_victim_is_no_candidate() -> None:
    never = epochs([(23.8, 0.0), (23.0, 99.9), (20.0, 51.0)])
    assert frontier([never]) == (None,) * 6
    assert frontier([]) == (None,) * 6


def test_without_a_recorded_victim_the_drop_is_unknown() -> None:
    (point,) = frontier([epochs(LOW)[1:]], limits=[0.1])
    assert point is not None
    assert point.ba == pytest.approx(0.172)
    assert point.drop is None
    assert count_successes([epochs(LOW)[1:]], 0.02, 0.1) == Success(0, 0, 0, 0)


def test_the_region_of_success() -> None:
    # At most 1.5 points below 16.0 and at most 5 %: three epochs of the second run; 10.4 has lost too much.
    assert count_successes(RUNS, ba_budget=0.015, asr_limit=0.05) == Success(
        runs=1, epochs=3, of_runs=3, of_epochs=7
    )
    assert count_successes(RUNS, ba_budget=0.06, asr_limit=0.10) == Success(
        runs=3, epochs=5, of_runs=3, of_epochs=7
    )


def test_runs_of_one_defence_are_one_group_whatever_their_settings() -> None:
    tracks = [Track(f"cleanclip, rate {n}", "cleanclip", (run,)) for n, run in enumerate(RUNS)]
    (group,) = group_frontiers({"badnet": tracks}, 0.015, 0.05)
    assert (group.attack, group.defence) == ("badnet", "cleanclip")
    assert group.points == frontier(RUNS)
    assert len(frontier_csv([group]).splitlines()) == 7
    assert frontier_markdown([group]).splitlines()[-1] == (
        "| badnet | cleanclip | 14.5 (-1.5) | 16.4 (+0.4) | 16.5 (+0.5) | 17.2 (+1.2) | 17.5 (+1.5)"
        " | 17.5 (+1.5) | 1 of 3 runs, 3 of 7 epochs |"
    )


def test_no_loss_is_a_change_of_plus_zero() -> None:
    tracks = [Track("ft", "ft", (epochs([(16.0, 99.0), (16.0, 0.0)]),))]
    assert "| 16.0 (+0.0) |" in frontier_markdown(group_frontiers({"badnet": tracks}, 0.015, 0.05))


def test_what_a_defender_does_not_choose_is_a_group_of_its_own() -> None:
    tracks = [
        Track("ft, clean", "ft", (epochs(LOW),), "keep_poison=0"),
        Track("ft, rate 2", "ft", (epochs(MIDDLE),), "keep_poison=0"),
        Track("ft, poisoned", "ft", (epochs(HIGH),), "keep_poison=5"),
    ]
    clean, poisoned = group_frontiers({"badnet": tracks}, 0.015, 0.05)
    assert (clean.defence, poisoned.defence) == ("ft (keep_poison=0)", "ft (keep_poison=5)")
    assert clean.points == frontier([epochs(LOW), epochs(MIDDLE)])
    assert poisoned.points == frontier([epochs(HIGH)])


def test_a_plot_of_many_rows_names_defences_and_conditions() -> None:
    """The height is that of the legend: two conditions in place of thirteen rows."""
    rows = [Track(f"ft (lr={n})", "ft", (epochs(LOW),), f"keep_poison={n % 2}") for n in range(13)]
    region, limits = Region(0.02, 0.05), (0.0, 20.0)
    many, few, all_named = (plot_scatter(some, 1, region, limits) for some in (rows, rows[:2], rows[:12]))
    assert many.size == few.size
    assert all_named.size[1] > many.size[1]


def test_long_names_fit_into_the_legend(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(FigureCanvasAgg, "print_figure", lambda self, *_, **__: drawn.append(self.figure))
    names = ("cleanerclip (ssl.temperature=default)", "cleanerclip (lr=0.0004, " + "num_samples=4000, " * 9)
    plot_scatter([Track(name, "ft", (epochs(LOW),)) for name in names], 1, Region(0.02, 0.05), (0.0, 20.0))
    for figure in drawn:
        figure.draw_without_rendering()
        (legend,) = figure.legends
        extent = legend.get_window_extent()
        assert figure.bbox.x0 <= extent.x0 < extent.x1 <= figure.bbox.x1
    assert drawn
    assert names[0] in [text.get_text() for text in drawn[0].legends[0].get_texts()]
