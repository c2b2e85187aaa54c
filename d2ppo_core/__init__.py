"""Core of the D²PPO Panda stack: training, bundles and run time, free of ROS and of the simulator."""
