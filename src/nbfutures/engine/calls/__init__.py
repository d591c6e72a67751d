"""What a job calls, and with which arguments."""
