"""Traffic that a user has recorded, as the workload of an open loop: reading captures, writing and playing traces."""
