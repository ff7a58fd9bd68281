"""``clipdefend defend``."""
