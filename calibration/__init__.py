"""Calibration of the cameras of the D²PPO Panda stack: boards, intrinsics, hand-eye, and how good they are."""
