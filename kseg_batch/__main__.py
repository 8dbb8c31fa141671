"""`python -m kseg_batch` is `kseg-batch`."""

from kseg_batch.cli import main

if __name__ == "__main__":
    main()
