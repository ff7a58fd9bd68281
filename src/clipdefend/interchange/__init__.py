"""Exports results and evaluation sets in the formats of other tools."""
