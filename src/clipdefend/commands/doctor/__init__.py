"""``clipdefend doctor``."""
