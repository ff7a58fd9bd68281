"""``clipdefend report``."""
