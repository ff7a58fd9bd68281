"""``clipdefend augment``."""
