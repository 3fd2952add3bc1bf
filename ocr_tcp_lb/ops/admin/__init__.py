"""The admin listener: status page, metrics, health of the process, and control. Small, bounded, and apart from traffic.

`http` moves messages, `gate` decides who may ask, `control` changes things, `report` says how they are, `site`
knows the paths, `listener` wires them to an address.
"""
