"""Jobs: what the other layers hold of one, its thread, its futures, and waiting for it."""
