"""The live card: one widget that shows a job and takes clicks."""
