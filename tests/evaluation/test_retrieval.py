"""Retrieval: hand-counted ranks both ways, several captions an image, ties, blocks, captions of the target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clipdefend.errors import ConfigError, DataError
from clipdefend.evaluation import retrieval
from clipdefend.evaluation.retrieval import Gallery, caption_attack, image_ranks, recalls, without_target
from clipdefend.metrics import Share

# Captions are unit vectors, so that an image's coordinates are its cosines with them. Captions 0 and 1 are of
# image 0, caption 2 of image 1, captions 3 and 4 of image 2.
#            caption 0    1    2    3    4   nearest first
IMAGES = [
    [0.2, 0.9, 0.5, 0.8, 0.1],  # 1 3 2 0 4: a caption of its own first
    [0.9, 0.1, 0.6, 0.7, 0.2],  # 0 3 2 4 1: its own third, two others before it
    [0.5, 0.8, 0.3, 0.6, 0.1],  # 1 3 0 2 4: its own second
]
OWNERS = [0, 0, 1, 2, 2]


def gallery(images: list[list[float]] = IMAGES, **changes: Any) -> Gallery:
    vectors = torch.tensor(images)
    values = {
        "texts": torch.eye(vectors.shape[1]),
        "text_of": np.arange(vectors.shape[1]),
        "image_of": np.array(OWNERS),
    }
    return Gallery(images=vectors, **{**values, **changes})


def counts(shares: dict[int, Share]) -> dict[int, tuple[int, int]]:
    return {k: (share.hits, share.n) for k, share in shares.items()}


@pytest.mark.parametrize("block", [1, 7, 1 << 26])
def test_recall_both_ways_by_hand(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text to image: caption 0 has image 1 first, 2 second, its own third; 1 has its own first; 2 its own first;
    3 has 0 (0.8), 1 (0.7), then its own; 4 has 1 (0.2), then 0 and its own with 0.1 each: a tie, so third."""
    monkeypatch.setattr(retrieval, "BLOCK", block)
    found = recalls(gallery(), [1, 2])
    assert counts(found["i2t"]) == {1: (1, 3), 2: (2, 3)}
    assert image_ranks(gallery()).tolist() == [2, 0, 0, 2, 2]
    assert counts(found["t2i"]) == {1: (2, 5), 2: (2, 5)}


def test_a_long_row_of_own_captions_does_not_push_itself_back() -> None:
    """Both nearest captions are the image's own: its best own caption is first, whatever the other's place."""
    found = recalls(gallery([[0.9, 0.8, 0.1, 0.1, 0.1], IMAGES[1], IMAGES[2]]), [1, 2])
    assert counts(found["i2t"])[1] == (1, 3)


def test_equal_captions_of_two_images_tie() -> None:
    """Images 0 and 1 have the same caption: neither finds its own first, and both find it among two."""
    vectors = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    pair = Gallery(
        images=vectors, texts=torch.eye(2), text_of=np.array([0, 0, 1]), image_of=np.array([0, 1, 2])
    )
    found = recalls(pair, [1, 2])
    assert counts(found["i2t"]) == {1: (1, 3), 2: (3, 3)}
    assert image_ranks(pair).tolist() == [0, 1, 0]


def test_captions_that_name_the_target_by_hand() -> None:
    """Caption 3 of image 2 names the target. Nearest to image 0: 1 then 3; to image 1: 0 then 3; so no image of
    the two counted has it first and both have it among two. Image 2 is the target's own."""
    named = np.array([False, False, False, True, False])
    assert without_target(gallery(), named).tolist() == [True, True, False]
    assert counts(caption_attack(gallery(), named, [1, 2])) == {1: (0, 2), 2: (2, 2)}
    everything = np.ones(3, np.bool_)
    assert counts(caption_attack(gallery(), named, [1, 2], everything)) == {1: (0, 3), 2: (3, 3)}
    # Two captions name it: image 1 has one of them first.
    named = np.array([True, False, False, True, False])
    assert counts(caption_attack(gallery(), named, [1, 2])) == {1: (1, 1), 2: (1, 1)}


def test_a_collapsed_model_finds_nothing_and_nan_is_never_a_hit() -> None:
    for value in (0.5, float("nan")):
        same = gallery([[value] * 5] * 3)
        found = recalls(same, [1])
        assert (found["i2t"][1].hits, found["t2i"][1].hits) == (0, 0)
        assert caption_attack(same, np.array([True] + [False] * 4), [1])[1].hits == 0


def test_random_galleries_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    owners = rng.permutation(np.concatenate([np.arange(9), rng.integers(0, 9, 11)]))
    images = torch.from_numpy(rng.normal(size=(9, 20))).float()
    texts = rng.integers(0, 2, 20)  # some captions are the same as their neighbour
    text_of = np.maximum(np.arange(20) - texts, 0)
    found = recalls(gallery(images.tolist(), text_of=text_of, image_of=owners), [1, 3])
    similarity = images[:, text_of].numpy()
    for k in (1, 3):
        hits = 0
        for row in range(9):
            best = max(similarity[row, owners == row])
            hits += sum(similarity[row, c] >= best for c in range(20) if owners[c] != row) < k
        assert found["i2t"][k].hits == hits
        back = [sum(similarity[:, c] >= similarity[owners[c], c]) - 1 < k for c in range(20)]
        assert found["t2i"][k].hits == sum(back)


def test_what_cannot_be_measured() -> None:
    with pytest.raises(ConfigError, match=r"k = 3 cannot be measured among 3 images and 5 captions.*1 to 2"):
        recalls(gallery(), [1, 3])
    with pytest.raises(DataError, match="1 images have no caption"):
        recalls(gallery(image_of=np.array([0, 0, 1, 1, 1])), [1])
    with pytest.raises(ConfigError, match="means nothing"):
        recalls(gallery([IMAGES[0]], image_of=np.zeros(5, np.int64)), [1])
