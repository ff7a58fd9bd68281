"""Distributed runs: connects the processes, and provides their collective operations."""
