"""Errors that are the user's to mend: each becomes one red line and exit code 2."""


class ClipDefendError(Exception):
    """A mistake of the user's: the message says what was given, what is allowed and what to do."""


class ConfigError(ClipDefendError):
    """A flag, a key of a configuration file or a ``--set`` that does not fit."""


class DataError(ClipDefendError):
    """Pairs, images, labels or captions that cannot be used."""


class CheckpointError(ClipDefendError):
    """Weights that are missing, unsafe or of another model."""


class RunError(ClipDefendError):
    """A run folder that is missing, unfinished, damaged or of the wrong kind."""
