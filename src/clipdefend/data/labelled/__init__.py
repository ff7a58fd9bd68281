"""Labelled images in every layout that is read."""
