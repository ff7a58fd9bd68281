"""``clipdefend finetune-attack``."""
