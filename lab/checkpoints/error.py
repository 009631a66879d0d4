"""The one error of a file that cannot be used."""


class CheckpointError(ValueError):
    """Weights, options or indices on disk that cannot be used; the message names the file and says what to do."""
