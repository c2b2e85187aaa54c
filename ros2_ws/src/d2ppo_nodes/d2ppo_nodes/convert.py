"""Between messages and the core's own types; the only place that knows both."""

import array
import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, Twist, Wrench
from PIL import Image as Picture
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image

from d2ppo_core.geometry import Array, RigidState, rotation_of, transform_from
from d2ppo_core.runtime.control.arm import ArmMode, ArmReport
from d2ppo_core.runtime.control.chunk import ChunkRefusedError, TimedChunk
from d2ppo_core.runtime.control.pact import Plan, Verdict
from d2ppo_core.runtime.control.protocols import GripperOutcome, GripperReading
from d2ppo_core.runtime.inference.observation import ArmSample
from d2ppo_core.runtime.inference.osc import Targets
from d2ppo_core.runtime.inference.sightings import Sightings
from d2ppo_interfaces.msg import ActionChunk, ArmState, ChunkVerdict, ObjectPose, ObjectPoses

_NS = 1_000_000_000
_UNIT = 1e-3


def time_msg(stamp_ns: int) -> Time:
    """Split nanoseconds into a message."""
    return Time(sec=stamp_ns // _NS, nanosec=stamp_ns % _NS)


def time_ns(stamp: Time) -> int:
    """Join a message to nanoseconds."""
    return int(stamp.sec) * _NS + int(stamp.nanosec)


def image_msg(image: npt.NDArray[np.uint8], stamp_ns: int, frame_id: str) -> Image:
    """Wrap an (H, W, 3) RGB image."""
    height, width, _ = image.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.stamp = time_msg(stamp_ns)
    message.header.frame_id = frame_id
    message.data = array.array("B", image.tobytes())
    return message


def image_array(message: Image) -> npt.NDArray[np.uint8]:
    """View an rgb8 message as (H, W, 3); raises ValueError for another encoding, or pixels that are not as many."""
    if message.encoding != "rgb8":
        raise ValueError(f"image encoding must be rgb8, got {message.encoding}")
    if message.step != 3 * message.width or len(message.data) != message.height * message.step:
        said = f"{message.width}x{message.height}, rows of {message.step} bytes"
        raise ValueError(f"an image of {said} cannot hold {len(message.data)} bytes of rgb8 without gaps")
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)


def jpeg(image: npt.NDArray[np.uint8], quality: int) -> bytes:
    """Compress an (H, W, 3) RGB image; quality 1 … 95."""
    buffer = io.BytesIO()
    Picture.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def mode_of(message: ArmState) -> str:
    """Name of the state that an arm is in, as READY."""
    return ArmMode(message.state).name if message.state in tuple(ArmMode) else str(message.state)


def pose_msg(transform: Array) -> Pose:
    """Convert a 4×4 transform."""
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = transform[:3, 3].tolist()
    x, y, z, w = rotation_of(transform).as_quat().tolist()
    pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = x, y, z, w
    return pose


def transform_of(pose: Pose) -> Array:
    """Convert to a 4×4 transform."""
    position, q = pose.position, pose.orientation
    return transform_from([position.x, position.y, position.z], Rotation.from_quat([q.x, q.y, q.z, q.w]))


def twist_msg(twist: Array) -> Twist:
    """Convert (6,) linear and angular."""
    message = Twist()
    message.linear.x, message.linear.y, message.linear.z = twist[:3].tolist()
    message.angular.x, message.angular.y, message.angular.z = twist[3:].tolist()
    return message


def twist_of(message: Twist) -> Array:
    """Convert to (6,) linear and angular."""
    v, w = message.linear, message.angular
    return np.array([v.x, v.y, v.z, w.x, w.y, w.z])


def chunk_of(message: ActionChunk, frame_id: str) -> TimedChunk:
    """Convert a chunk; raises ChunkRefusedError when it is in another frame or its parts are not equally long."""
    if message.header.frame_id != frame_id:
        raise ChunkRefusedError(f"targets must be in frame '{frame_id}', got '{message.header.frame_id}'", "frame")
    count = len(message.poses)
    if len(message.twists) != count or len(message.gripper_width_m) != count:
        raise ChunkRefusedError(
            f"chunk with {count} poses, {len(message.twists)} twists and {len(message.gripper_width_m)} widths"
        )
    positions = [(p.position.x, p.position.y, p.position.z) for p in message.poses]
    quats = [(p.orientation.x, p.orientation.y, p.orientation.z, p.orientation.w) for p in message.poses]
    dt_s = message.dt_s if abs(message.dt_s) < 1e6 else 0.0  # refused for what it is, be it NaN or beyond integers
    return TimedChunk(
        stamp_ns=time_ns(message.header.stamp),
        dt_ns=round(dt_s * _NS),
        sequence=message.sequence,
        epoch=message.epoch,
        bundle_hash=message.bundle_hash,
        source=message.source,
        epochs=tuple(message.epochs),
        positions_m=np.array(positions).reshape(count, 3),
        quats_xyzw=np.array(quats).reshape(count, 4),
        twists=np.array([twist_of(t) for t in message.twists]).reshape(count, 6),
        gripper_width_m=np.asarray(message.gripper_width_m, dtype=float),
    )


def verdict_msg(verdict: Verdict) -> ChunkVerdict:
    """Convert what an arm says of its chunk."""
    plan = verdict.plan
    message = ChunkVerdict(
        source=plan.source,
        sequence=plan.sequence,
        epochs=plan.epochs,
        follows=verdict.follows,
        judged=time_msg(verdict.at_ns),
        reason=verdict.reason,
    )
    message.header.stamp = time_msg(plan.stamp_ns)
    return message


