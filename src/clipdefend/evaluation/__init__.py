"""Measuring models: zero-shot accuracy and attack success, linear probes, retrieval."""
