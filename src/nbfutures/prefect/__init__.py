"""Everything that touches Prefect."""
