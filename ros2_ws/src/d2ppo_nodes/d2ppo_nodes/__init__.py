"""Lifecycle nodes of the D²PPO Panda stack; each is a thin shell around the core."""

from d2ppo_core.interrupt import end_quietly_while_loading

_NODES = ("arm_node", "camera_node", "coordinator_node", "marker_node", "policy_node", "sim_node")
end_quietly_while_loading(*_NODES, *(f"d2ppo_nodes.{node}" for node in _NODES))
