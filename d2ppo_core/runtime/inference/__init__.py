"""From a bundle and observations to timed targets."""
