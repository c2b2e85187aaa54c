"""Run time of a policy on a robot: plain numpy and ONNX Runtime; no torch, no ROS, no clock, no threads."""
