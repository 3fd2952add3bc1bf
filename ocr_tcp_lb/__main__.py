"""Make `python -m ocr_tcp_lb` the same program as `ocr-tcp-lb`."""

from ocr_tcp_lb.cli import main

raise SystemExit(main())
