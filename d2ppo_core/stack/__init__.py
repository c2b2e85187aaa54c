"""Stacks: lists of nodes that run together, read from one file by ``d2ppo up`` and by ``ros2 launch``."""
