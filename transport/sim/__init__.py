"""The simulated network: links, virtual time, machines in pairs, and an event loop on virtual time."""
