"""How often policies solve a task, and films of it."""
