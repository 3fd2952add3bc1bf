"""How the balancer is run, watched and told what to do, from what the other rooms know.

On the way of a request there is one call of this room, `intake.Intake.take` at its end.
"""
