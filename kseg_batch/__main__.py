"""Run the command line: `python -m kseg_batch` does the same as `kseg-batch`."""

from kseg_batch.cli import main

if __name__ == "__main__":
    main()
