"""Long and hungry tests against the balancer as a process of its own: what users are promised under abuse."""
