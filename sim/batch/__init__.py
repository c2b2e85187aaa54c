"""Batched worlds: many copies of a task stepped by native threads, with robosuite's own dynamics."""
