"""The page of topics, services and actions is what the nodes say of themselves when they are configured."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")
ROOT = Path(__file__).parents[2]


def test_the_page_of_topics_is_what_the_nodes_say(ros_domain_id: int, module_addresses: tuple[str, str]) -> None:
    command = [sys.executable, "tools/topics_page.py", "--show", "--addresses", *module_addresses]
    environment = os.environ | {"ROS_DOMAIN_ID": str(ros_domain_id)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    # rclpy logs to the same stream as the page is printed to
    page = done.stdout[done.stdout.index("# Topics") :]
    assert page == (ROOT / "docs/reference/topics.md").read_text(encoding="utf-8"), "run python tools/topics_page.py"
