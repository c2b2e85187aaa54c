"""ROS 2 package of the nodes; what it adds to the ``d2ppo`` command line is an entry point."""

from setuptools import find_packages, setup

setup(
    name="d2ppo_nodes",
    version="0.2.0",
    packages=find_packages(),
    package_data={"d2ppo_nodes": ["parameters/*.yaml", "*.html"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/d2ppo_nodes"]),
        ("share/d2ppo_nodes", ["package.xml"]),
    ],
    maintainer="D2PPO Panda maintainers",
    maintainer_email="maintainers@example.com",
    description="Lifecycle nodes of the D2PPO Panda stack: simulated world, camera, policy and arm.",
    license="MIT",
    zip_safe=True,
    entry_points={
        "console_scripts": [
            "sim_node = d2ppo_nodes.sim_node:main",
            "camera_node = d2ppo_nodes.camera_node:main",
            "marker_node = d2ppo_nodes.marker_node:main",
            "policy_node = d2ppo_nodes.policy_node:main",
            "arm_node = d2ppo_nodes.arm_node:main",
            "coordinator_node = d2ppo_nodes.coordinator_node:main",
            "teleop_node = d2ppo_nodes.teleop_node:main",
            "recorder_node = d2ppo_nodes.recorder_node:main",
        ],
        "d2ppo.commands": [
            "arm = d2ppo_nodes.cli.arm:arm",
            "swap = d2ppo_nodes.cli.swap:swap",
            "panel = d2ppo_nodes.cli.panel:panel",
            "record = d2ppo_nodes.cli.record:record",
            "teleop = d2ppo_nodes.cli.teleop:teleop",
        ],
        "d2ppo.evaluators": ["live = d2ppo_nodes.cli.evaluate:evaluate"],
    },
)
