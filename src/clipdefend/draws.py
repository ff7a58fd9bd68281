"""Every random draw of the project: a pure function of a seed and the keys of what is drawn.

Nothing here depends on the order of calls, on the process or on the number of workers.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Key = int | str


def draw_seed(seed: int, *keys: Key) -> int:
    """Hash a seed and keys, such as ("eda", epoch, sample id), to a non-negative 63-bit integer."""
    text = "\x1f".join(f"{type(key).__name__[0]}{key}" for key in (seed, *keys))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *keys: Key) -> np.random.Generator:
    """NumPy generator of one draw (about 20 microseconds to make)."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(draw_seed(seed, *keys)))


def text_random(seed: int, *keys: Key) -> random.Random:
    """Standard-library generator of one draw, for choices among words."""
    return random.Random(draw_seed(seed, *keys))


def permutation(size: int, seed: int, *keys: Key) -> np.ndarray:
    """Order of ``size`` items as int64, shape (size,): each once."""
    return generator(seed, *keys).permutation(size)
