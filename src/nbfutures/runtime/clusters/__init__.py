"""Dask and Ray: connections that a kernel keeps, and the boxes through which their workers talk with it."""
