"""Measuring trained policies: which there are in a folder, how each samples, and what came of it."""
