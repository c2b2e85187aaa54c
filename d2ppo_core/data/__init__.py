"""Datasets: episodes on disk, windows in memory, ranges for normalisation."""
