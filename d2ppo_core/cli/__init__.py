"""The ``d2ppo`` command line: one verb per file."""
