"""``clipdefend scan``."""
