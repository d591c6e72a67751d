"""Jobs whose items run outside the kernel: lanes at both ends of a connection, whatever carries it."""
