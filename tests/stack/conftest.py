"""What talks to a stack that runs for all tests of its module, which has it as the fixture `stack`."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from d2ppo_core.stack.runner import Stack

if TYPE_CHECKING:
    from d2ppo_nodes.client import StackClient


@pytest.fixture(scope="module")
def client(stack: Stack) -> "Iterator[StackClient]":
    from d2ppo_nodes.client import client_of  # needs the ROS packages, without which the modules skip themselves

    os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_"))})
    client = client_of(stack.description)
    yield client
    client.close()
