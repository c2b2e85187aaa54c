"""Verbs that the nodes add to the ``d2ppo`` command line."""
