"""Drawing of the built-in world's scenes.

Integer arithmetic only, so that every machine draws the same bytes.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from clipdefend.world import captions as words
from clipdefend.world.scene import SIZE, Dice, Pixels, Scene, Thing, counter_draws
from clipdefend.world.shapes import sprite

NOISE_SIDE = 128
"""Side of the tile of noise that every background is cut from, in pixels."""
MARK_COLOUR = (60, 60, 66)


@lru_cache(maxsize=1)
def _noise() -> Pixels:
    """Return the noise of the backgrounds at two scales, shape (128, 128, 1), from -12 to 12."""
    # 1 << 40 lies beyond the scenes of every split, so that the noise shares no draws with a scene.
    draws = counter_draws(1 << 40, NOISE_SIDE * NOISE_SIDE // 16)[:, :16].reshape(NOISE_SIDE, NOISE_SIDE)
    fine = draws % 13 - 6
    coarse = np.kron(draws[: NOISE_SIDE // 4, : NOISE_SIDE // 4] % 13 - 6, np.ones((4, 4), dtype=np.int64))
    return (fine + coarse).astype(np.int32)[..., None]


@lru_cache(maxsize=1)
def _ramps() -> NDArray[np.int32]:
    """Return the blends of the two background colours, shape (6, 64, 64, 1): weight of the second, 0 to 64."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    ways = [
        x,
        y,
        (x + y) // 2,
        np.where((x // 8 + y // 8) % 2, 44, 20),
        np.where(y // 6 % 2, 42, 22),
        np.full_like(x, 32),
    ]
    ramps: Pixels = np.stack(ways).astype(np.int32)[..., None]
    return ramps


@cache
def _texture(name: str, size: int) -> NDArray[np.int32]:
    """Return where an object has its second colour, shape (size, size, 1), 0 or 1."""
    y, x = np.mgrid[0:size, 0:size]
    step = max(2, size // 8)
    if name == "striped":
        mask = (y // step) % 2
    elif name == "spotted":
        mask = ((x % (2 * step) < step) & (y % (2 * step) < step)).astype(np.int64)
    elif name == "checkered":
        mask = (x // step + y // step) % 2
    else:
        mask = np.zeros_like(x)
    texture: Pixels = mask.astype(np.int32)[..., None]
    return texture


def _background(dice: Dice) -> Pixels:
    """Draw a background, shape (64, 64, 3)."""
    ends = [np.array([70 + dice.below(150) for _ in range(3)], dtype=np.int32) for _ in range(2)]
    ramp = _ramps()[dice.below(6)]
    top, left = dice.below(NOISE_SIDE - SIZE), dice.below(NOISE_SIDE - SIZE)
    grain = _noise()[top : top + SIZE, left : left + SIZE]
    background: Pixels = (ends[0] * (64 - ramp) + ends[1] * ramp) // 64 + grain
    return background


def _paste(canvas: Pixels, cover: NDArray[np.int32], colour: Pixels, left: int, top: int) -> None:
    """Blend a square of colour into the canvas in place, cropped at its borders.

    Args:
        canvas: shape (64, 64, 3).
        cover: opacity of each pixel in sixteenths, shape (size, size).
        colour: broadcast to (size, size, 3).
        left, top: corner of the square on the canvas, in pixels; may lie outside.
    """
    size = cover.shape[0]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + size, SIZE), min(top + size, SIZE)
    if x0 >= x1 or y0 >= y1:
        return
    inner = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    alpha = cover[inner][..., None]
    ink = np.broadcast_to(colour, (size, size, 3))[inner]
    region = canvas[y0:y1, x0:x1]
    region += (ink - region) * alpha // 16


def _put(canvas: Pixels, thing: Thing, centre: tuple[int, int], pixels: int, shade: int) -> None:
    """Draw a thing ``pixels`` wide about a centre (x, y), ``shade`` lighter than its colour."""
    base = np.array(words.COLOURS[thing.colour], dtype=np.int32) + shade
    # The second colour of a texture is lighter on dark objects and darker on light ones, or it would be clipped away.
    second = base + (90 if int(base.sum()) < 330 else -90)
    mix = _texture(thing.texture, pixels)
    colour = base * (1 - mix) + second * mix
    left, top = centre[0] - pixels // 2, centre[1] - pixels // 2
    _paste(canvas, sprite(thing.noun, pixels, thing.flipped), colour, left, top)


def _mark(canvas: Pixels, kind: str, a: tuple[int, int], b: tuple[int, int], reach: int) -> None:
    """Draw what tells a verb from a mere position: a rope, a dotted line of sight, speed lines or drops.

    Args:
        canvas: drawn on in place.
        kind: ``Relation.mark``.
        a, b: centres of subject and object, (x, y).
        reach: distance from the subject's centre to its edge, in pixels.
    """
    steps = 12 if kind == "rope" else 5
    dx, dy = b[0] - a[0], b[1] - a[1]
    middle = ((a[0] + b[0]) // 2, (a[1] + b[1]) // 2)
    ink = np.array(MARK_COLOUR, dtype=np.int32)
    if kind in ("rope", "dots"):
        points = [(a[0] + dx * k // steps, a[1] + dy * k // steps) for k in range(steps + 1)]
    elif kind == "speed":
        points = [(a[0] - reach - 2 * k, a[1] + side) for k in range(3) for side in (-5, 0, 5)]
    else:
        points = [(middle[0] + side, middle[1] + 3 * k) for k in range(-1, 2) for side in (-5, 5)]
    for x, y in points:
        _paste(canvas, np.full((2, 2), 16, dtype=np.int32), ink, x, y)


def _place(scene: Scene, dice: Dice) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the centres (x, y) of object and subject; a subject without an object lies wholly on the canvas."""
    relation, other, subject = scene.relation, scene.object, scene.subject
    jitter = (dice.below(7) - 3, dice.below(7) - 3)
    if relation is None or other is None:
        room = max(SIZE - subject.pixels, 1)
        centre = (subject.pixels // 2 + dice.below(room), subject.pixels // 2 + dice.below(room))
        return centre, centre
    mean = (other.pixels + subject.pixels) // 2
    dx, dy = relation.offset[0] * mean // 8, relation.offset[1] * mean // 8
    ox, oy = SIZE // 2 - dx // 2 + jitter[0], SIZE // 2 - dy // 2 + jitter[1]
    return (ox, oy), (ox + dx, oy + dy)


def draw(scene: Scene, dice: Dice) -> NDArray[np.uint8]:
    """Draw a scene.

    Args:
        scene: what ``compose`` returned.
        dice: the dice that it was composed with, which go on from there.

    Returns:
        RGB, shape (64, 64, 3).
    """
    canvas = _background(dice)
    shade = dice.below(33) - 16
    at_object, at_subject = _place(scene, dice)
    subject, other, relation = scene.subject, scene.object, scene.relation
    if relation is None or other is None:
        _put_single(canvas, scene, at_subject, shade)
    elif relation.mark == "ring":
        _put(canvas, other, at_object, other.pixels, -shade)
        for dx, dy in ((-22, 4), (20, -12), (8, 22)):
            _put(canvas, subject, (at_object[0] + dx, at_object[1] + dy), subject.pixels, shade)
    else:
        if relation.mark:
            _mark(canvas, relation.mark, at_subject, at_object, subject.pixels // 2)
        order = [(other, at_object, -shade), (subject, at_subject, shade)]
        for thing, centre, tone in order if relation.subject_on_top else reversed(order):
            _put(canvas, thing, centre, thing.pixels, tone)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _put_single(canvas: Pixels, scene: Scene, centre: tuple[int, int], shade: int) -> None:
    """Draw a subject without an object, once or in a row of two or three."""
    if scene.count == 1:
        _put(canvas, scene.subject, centre, scene.subject.pixels, shade)
        return
    pixels = min(scene.subject.pixels, 56 // scene.count)
    step = SIZE // scene.count
    for k in range(scene.count):
        _put(canvas, scene.subject, (step // 2 + k * step, centre[1]), pixels, shade)
