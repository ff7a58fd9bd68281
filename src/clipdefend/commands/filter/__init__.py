"""``clipdefend filter``."""
