"""`d2ppo calibrate`: boards to print, intrinsics and hand-eye from folders of captures, and whether they still hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from d2ppo_core.errors import CalibrationError

if TYPE_CHECKING:
    from calibration.capture import Capture
    from calibration.hand_eye import HandEye
    from calibration.session import Usable
    from d2ppo_core.calibrated import Board, HandEyeFile, Intrinsics

_PATH = click.Path(path_type=Path)


def board_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that describe a board; what is not given is the capture's, or the default."""
    for option in (
        click.option("--dictionary", metavar="NAME", help="OpenCV's set of markers, e.g. 5X5_100."),
        click.option("--marker-share", type=float, help="Side of a marker by that of a square."),
        click.option("--square-mm", type=float, help="Side of a square, as measured on the print."),
        click.option("--rows", type=int, help="Squares along the short side."),
        click.option("--columns", type=int, help="Squares along the long side."),
    ):
        command = option(command)
    return command


def _folder_option(command: Callable[..., Any]) -> Callable[..., Any]:
    text = "Where the calibration files lie."
    return click.option("--folder", type=_PATH, default="calibrations", show_default=True, help=text)(command)


def _board(given: Board, options: dict[str, Any]) -> Board:
    square_mm = options.pop("square_mm")
    changes = {key: value for key, value in options.items() if value is not None}
    if square_mm is not None:
        changes["square_m"] = square_mm / 1000.0
    return replace(given, **changes)


@click.group()
def calibrate() -> None:
    """Find out where cameras look from, and how well that is known.

    A capture is a folder of pictures with capture.yaml: the page "Calibrate a camera" says what is in it.
    """


@calibrate.command()
@board_options
@click.option("--paper", default="a4", show_default=True, help="a4, a3, a2 or a1.")
@click.option("--out", type=_PATH, default="board", show_default=True, help="Path of both files, without an ending.")
def board(paper: str, out: Path, **options: Any) -> None:
    """Write a ChArUco board as PDF and PNG, true to scale."""
    from calibration.sheet import ruler_mm, write_sheet
    from d2ppo_core.calibrated import Board

    wanted = _board(Board(), options)
    for path in write_sheet(wanted, paper, out):
        click.echo(f"written      {path}")
    click.echo(f"print it     at 100 %; its ruler must be {ruler_mm(wanted)} mm long")
    click.echo("then         glue it onto something flat, measure ten squares, and give a tenth as --square-mm")


@calibrate.command()
@click.argument("capture", type=_PATH)
@board_options
@_folder_option
@click.option("--most-px", default=1.0, show_default=True, type=float, help="Greatest held-out error that is saved.")
@click.option("--force", is_flag=True, help="Save it however large its error, or whose the last file was.")
def intrinsics(capture: Path, folder: Path, most_px: float, force: bool, **options: Any) -> None:
    """Find a camera's focal length, principal point and distortion."""
    from calibration.intrinsics import LEAST_VIEWS, compare
    from calibration.intrinsics import calibrate as solve
    from calibration.views import coverage, coverage_lines
    from d2ppo_core.calibrated import IntrinsicsFile, hash_of, now_text, save

    found, usable, _ = _read(capture, options, with_hands=False, least=LEAST_VIEWS)
    width, height = usable.size_px
    result = solve(usable.detections, width, height, usable.names)
    share = coverage(result.counts)
    for name, error in result.held_out_px.items():
        click.echo(f"{'taken' if name == result.model else 'tried':<12} {name:<16} held-out error {error:.3f} px")
    for name, good, error in zip(usable.names, result.used, result.view_px, strict=True):
        if not good:
            click.echo(f"left out     {name}: {error:.2f} px off, the others {float(min(result.view_px)):.2f} or more")
    click.echo(f"coverage     {100 * share:.0f} % of the picture; corners by cell:")
    for line in coverage_lines(result.counts):
        click.echo(f"             {line}")
    ours = result.intrinsics
    for name, value, sd in zip(
        ("fx", "fy", "cx", "cy"), (ours.fx_px, ours.fy_px, ours.cx_px, ours.cy_px), result.sd, strict=True
    ):
        click.echo(f"{name:<12} {value:.2f} ± {1.96 * sd:.2f} px")
    if found.factory is not None:
        off = compare(ours, found.factory)
        click.echo(
            f"factory      focal length {off.focal_percent:+.2f} %, "
            f"off by {off.mean_px:.2f} px on average and {off.most_px:.2f} px at most"
        )
    content = IntrinsicsFile(
        made=now_text(), camera=found.camera, intrinsics=ours, model=result.model, coverage=share,
        held_out_px=result.held_out_px[result.model], sd=tuple(map(float, result.sd)), views=int(result.used.sum()),
    )  # fmt: skip
    if content.held_out_px > most_px and not force:
        worst = usable.names[int(result.view_px.argmax())]
        raise CalibrationError(
            f"not saved: held-out error {content.held_out_px:.2f} px, wanted {most_px:g} or less; "
            f"take {worst} again first, or --force"
        )
    click.echo(f"saved        {save(folder, content, force=force)} ({hash_of(content)})")


