"""Workers to try the balancer with: three processes that take images as an OCR service does.

`show` runs the whole demo, `crew` owns the worker processes, and `worker` is one of them: a program of the
standard library alone. Nothing outside this package imports it but the command line.
"""
