"""clipdefend: make, clean and measure backdoors in CLIP models."""

__version__ = "0.1.0"
