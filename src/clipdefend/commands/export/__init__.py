"""``clipdefend export``: models for other libraries."""
