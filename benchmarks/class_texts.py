"""Speed of class embeddings, compared with the public code: one class at a time, every prompt padded to 77 tokens.

    python benchmarks/class_texts.py [--model RN50] [--classes 1000]

Both run in single precision in this process, with ImageNet's class names and CLIP's 80 templates, on the same random
weights, since the time does not depend on them.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor
from torch.nn import functional as F

from clipdefend.data.classes import imagenet_classes, imagenet_templates
from clipdefend.evaluation.class_texts import class_embeddings
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import load_model


@torch.no_grad()
def one_by_one(model: ClipModel, classes: list[str], templates: list[str]) -> Tensor:
    """Return the class embeddings as open_clip, CleanCLIP and BadCLIP compute them.

    Args:
        model: in evaluation mode.
        classes: n class names.
        templates: with ``{}`` for the name.

    Returns:
        Unit vectors, shape (n, d).
    """
    vectors = []
    for name in classes:
        tokens = model.tokenize([template.replace("{}", name) for template in templates])
        prompts = F.normalize(model.clip.encode_text(tokens), dim=-1)
        vectors.append(F.normalize(prompts.mean(dim=0), dim=0))
    return torch.stack(vectors)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="RN50")
    parser.add_argument(
        "--classes", type=int, default=1000, help="number of ImageNet's classes, evenly spaced"
    )
    options = parser.parse_args()
    model = load_model(options.model, None).eval()
    every = imagenet_classes()
    classes = every[:: len(every) // options.classes][: options.classes]
    templates = imagenet_templates()
    class_embeddings(model, classes[:1], templates)  # warm up the tokenizer and the threads
    seconds, vectors = [], []
    for way in (class_embeddings, one_by_one):
        began = time.process_time()
        vectors.append(way(model, classes, templates))
        seconds.append(time.process_time() - began)
    difference = float((vectors[0] - vectors[1]).abs().max())
    print(
        f"{options.model}, fp32, {len(classes)} classes x {len(templates)} prompts, {torch.get_num_threads()} threads"
    )
    print(
        f"processor time: one class at a time, 77 tokens {seconds[1]:.1f} s, clipdefend {seconds[0]:.1f} s,"
        f" {seconds[1] / seconds[0]:.1f} times faster"
    )
    print(f"largest difference between the embeddings: {difference:.1e}")


if __name__ == "__main__":
    main()
