"""``clipdefend poison``."""
