"""The real parts around a gateway: processes for the tests and the demo, and nothing that fakes the gateway."""
