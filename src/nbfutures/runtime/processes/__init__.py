"""Lanes whose items run in another process: the kernel's end, the worker's end, and what goes between them."""
