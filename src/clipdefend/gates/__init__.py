"""Bounds that a model must keep, and verdicts on them in the forms that pipelines read."""
