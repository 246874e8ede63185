"""The link between both ends of a round: what it does to packets, and who does it (emulated, or in virtual time)."""
