"""One live world: physics, arms, hands, its clock, and what leaves it for renderers."""
