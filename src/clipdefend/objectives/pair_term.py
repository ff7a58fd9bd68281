"""Base class of terms that match images with captions: one view of each, and the logit scale."""

from __future__ import annotations

from dataclasses import dataclass

from clipdefend.objectives.term import Term
from clipdefend.objectives.views import IMAGE_VIEWS, TEXT_VIEWS, check_view


@dataclass(frozen=True, kw_only=True)
class PairTerm(Term):
    """A loss of matching pairs.

    Attributes:
        image_view, text_view: the views to match.
        fixed_scale: do not train the logit scale by this term, as in PAR.
    """

    image_view: str = "clean"
    text_view: str = "clean"
    fixed_scale: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_view("image_view", self.image_view, IMAGE_VIEWS)
        check_view("text_view", self.text_view, TEXT_VIEWS)

    @property
    def image_views(self) -> tuple[str, ...]:
        return (self.image_view,)

    @property
    def text_views(self) -> tuple[str, ...]:
        return (self.text_view,)
