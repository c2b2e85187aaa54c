"""The Franka Control Interface's server side: a simulated world that real Franka clients connect to."""
