"""Simulated worlds of the D²PPO Panda stack: tasks, cameras, experts and the robot servers."""
