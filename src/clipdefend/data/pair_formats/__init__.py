"""Formats of image-caption pairs: one file each, listed in ``discover.FORMATS``."""
