"""Compiled worlds, ready to load with MuJoCo alone, and the commands that made them."""
