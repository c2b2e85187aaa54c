"""From timed targets to references: the arm's states, watchdogs, curves and seams, and what drivers have to offer."""
