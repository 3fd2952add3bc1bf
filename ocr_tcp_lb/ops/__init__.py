"""How the balancer is run and watched. It reads what the other rooms know and never sits on the hot path."""
