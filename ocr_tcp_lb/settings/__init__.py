"""From what an operator wrote to a frozen `Config`, or to every fault in it at once.

The flow: `options.load` has `arguments` read the command line and `configfile` the TOML file, both into named
texts with their places. `table` names each option once: its kind, its field of `Config`, its help; kinds are
read by `values`, `addresses` and `proxies`. What cannot be used becomes one of the `faults`, with what would be right.
`configfile.render` is the way back.
"""
