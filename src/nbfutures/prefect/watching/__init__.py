"""Flows and futures of the user's own, and how their task runs are seen."""
