"""A flow in a file, as users deploy it with Prefect alone: `python deployed_flow.py`."""

from prefect import flow


@flow(name="from-a-file", persist_result=True)
def double(x: int) -> int:
    return 2 * x


if __name__ == "__main__":
    double.serve(name="module", limit=4)
