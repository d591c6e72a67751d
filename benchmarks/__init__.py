"""What nbfutures costs, measured beside what people would use in its place: `python -m benchmarks all`."""
