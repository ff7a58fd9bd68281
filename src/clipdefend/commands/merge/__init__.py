"""``clipdefend merge``."""
