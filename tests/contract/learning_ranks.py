"""Two lessons, one behind the other, in as many processes as torchrun has started: one taken back, one kept."""

import sys

import mambrane


def main() -> None:
    """Teach two runs the same text, and write how it ended."""
    taken_back, kept, text = sys.argv[1:]
    for run, min_gain in ((taken_back, 9.0), (kept, 0.0)):
        outcome = mambrane.learn(run, text, min_gain=min_gain, epochs=1).outcome
        assert outcome is not None
        sys.stdout.write(f"exit code {outcome.exit_code}\n")


if __name__ == "__main__":
    main()
