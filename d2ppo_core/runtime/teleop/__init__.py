"""From a person's hand to targets: devices, what they mean, and who moves the arm; no ROS, no clock, no threads."""
