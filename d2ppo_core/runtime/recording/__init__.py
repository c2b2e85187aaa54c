"""Raw episodes on disk: one MCAP file each, what is known of it beside it, and what was decided about it later."""
