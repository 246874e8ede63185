"""The commands of `transport` that run for a while: ping, echo and proxy. Nothing in the package imports them."""
