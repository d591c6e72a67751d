"""What is particular to worker processes of this machine: how they start, and how they reach the kernel."""
