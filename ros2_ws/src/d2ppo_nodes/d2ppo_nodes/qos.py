"""Quality of service: what publishes offers all that anybody may ask for, what listens asks for as little as it can."""

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""To listen to images and states: the newest counts, a lost one is not sent again. It hears every publisher."""

STREAM = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
"""To publish them: every subscription hears it, also a default one; who asks for less costs nothing more."""

EVERY = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
"""In deterministic stepping: nothing may get lost on the way, and the world waits before a hundred are under way."""

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Chunks and commands: every one arrives, only the newest is kept."""

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Modes and stops: who joins late gets the newest one."""
