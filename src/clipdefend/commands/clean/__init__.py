"""``clipdefend clean``."""
