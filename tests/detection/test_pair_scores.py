"""Scores of pairs: numbers worked by hand, and every score against a plain float64 double loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipdefend.detection import PAIR_SCORES, neighbours
from clipdefend.detection.lorex import fit_projection
from clipdefend.detection.neighbours import nearest_among
from clipdefend.detection.pair_score import MOST, Basis, Embedded
from clipdefend.errors import ConfigError, DataError

K, PAIRS, DIMENSION = 4, 60, 6
REFERENCES = [*range(0, PAIRS, 2)]  # every other pair
SCALE = 20.0


def unit(seed: int, size: int = PAIRS) -> Tensor:
    return F.normalize(torch.from_numpy(np.random.default_rng(seed).normal(size=(size, DIMENSION))), dim=-1)


def images() -> Tensor:
    """Outputs of an image tower, of several lengths."""
    return unit(1) * torch.linspace(0.5, 2, PAIRS, dtype=torch.float64)[:, None]


def embedded(rows: list[int], clean: bool = False) -> Embedded:
    more = {"clean_image": 3 * unit(3)[rows], "clean_text": unit(4)[rows]} if clean else {}
    return Embedded(rows=torch.tensor(rows), image=images()[rows], text=unit(2)[rows], **more)


def basis(**changes: Any) -> Basis:
    given = {"references": embedded(REFERENCES), "sample": images(), "trusted": unit(5, 40), "scale": SCALE}
    return Basis(**{**given, **changes})


def score(name: str, pairs: Embedded, given: Basis, **parameters: Any) -> list[float]:
    built = PAIR_SCORES.build(name, {**({"k": K} if name in NEAR else {}), **parameters})
    return built.prepare(given).judge(pairs).tolist()


def sorted_distances(row: int) -> list[tuple[float, int]]:
    """Distance and row of every other reference, the nearest first."""
    image = images().numpy()
    return sorted((math.dist(image[row], image[j]), j) for j in REFERENCES if j != row)


def loop_kdist(row: int) -> float:
    return sorted_distances(row)[K - 1][0]


def loop_lid(row: int) -> float:
    near = [distance for distance, _ in sorted_distances(row)[:K]]
    return -K / sum(math.log(distance / near[-1] + 1e-4) for distance in near)


def loop_slof(row: int) -> float:
    return sum(loop_kdist(row) / loop_kdist(j) for _, j in sorted_distances(row)[:K]) / K


def loop_dao(row: int) -> float:
    near = [j for _, j in sorted_distances(row)[:K]]
    return sum(loop_lid(j) * math.log(loop_kdist(row) / loop_kdist(j)) for j in near) / K


def loop_clipscore(row: int) -> float:
    image, text = unit(1).numpy()[row], unit(2).numpy()[row]
    return -sum(float(image[at]) * float(text[at]) for at in range(DIMENSION))


def loop_loss(row: int) -> float:
    image, text = unit(1).numpy(), unit(2).numpy()
    found = 0.0
    for left, right in ((image, text), (text, image)):
        own = math.exp(SCALE * float(left[row] @ right[row]))
        others = sum(math.exp(SCALE * float(left[row] @ right[j])) for j in REFERENCES if j != row)
        found -= math.log(own / (own + others)) / 2
    return -found


def loop_lorex(row: int) -> float:
    trusted, mixed = unit(5, 40).numpy(), images().numpy()
    mean = trusted.mean(axis=0)

    def covariance(rows: Any, centre: Any) -> Any:
        total = np.zeros((DIMENSION, DIMENSION))
        for each in rows:
            for a in range(DIMENSION):
                for b in range(DIMENSION):
                    total[a, b] += (each[a] - centre[a]) * (each[b] - centre[b])
        return total / (len(rows) - 1)

    clean = covariance(trusted, mean)
    # Any square root of the inverse whitens; Cholesky's is another one than the code's.
    inverse = np.linalg.inv(clean + 1e-3 * np.trace(clean) / DIMENSION * np.eye(DIMENSION))
    root = np.linalg.cholesky(inverse)
    whitened = (mixed - mean) @ root
    first = np.linalg.svd(whitened - whitened.mean(axis=0))[2][0]
    return abs(float(whitened[row] @ first))


LOOPS = {
    "dao": loop_dao,
    "slof": loop_slof,
    "kdist": loop_kdist,
    "lid": loop_lid,
    "lorex": loop_lorex,
    "clipscore": loop_clipscore,
    "loss": loop_loss,
}
NEAR = ("dao", "slof", "kdist", "lid")


def test_every_score_has_a_loop_here() -> None:
    assert list(LOOPS) == PAIR_SCORES.names()


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("block", [1, neighbours.BLOCK])
def test_scores_equal_a_double_loop(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    found = score(name, embedded([*range(PAIRS)]), basis())
    assert found == pytest.approx([LOOPS[name](row) for row in range(PAIRS)], rel=1e-9)


@pytest.mark.parametrize("name", LOOPS)
def test_the_order_of_rows_and_their_batches_change_nothing(name: str) -> None:
    rows = np.random.default_rng(0).permutation(PAIRS).tolist()
    shuffled = np.random.default_rng(1).permutation(REFERENCES).tolist()
    given = basis(references=embedded(shuffled), sample=images()[rows])
    parts = [score(name, embedded(rows[at : at + 7]), given) for at in range(0, PAIRS, 7)]
    found = dict(zip(rows, [value for part in parts for value in part], strict=True))
    whole = score(name, embedded([*range(PAIRS)]), basis())
    assert [found[row] for row in range(PAIRS)] == pytest.approx(whole, rel=1e-9)


def line(places: list[float], rows: list[int]) -> Embedded:
    """Points on a line: no unit vectors, but distances that can be read off."""
    return Embedded(rows=torch.tensor(rows), image=torch.tensor([[place] for place in places]))


def test_neighbour_scores_by_hand() -> None:
    """References at 0, 1, 3 and 7, a point at 10, k = 2: its neighbours are 7, at a distance of 3, and 3, at 7.

    d_2 is 7 for the point, 6 for 7 (from 1) and 3 for 3 (from 0). The distances of 7 are 4 and 6, those of 3 are 2 and
    3, so that both have the dimension -2 / (ln(2/3 + 0.0001) + ln(1 + 0.0001)) = 4.93565.
    """
    references = line([0.0, 1.0, 3.0, 7.0], [0, 1, 2, 3])
    given = Basis(references=references, sample=references.image)
    point = line([10.0], [9])
    assert score("kdist", point, given, k=2) == [7.0]
    assert score("slof", point, given, k=2) == pytest.approx([(7 / 6 + 7 / 3) / 2])
    dimension = -2 / (math.log(2 / 3 + 1e-4) + math.log(1 + 1e-4))
    assert dimension == pytest.approx(4.93565, abs=1e-5)
    expected = dimension * (math.log(7 / 6) + math.log(7 / 3)) / 2
    assert score("dao", point, given, k=2) == pytest.approx([expected])
    near = -2 / (math.log(3 / 7 + 1e-4) + math.log(1 + 1e-4))
    assert score("lid", point, given, k=2) == pytest.approx([near])


def test_a_reference_is_not_its_own_neighbour_but_a_copy_of_it_is() -> None:
    references = torch.tensor([[0.0], [1.0], [4.0]])
    own, copy = nearest_among(references[:1], references, 2, torch.tensor([0])), torch.tensor([-1])
    assert (own.distance.tolist(), own.place.tolist()) == ([[1.0, 4.0]], [[1, 2]])
    assert nearest_among(references[:1], references, 2, copy).distance.tolist() == [[0.0, 1.0]]


def test_copies_are_at_a_distance_of_exactly_zero() -> None:
    """Through a matrix product alone they would be some 1e-8 apart, and a ratio of such distances means nothing."""
    vectors = unit(7, 1).expand(5, -1).float()
    found = nearest_among(vectors, vectors, 3, torch.arange(5))
    assert found.distance.tolist() == [[0.0] * 3] * 5
    assert found.place[0].tolist() == [1, 2, 3]


def test_more_copies_than_neighbours_are_most_suspicious() -> None:
    places = [0.0] * 4 + [1.0, 2.5, 4.5, 7.0]
    references = line(places, [*range(8)])
    given = Basis(references=references, sample=references.image)
    assert score("slof", line([0.0], [9]), given, k=2) == [MOST]
    assert score("dao", line([0.0], [9]), given, k=2) == [MOST]
    # Beside copies: its own distance is positive, theirs is 0.
    assert score("dao", line([0.3], [9]), given, k=2) == [MOST]


def test_clipscore_takes_the_clean_model_where_there_is_one() -> None:
    rows = [0, 5, 9]
    pairs = embedded(rows, clean=True)
    expected = [-float(unit(3)[row] @ unit(4)[row]) for row in rows]
    assert score("clipscore", pairs, basis()) == pytest.approx(expected)


def test_the_loss_by_hand() -> None:
    """One negative with cosines 0 and scale ln 3: the pair's own cosine 1 gives e^(ln 3) = 3 against 1: ln(4/3)."""
    axes = torch.eye(2, dtype=torch.float64)
    pair = Embedded(rows=torch.tensor([0]), image=axes[:1], text=axes[:1])
    references = Embedded(rows=torch.tensor([0, 1]), image=axes, text=axes)
    given = Basis(references=references, sample=axes, scale=math.log(3))
    assert score("loss", pair, given) == pytest.approx([-math.log(4 / 3)])


