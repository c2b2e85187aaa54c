"""From pictures to where the objects are."""
