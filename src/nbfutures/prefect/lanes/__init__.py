"""Plain functions: task runs that work through many items each."""