def test_lorex_finds_a_planted_direction() -> None:
    rng = np.random.default_rng(0)
    trusted = torch.from_numpy(rng.normal(size=(4000, 8)) * np.geomspace(1, 0.01, 8))
    mixed = torch.from_numpy(rng.normal(size=(4000, 8)) * np.geomspace(1, 0.01, 8))
    mixed[:40, 7] += 0.2  # twenty deviations along the thinnest axis; nothing beside those of the first
    found = fit_projection(trusted, mixed, 1e-6)
    scores = found(mixed)
    assert found.ratio > 3
    assert sorted(scores.argsort(descending=True)[:40].tolist()) == [*range(40)]
    assert fit_projection(trusted, mixed[40:], 1e-6).ratio < 1.1


def test_a_basis_that_is_too_small_or_lacks_trusted_pairs_is_named() -> None:
    with pytest.raises(DataError, match=r"needs pairs that are known to be clean: give them with --trusted"):
        score("lorex", embedded([0]), basis(trusted=None))
    with pytest.raises(DataError, match="1 trusted with 60 other images"):
        score("lorex", embedded([0]), basis(trusted=unit(5, 1)))
    with pytest.raises(DataError, match="all of them have the same embedding"):
        score("lorex", embedded([0]), basis(trusted=unit(5, 1).expand(3, -1)))
    bare = Embedded(rows=torch.tensor([0]), image=images()[:1])
    for name in ("loss", "clipscore"):
        with pytest.raises(DataError, match="needs the embeddings of captions"):
            score(name, bare, basis())


def test_parameters_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"'dao': k is 1; it must be at least 2"):
        PAIR_SCORES.build("dao", {"k": 1})
    with pytest.raises(ConfigError, match=r"ridge is 0; it must be above 0"):
        PAIR_SCORES.build("lorex", {"ridge": 0})
    with pytest.raises(ConfigError, match=r"Unknown score 'doa'\. Did you mean 'dao'\?"):
        PAIR_SCORES.build("doa")
