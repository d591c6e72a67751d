"""One contender a file: `measure(workload, items)` does the work in this process and returns figures by name."""
