"""robosuite's own worlds, behind the stack's protocols."""
