"""Train `tiny`, the small CLIP that ships in the package, from random weights on the built-in world.

    python examples/train_tiny.py --out first
    python examples/train_tiny.py --out src/clipdefend/assets/tiny --init first/tiny.safetensors \\
        --augment --epochs 6 --lr 1e-3

The second command continues on augmented images: noise, blur, warps, overlays (``tiny_augmentation.py``). ``--out`` is
a folder with ``open_clip_config.json``. Training reads the split "pretrain"; the model never sees the splits "train"
and "eval", which the commands use. To keep the package small, weights are stored as float16, and only those rows of the
token embedding that built-in captions and prompts use.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file
from tiny_augmentation import augment
from torch import Tensor

from clipdefend import world
from clipdefend.draws import draw_seed, permutation
from clipdefend.losses import mmcl


class Pretrain:
    """The split "pretrain" in memory (1.2 GB).

    Attributes:
        pixels: uint8, shape (n, 3, 64, 64).
        tokens: shape (n, 32).
    """

    def __init__(self) -> None:
        split, tokenizer = world.split("pretrain"), SimpleTokenizer(context_length=32)
        self.pixels = torch.from_numpy(split.draw_all()).permute(0, 3, 1, 2)
        self.tokens = tokenizer([split.caption(i) for i in range(len(split))])

    def __len__(self) -> int:
        return len(self.pixels)


class Normalise:
    """Normalises uint8 pixels, or float ones in [0, 1], as CLIP expects them.

    Args:
        config: mean and standard deviation of each channel, as ``preprocess_cfg`` holds them.
    """

    def __init__(self, config: dict[str, list[float]]) -> None:
        self.mean, self.std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))

    def __call__(self, pixels: Tensor) -> Tensor:
        pixels = pixels / 255 if pixels.dtype == torch.uint8 else pixels
        return ((pixels - self.mean) / self.std).to(memory_format=torch.channels_last)


def encode_text(model: CLIP, tokens: Tensor) -> Tensor:
    """Return unit text embeddings, shape (n, d).

    Tokens are cut to the longest caption of the batch, which is exact: the tower is causal and pooled at the end token.
    """
    tokens = tokens[:, : int((tokens > 0).sum(1).max())]
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    x = x[torch.arange(len(x)), tokens.argmax(1)] @ model.text_projection
    return torch.nn.functional.normalize(x, dim=-1)


def batches(data: Pretrain, epoch: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pixels and tokens of an epoch's full mini-batches, in an order that depends on the epoch alone."""
    order = torch.from_numpy(permutation(len(data), 0, "train_tiny", epoch))
    for start in range(0, len(order) - size + 1, size):
        rows = order[start : start + size]
        yield data.pixels[rows], data.tokens[rows]


@torch.no_grad()
def accuracy(model: CLIP, normalise: Normalise) -> float:
    """Return the zero-shot top-1 accuracy on the labelled split, a fraction."""
    model.eval()
    tokenizer, split = SimpleTokenizer(context_length=32), world.split("eval")
    prompts = [t.format(c) for c in world.CLASSES for t in world.TEMPLATES]
    texts = encode_text(model, tokenizer(prompts)).view(len(world.CLASSES), len(world.TEMPLATES), -1)
    classes = torch.nn.functional.normalize(texts.mean(1), dim=-1)
    pixels = torch.from_numpy(np.stack([split.pixels(i) for i in range(len(split))])).permute(0, 3, 1, 2)
    hits = 0
    for start in range(0, len(split), 500):
        images = model.encode_image(normalise(pixels[start : start + 500]), normalize=True)
        labels = torch.tensor([split.label(i) for i in range(start, start + len(images))])
        hits += int(((images @ classes.T).argmax(1) == labels).sum())
    model.train()
    return hits / len(split)


def find_used_tokens() -> Tensor:
    """Return the ids of all tokens in built-in captions and prompts, sorted."""
    tokenizer = SimpleTokenizer(context_length=32)
    used: set[int] = set()
    for name in ("train", "eval", "pretrain"):
        split = world.split(name)
        used |= {token for i in range(len(split)) for token in tokenizer.encode(split.caption(i))}
    used |= {token for t in world.TEMPLATES for c in world.CLASSES for token in tokenizer.encode(t.format(c))}
    return torch.tensor(sorted(used | {0, tokenizer.sot_token_id, tokenizer.eot_token_id}))


def save(model: CLIP, path: Path) -> None:
    """Write the weights as float16, with the used rows of the token embedding and their ids."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    ids = find_used_tokens()
    state["token_embedding.rows"] = state.pop("token_embedding.weight")[ids].contiguous()
    state["token_embedding.ids"] = ids
    save_file({k: v.contiguous() for k, v in state.items()}, path)


def load(model: CLIP, path: Path) -> None:
    """Load weights that ``save`` wrote; embeddings of other tokens become 0."""
    state = load_file(path)
    full = torch.zeros_like(model.token_embedding.weight)
    full[state.pop("token_embedding.ids")] = state.pop("token_embedding.rows").float()
    state["token_embedding.weight"] = full
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with open_clip_config.json")
    parser.add_argument("--init", type=Path, help="weights to start from; random ones by default")
    parser.add_argument("--augment", action="store_true", help="augment every image by tiny_augmentation.py")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--warmup", type=int, default=300)
    args = parser.parse_args()
    config = json.loads((args.out / "open_clip_config.json").read_text())
    torch.manual_seed(0)
    model = CLIP(**config["model_cfg"]).to(memory_format=torch.channels_last)
    if args.init is not None:
        load(model, args.init)
    normalise, data = Normalise(config["preprocess_cfg"]), Pretrain()
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, fused=True)
    total, step, start = args.epochs * (len(data) // args.batch_size), 0, time.time()
    for epoch in range(args.epochs):
        for pixels, tokens in batches(data, epoch, args.batch_size):
            rate = min((step + 1) / args.warmup, 0.5 * (1 + math.cos(math.pi * step / total)))
            for group in optimizer.param_groups:
                group["lr"] = args.lr * rate
            if args.augment:
                generator = torch.Generator().manual_seed(draw_seed(0, "augment_tiny", step))
                pixels = augment(pixels.float() / 255, generator)
            images = model.encode_image(normalise(pixels), normalize=True)
            loss = mmcl(images, encode_text(model, tokens), model.logit_scale.exp().clamp(max=100))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            if step % 100 == 0:
                print(
                    f"step {step}/{total} loss {loss.item():.3f} seconds {time.time() - start:.0f}",
                    flush=True,
                )
        print(f"epoch {epoch + 1} zero-shot top-1 {accuracy(model, normalise):.4f}", flush=True)
        save(model, args.out / "tiny.safetensors")


if __name__ == "__main__":
    main()
