"""The one base class of every error that this package raises on purpose."""


class LoadBalancerError(Exception):
    """Something went wrong that the balancer foresaw; subclasses carry what the catcher decides on."""
