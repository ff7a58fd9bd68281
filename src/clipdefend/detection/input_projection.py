"""LoREx for inputs: the direction in which received images vary more than clean ones."""

from __future__ import annotations

from dataclasses import dataclass

from clipdefend.detection.input_score import InputJudge, InputScore, Known
from clipdefend.detection.lorex import fit_projection
from clipdefend.errors import DataError


@dataclass(frozen=True, kw_only=True)
class InputProjection(InputScore):
    """The absolute projection of the whitened embedding onto the direction of the largest excess variance.

    It needs traffic that contains triggered images: the direction is that of the traffic relative to clean images.

    Attributes:
        ridge: added to the clean covariance, relative to its mean eigenvalue.

    Reference:
        LoREx, section "Method" of main.tex, https://github.com/calibretaliation/LoREx at e0787e8.
    """

    ridge: float = 1e-3

    def __post_init__(self) -> None:
        if not self.ridge > 0:
            raise ValueError(f"ridge is {self.ridge}; it must be above 0")

    def prepare(self, known: Known) -> InputJudge:
        if known.traffic is None:
            raise DataError("lorex needs embeddings of received images, to compare them with clean ones.")
        projection = fit_projection(known.encode_image(known.clean), known.traffic, self.ridge)
        return lambda pixels, embeddings: projection(embeddings)
