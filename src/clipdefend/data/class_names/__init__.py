"""Parsers for common formats of class-name files; nothing is ever evaluated."""
