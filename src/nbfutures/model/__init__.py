"""What happened, as records that know nothing of Prefect or of a display."""
