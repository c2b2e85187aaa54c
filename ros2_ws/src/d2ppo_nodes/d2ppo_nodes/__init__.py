"""Lifecycle nodes of the D²PPO Panda stack; each is a thin shell around the core."""
