"""Numbers and pictures made of what was measured."""
