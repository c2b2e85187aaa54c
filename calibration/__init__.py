"""Calibration of the cameras of the D²PPO Panda stack."""
