"""Checks of the machine, one small function each, that say in one line what to do."""
