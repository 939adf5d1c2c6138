"""`python -m harness.cli` is `bench`: launchers of several processes take a module (`torchrun -m`, `accelerate launch -m`)."""

from harness.cli import main

if __name__ == "__main__":
    main()
