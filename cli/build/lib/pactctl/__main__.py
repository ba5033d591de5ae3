"""`python -m pactctl`."""

from pactctl.app import main

if __name__ == "__main__":
    main()
