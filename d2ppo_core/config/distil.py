"""Who a policy of few denoising steps learns from."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """A teacher that denoises in more steps than the policy to be trained."""

    teacher: str = ""
    """Folder of a clone: its averaged weights are where training begins, and what it makes of each noise is what is
    learned, instead of noise prediction. Empty: no teacher."""