@calibrate.command("hand-eye")
@click.argument("capture", type=_PATH)
@board_options
@_folder_option
@click.option("--most-mm", default=3.0, show_default=True, type=float, help="Greatest held-out error that is saved.")
@click.option("--most-deg", default=0.5, show_default=True, type=float, help="The same for rotations.")
@click.option("--force", is_flag=True, help="Save it however large its error, or whose the last file was.")
@click.option("--page", type=_PATH, help="Where the page goes  [default: CAPTURE/hand_eye.html].")
def hand_eye(
    capture: Path, folder: Path, most_mm: float, most_deg: float, force: bool, page: Path | None, **options: Any
) -> None:
    """Find where a camera is on the hand, or beside the robot."""
    from calibration.hand_eye import LEAST_VIEWS
    from calibration.page import write_hand_eye_page
    from d2ppo_core.calibrated import hash_of, save

    found, usable, wanted = _read(capture, options, with_hands=True, least=LEAST_VIEWS)
    optics, optics_hash = _optics(found, folder)
    usable.require_size(optics)
    result = _solve_hand_eye(found, usable, optics, wanted)
    content = _hand_eye_file(found, result, optics, optics_hash, wanted)
    _tell(result, content)
    bad = result.held_out_mm > most_mm or result.held_out_deg > most_deg
    why = (
        f"not saved: held-out error {result.held_out_mm:.2f} mm and {result.held_out_deg:.3f}°, wanted {most_mm:g} mm "
        f"and {most_deg:g}° or less; take {result.worst.picture} again first, or --force"
    )
    refuse = bad and not force
    path = None if refuse else save(folder, content, force=force)
    where = write_hand_eye_page(
        page or capture / "hand_eye.html", result, content, usable, why if refuse else str(path)
    )
    click.echo(f"page         {where}")
    if refuse:
        raise CalibrationError(why)
    click.echo(f"saved        {path} ({hash_of(content)})")


@calibrate.command()
@click.argument("capture", type=_PATH)
@board_options
@_folder_option
def check(capture: Path, folder: Path, **options: Any) -> None:
    """Tell from three views whether a camera is still in place.

    The exit code is 1 where it is not.
    """
    from calibration.check import LEAST_VIEWS
    from calibration.check import check as compare
    from d2ppo_core.calibrated import HandEyeFile, age_days, load, path_of

    stored_at: list[HandEyeFile] = []

    def offsets(found: Capture) -> tuple[float, ...]:
        path = path_of(folder, HandEyeFile, found.camera.name)
        stored = load(path, HandEyeFile, camera_serial=found.camera.serial, robot_serial=found.robot.serial)
        if stored.mount != found.mount:
            raise CalibrationError(f"{path}: mount is {stored.mount}, this capture's is {found.mount}")
        stored_at.append(stored)
        return stored.joint_offsets_rad

    _, usable, _ = _read(capture, options, with_hands=True, least=LEAST_VIEWS, offsets=offsets)
    (stored,) = stored_at
    usable.require_size(stored.intrinsics)
    import numpy as np

    verdict = compare(stored, np.stack(usable.hands), usable.detections, usable.names)
    click.echo(f"stored       {age_days(stored):.0f} days ago, held-out error {stored.held_out_mm:.2f} mm")
    click.echo(
        f"now          {verdict.moved_mm:.2f} mm and {verdict.moved_deg:.3f}° from there, "
        f"known to {verdict.sd_mm:.2f} mm and {verdict.sd_deg:.3f}° (standard deviations)"
    )
    if not verdict.holds:
        click.echo(f"moved        such views have a chance of {max(verdict.chance, 1e-12):.0g} when nothing moved")
        raise SystemExit(1)
    click.echo(f"holds        such views have a chance of {verdict.chance:.2f} when nothing moved")


