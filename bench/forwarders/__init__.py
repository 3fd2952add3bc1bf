"""What people write in half an hour instead of installing a load balancer."""
