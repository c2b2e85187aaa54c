"""Snapshots cross process borders; late readers get the present, not the past."""

import numpy as np
import pytest

from sim.world.snapshots import SnapshotPublisher, SnapshotSubscriber, channel_folder
from sim.world.world import Snapshot

ADDRESS = "127.0.0.251"


@pytest.fixture
def ends():
    publisher, subscriber = SnapshotPublisher(ADDRESS), SnapshotSubscriber(ADDRESS)
    yield publisher, subscriber
    publisher.close()
    subscriber.close()


def snapshot(stamp_ns):
    return Snapshot(stamp_ns=stamp_ns, qpos=np.arange(16.0) + stamp_ns)


def test_positions_and_stamp_arrive_unchanged(ends):
    publisher, subscriber = ends
    publisher.publish(snapshot(50_000_000))
    received = subscriber.newest(timeout_s=1.0)
    assert received.stamp_ns == 50_000_000
    assert np.array_equal(received.qpos, snapshot(50_000_000).qpos)


def test_newest_wins_when_the_reader_was_busy(ends):
    publisher, subscriber = ends
    publisher.publish(snapshot(1))
    publisher.publish(snapshot(2))
    assert subscriber.newest(timeout_s=1.0).stamp_ns == 2
    assert subscriber.newest(timeout_s=0.01) is None


def test_reader_that_was_away_for_long_gets_the_present(ends):
    publisher, subscriber = ends
    for stamp_ns in range(1000):
        publisher.publish(snapshot(stamp_ns))

    received = []
    import threading

    reader = threading.Thread(target=lambda: received.append(subscriber.newest(timeout_s=2.0)))
    reader.start()
    while reader.is_alive():
        publisher.publish(snapshot(5000))
        reader.join(0.02)
    assert received[0].stamp_ns == 5000


def test_socket_of_a_dead_renderer_is_removed_and_the_others_still_get_frames(ends):
    publisher, subscriber = ends
    dead = channel_folder(ADDRESS) / "0-dead.sock"
    dead.touch()
    publisher.publish(snapshot(3))
    assert not dead.exists()
    assert subscriber.newest(timeout_s=1.0).stamp_ns == 3