def _read(
    folder: Path,
    options: dict[str, Any],
    *,
    with_hands: bool,
    least: int,
    offsets: Callable[[Capture], tuple[float, ...]] = lambda found: (),
) -> tuple[Capture, Usable, Board]:
    from calibration.capture import load_capture
    from calibration.session import usable_views

    found = load_capture(folder)
    wanted = _board(found.board, options)
    usable = usable_views(
        folder, found, wanted, with_hands=with_hands, refuse_repeated=not with_hands, joint_offsets_rad=offsets(found),
        say=click.echo,
    )  # fmt: skip
    usable.require(least)
    click.echo(f"views        {len(usable.views)} of {len(found.views)} are usable")
    return found, usable, wanted


def _optics(found: Capture, folder: Path) -> tuple[Intrinsics, str]:
    """Return the intrinsics of a capture's camera and the hash of their file: stored ones, or else the camera's own."""
    from d2ppo_core.calibrated import IntrinsicsFile, hash_of, load, path_of

    path = path_of(folder, IntrinsicsFile, found.camera.name)
    if path.exists():
        stored = load(path, IntrinsicsFile, camera_serial=found.camera.serial)
        click.echo(f"intrinsics   {path} ({hash_of(stored)})")
        return stored.intrinsics, hash_of(stored)
    if found.factory is None:
        raise CalibrationError(
            f"no intrinsics of {found.camera.name}: {path} is not there and the capture has none of the factory's; "
            "run d2ppo calibrate intrinsics first"
        )
    click.echo("intrinsics   the camera's own, of the capture")
    return found.factory, ""


def _solve_hand_eye(found: Capture, usable: Usable, optics: Intrinsics, wanted: Board) -> HandEye:
    import numpy as np

    from calibration.chain import Arm
    from calibration.hand_eye import solve_hand_eye

    arm = None
    if found.tool is not None and all(view.q_rad for view in usable.views):
        arm = Arm(np.array([view.q_rad for view in usable.views]), found.tool.matrix)
    return solve_hand_eye(
        np.stack(usable.hands), usable.detections, optics, usable.names, mount=found.mount, arm=arm,
        square_m=wanted.square_m,
    )  # fmt: skip


def _hand_eye_file(found: Capture, result: HandEye, optics: Intrinsics, optics_hash: str, wanted: Board) -> HandEyeFile:
    from d2ppo_core.calibrated import HandEyeFile, Pose, now_text

    return HandEyeFile(
        made=now_text(),
        mount=found.mount,
        camera=found.camera,
        robot=found.robot,
        transform=Pose.of(result.chain.X),
        covariance=tuple(tuple(map(float, row)) for row in result.covariance),
        held_out_mm=result.held_out_mm,
        held_out_deg=result.held_out_deg,
        noise_px=result.noise.px,
        noise_hand_m=result.noise.hand_m,
        noise_hand_rad=result.noise.hand_rad,
        diversity=result.diversity,
        views=len(result.chain.hands),
        left_out=tuple(view.picture for view in result.views if not view.used),
        intrinsics=optics,
        intrinsics_hash=optics_hash,
        tool=found.tool or Pose(),
        joint_offsets_rad=result.joint_offsets_rad,
        board=wanted,
    )


def _tell(result: HandEye, content: HandEyeFile) -> None:
    import numpy as np

    for view in result.views:
        if not view.used:
            off = f"{view.held_out_mm:.1f} mm and {view.held_out_deg:.2f}°"
            click.echo(f"left out     {view.picture}: off by {off} from what the others say; take it again")
    name = "T_ee_camera" if content.mount == "hand" else "T_base_camera"
    for axis, value, reach in zip("xyz", content.transform.position_m, result.position_interval, strict=True):
        click.echo(f"{name + ' ' + axis:<16} {1000 * value:8.2f} ± {1000 * reach:.2f} mm")
    degrees = ", ".join(f"{value:.3f}" for value in np.degrees(result.interval[3:]))
    click.echo(f"rotation     known to ± {degrees}° about the camera's axes (95 %)")
    click.echo(f"held out     {result.held_out_mm:.2f} mm and {result.held_out_deg:.3f}° (RMS at the board)")
    click.echo(
        f"noise        corner {result.noise.px:.2f} px, hand {1000 * result.noise.hand_m:.2f} mm and "
        f"{np.degrees(result.noise.hand_rad):.3f}°"
    )
    click.echo(f"diversity    {result.diversity:.2f} of 1")
    click.echo(f"joints       {result.offsets_why}")
