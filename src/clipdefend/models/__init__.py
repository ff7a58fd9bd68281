"""CLIP models: made, loaded, checked and written."""