def verdict_of(message: ChunkVerdict) -> Verdict:
    """Convert it back."""
    plan = Plan(
        source=message.source,
        sequence=message.sequence,
        stamp_ns=time_ns(message.header.stamp),
        epochs=tuple(message.epochs),
    )
    return Verdict(plan=plan, follows=message.follows, at_ns=time_ns(message.judged), reason=message.reason)


def fill_targets(message: ActionChunk, targets: Targets) -> None:
    """Write timed targets into a chunk."""
    message.dt_s = targets.period_s
    message.poses = [pose_msg(state.pose) for state in targets.states]
    message.twists = [twist_msg(state.twist) for state in targets.states]
    message.gripper_width_m = array.array("d", targets.gripper_width_m)


def arm_sample(message: ArmState) -> ArmSample:
    """Convert what a policy needs of the arm's state."""
    return ArmSample(
        stamp_ns=time_ns(message.header.stamp),
        measured=RigidState(transform_of(message.pose), twist_of(message.twist)),
        reference=RigidState(transform_of(message.reference_pose), twist_of(message.reference_twist)),
        gripper_width_m=message.gripper_width_m,
        epoch=message.epoch,
    )


def objects_msg(sightings: Sightings, frame_id: str, covariances: Mapping[str, Array]) -> ObjectPoses:
    """Convert what a source saw; (6, 6) covariances by name, of translation and rotation in this frame."""
    message = ObjectPoses(source=sightings.source)
    message.header.stamp, message.header.frame_id = time_msg(sightings.stamp_ns), frame_id
    for name, transform in sightings.poses.items():
        thing = ObjectPose(name=name, touching=sorted(other for one, other in sightings.touching if one == name))
        thing.pose.pose, thing.pose.covariance = pose_msg(transform), covariances[name].ravel()
        message.objects.append(thing)
    return message


def sightings_of(message: ObjectPoses, frame_id: str) -> Sightings:
    """Convert; raises ValueError for another frame, an object that is named twice, or a pose that is none."""
    if message.header.frame_id != frame_id:
        raise ValueError(f"they are in frame '{message.header.frame_id}', the arm in '{frame_id}'")
    poses: dict[str, Array] = {}
    for thing in message.objects:
        position, q = thing.pose.pose.position, thing.pose.pose.orientation
        numbers = np.array([position.x, position.y, position.z, q.x, q.y, q.z, q.w])
        if thing.name in poses:
            raise ValueError(f"object {thing.name} is there twice")
        if not np.isfinite(numbers).all() or abs(np.linalg.norm(numbers[3:]) - 1.0) > _UNIT:
            raise ValueError(f"object {thing.name} has no finite position and unit quaternion: {numbers.round(3)}")
        poses[thing.name] = transform_of(thing.pose.pose)
    touching = {(thing.name, other) for thing in message.objects for other in thing.touching}
    return Sightings(stamp_ns=time_ns(message.header.stamp), source=message.source, poses=poses, touching=touching)


def arm_state_msg(report: ArmReport, gripper: GripperReading, frame_id: str) -> ArmState:
    """Convert a report; fields that the robot has not delivered yet stay zero."""
    message = ArmState(
        state=int(report.mode),
        reason=report.reason,
        epoch=report.epoch,
        gripper_width_m=gripper.width_m,
        gripper_force_n=gripper.force_n,
        gripper_grasped=gripper.outcome == GripperOutcome.GRASPED,
        gripper_outcome=int(gripper.outcome),
        ticks=report.ticks,
        missed_ticks=report.missed_ticks,
        chunks_accepted=report.chunks_accepted,
        chunks_refused=report.chunks_refused,
        refusal_reasons=list(report.refused),
        refusal_counts=list(report.refused.values()),
        safety_interventions=report.safety_interventions,
        safety_checks=list(report.safety_counts),
        safety_counts=list(report.safety_counts.values()),
        speed_scale=report.speed_scale,
        deadman_held=report.deadman_held,
        by_hand=report.by_hand,
        bundle_hash=report.bundle_hash,
        chunk_sequence=report.chunk_sequence,
        chunk_stamp=time_msg(report.chunk_stamp_ns),
        chunk_first_command=time_msg(report.chunk_first_command_ns),
    )
    message.header.stamp = time_msg(report.stamp_ns)
    message.header.frame_id = frame_id
    reading = report.reading
    if reading is not None:
        reference = report.reference or RigidState(reading.measured.pose, np.zeros(6))
        message.q_rad, message.dq_rad_s = reading.q_rad, reading.dq_rad_s
        message.tau_nm, message.tau_ext_nm = reading.tau_nm, reading.tau_ext_nm
        message.pose, message.twist = pose_msg(reading.measured.pose), twist_msg(reading.measured.twist)
        message.reference_pose = pose_msg(reference.pose)
        message.reference_twist = twist_msg(reference.twist)
        message.external_wrench = wrench_msg(reading.wrench)
        message.robot_time_ms = reading.robot_time_ms
    return message


def wrench_msg(wrench: Array) -> Wrench:
    """Convert (6,) force and torque."""
    message = Wrench()
    message.force.x, message.force.y, message.force.z = wrench[:3].tolist()
    message.torque.x, message.torque.y, message.torque.z = wrench[3:].tolist()
    return message
