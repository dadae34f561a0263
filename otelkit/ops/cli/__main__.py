"""The only place that makes `python -m otelkit.ops.cli` the same as `otelkit`."""

from __future__ import annotations

import sys

from otelkit.ops.cli import main

sys.exit(main())
