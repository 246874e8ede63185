"""The promises of a transport, each as a check that a third party runs for theirs; see `transport.testing`."""
