"""What a policy that sees too little is told by."""


class MissingObservationError(LookupError):
    """An observation is missing or too old; the text names it and says since when."""
