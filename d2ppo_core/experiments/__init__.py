"""Experiments that anybody can repeat: their runs, and the tables and pictures made of the run folders."""
