"""``clipdefend study``."""
