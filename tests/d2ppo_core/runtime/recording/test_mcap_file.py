"""Files of messages: what other readers see in them, and what is left of one that was cut off."""

from pathlib import Path

import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from d2ppo_core.errors import RecordingError
from d2ppo_core.runtime.recording.definitions import definition, starts_with_header
from d2ppo_core.runtime.recording.mcap_file import PARTIAL, McapFile, definitions_in, messages_in, salvage
from d2ppo_core.runtime.recording.raw import Channel, RawMessage, header_stamp_ns

pytest.importorskip("rclpy", reason="needs ROS 2's message definitions (extra ros)")
pytest.importorskip("d2ppo_interfaces", reason="needs the built interfaces")

from rclpy.serialization import serialize_message  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from d2ppo_interfaces.msg import ActionChunk, ArmState, ObjectPose, ObjectPoses  # noqa: E402

ARM = Channel("arm/state", "d2ppo_interfaces/msg/ArmState")
PICTURE = Channel("camera/wrist/color/image_raw", "sensor_msgs/msg/Image")


def arm(second: int) -> RawMessage:
    state = ArmState(reason="follows chunks", gripper_width_m=0.04, refusal_reasons=["late"], refusal_counts=[3])
    state.header.stamp.sec, state.header.stamp.nanosec = second, 250
    state.q_rad = [0.1 * joint for joint in range(7)]
    data = serialize_message(state)
    return RawMessage(ARM, data, second * 10**9 + 900, header_stamp_ns(data))


def picture(second: int, value: int) -> RawMessage:
    image = Image(height=96, width=96, encoding="rgb8", step=288, data=bytes([value]) * (96 * 288))
    image.header.stamp.sec = second
    data = serialize_message(image)
    return RawMessage(PICTURE, data, second * 10**9, header_stamp_ns(data))


def test_a_stamp_is_found_without_decoding_the_message() -> None:
    assert arm(7).stamp_ns == 7_000_000_250
    assert starts_with_header(ARM.datatype) and starts_with_header(PICTURE.datatype)
    assert not starts_with_header("std_msgs/msg/String")


def test_a_definition_holds_all_that_a_message_is_made_of_once() -> None:
    text = definition("d2ppo_interfaces/msg/ObjectPoses")
    for part in ("std_msgs/Header", "builtin_interfaces/Time", "d2ppo_interfaces/ObjectPose", "geometry_msgs/Point"):
        assert text.count(f"MSG: {part}\n") == 1
    with pytest.raises(RecordingError, match="is package no_such_msgs installed"):
        definition("no_such_msgs/msg/Thing")


def test_a_reader_that_knows_no_ros_decodes_every_field(tmp_path: Path) -> None:
    file = McapFile(tmp_path / "episode.mcap")
    file.write(arm(1))
    chunk = ActionChunk(sequence=4, bundle_hash="hand", gripper_width_m=[0.08, 0.0])
    poses = ObjectPoses(source="markers", objects=[ObjectPose(name="cube", touching=["table"])])
    kinds = {"policy/chunk": chunk, "perception/objects": poses, "teleop/button": String(data="success")}
    for topic, message in kinds.items():
        datatype = f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}"
        file.write(RawMessage(Channel(topic, datatype), serialize_message(message), 5, 5))
    file.write(picture(2, 77))
    file.finish()
    with (tmp_path / "episode.mcap").open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        found = {channel.topic: message for _, channel, _, message in reader.iter_decoded_messages()}
    assert found["arm/state"].reason == "follows chunks" and found["arm/state"].refusal_counts == [3]
    assert found["arm/state"].q_rad[6] == pytest.approx(0.6)
    assert found["policy/chunk"].sequence == 4 and list(found["policy/chunk"].gripper_width_m) == [0.08, 0.0]
    assert found["perception/objects"].objects[0].touching == ["table"]
    assert found["teleop/button"].data == "success"
    assert bytes(found[PICTURE.topic].data) == bytes([77]) * (96 * 288)


def test_messages_come_back_as_they_went_in(tmp_path: Path) -> None:
    path, given = tmp_path / "episode.mcap", [arm(3), picture(1, 5), arm(2)]
    file = McapFile(path)
    for message in given:
        file.write(message)
    assert not path.exists() and path.with_name(path.name + PARTIAL).exists()
    file.finish()
    assert list(messages_in(path)) == given
    assert not path.with_name(path.name + PARTIAL).exists()


@pytest.fixture
def cut_off(tmp_path: Path) -> Path:
    """The first two thirds of a file, as a killed recorder leaves it."""
    import random

    file, noise = McapFile(tmp_path / "whole.mcap"), random.Random(1)
    for second in range(600):
        message = picture(second, 0)
        head = message.data[: -96 * 288]
        file.write(RawMessage(PICTURE, head + noise.randbytes(96 * 288), message.received_ns, message.stamp_ns))
    file.finish()
    data = (tmp_path / "whole.mcap").read_bytes()
    partial = tmp_path / f"episode.mcap{PARTIAL}"
    partial.write_bytes(data[: len(data) * 2 // 3])
    return partial


def test_of_a_file_that_was_cut_off_all_whole_chunks_are_saved(cut_off: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be read"):
        list(messages_in(cut_off))
    count = salvage(cut_off)
    saved = list(messages_in(cut_off.with_name("episode.mcap")))
    assert 250 < count == len(saved) < 400
    assert saved == list(messages_in(cut_off.with_name("whole.mcap")))[:count]
    assert not cut_off.exists() and definitions_in(cut_off.with_name("episode.mcap")).keys() == {PICTURE.datatype}


def test_nothing_can_be_saved_of_a_file_without_a_chunk(tmp_path: Path) -> None:
    partial = tmp_path / f"episode.mcap{PARTIAL}"
    for content in (b"", b"\x89MCAP0\r\n", b"not an MCAP file at all, but some words"):
        partial.write_bytes(content)
        with pytest.raises(RecordingError, match="no whole chunk"):
            salvage(partial)
        assert [path.name for path in tmp_path.iterdir()] == [partial.name]
