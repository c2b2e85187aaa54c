"""Stage 1: behaviour cloning by noise prediction with a dispersive term."""
