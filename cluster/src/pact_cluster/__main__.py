import sys

from pact_cluster.cli import main

sys.exit(main())
