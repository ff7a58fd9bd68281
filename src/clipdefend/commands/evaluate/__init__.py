"""``clipdefend evaluate``."""
