"""How strongly an image responds to a change of the class prompts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from clipdefend.detection.input_score import InputJudge, InputScore, Known
from clipdefend.draws import permutation


@dataclass(frozen=True, kw_only=True)
class ContrastivePrompts(InputScore):
    """Minus the mean over classes of cos(x, t+) - cos(x, t-): triggered images hardly respond to the
    wording of the prompts.

    t+ is the class's text; t- is that of the same prompts with randomly drawn names of other classes appended.

    Attributes:
        words: number of names appended to each prompt.
        templates: largest number of prompts used per class.

    Reference:
        Niu et al., BDetCLIP: Multimodal Prompting Contrastive Test-Time Backdoor Detection (ICML 2025), equation of
        Omega; https://github.com/Purshow/BDetCLIP_badCLIP, src/evaluate.py.
    Deviates:
        No language model: t+ are the ordinary prompts instead of its descriptions of a class, and names of other
        classes replace a random sentence. The mean over classes replaces the sum.
    """

    words: int = 3
    templates: int = 8

    def __post_init__(self) -> None:
        if min(self.words, self.templates) < 1:
            raise ValueError(f"words is {self.words} and templates {self.templates}; they must be at least 1")

    def prepare(self, known: Known) -> InputJudge:
        plain = [each[: self.templates] for each in known.prompts()]
        changed = [
            [f"{text} {' '.join(self._others(known, label, number))}" for number, text in enumerate(each)]
            for label, each in enumerate(plain)
        ]
        direction = (known.class_texts(plain) - known.class_texts(changed)).double().mean(dim=0)

        def judge(pixels: Tensor, embeddings: Tensor) -> Tensor:
            return -(F.normalize(embeddings.double(), dim=1) @ direction)

        return judge

    def _others(self, known: Known, label: int, prompt: int) -> list[str]:
        order = permutation(len(known.classes), known.seed, "contrastive prompts", label, prompt).tolist()
        return [known.classes[other] for other in order if other != label][: self.words]
