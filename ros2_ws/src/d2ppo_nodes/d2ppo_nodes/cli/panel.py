"""``d2ppo panel``: an operator's page in the browser, beside a running stack."""

import click

from d2ppo_core.stack.environment import MAX_DOMAIN_ID
from d2ppo_nodes.cli.teleop import become_node, find_arm


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Beyond loopback the page asks for a token.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535))
@click.option("--namespace", help="Which arm; needed only where several are.")
@click.option("--domain-id", type=click.IntRange(0, MAX_DOMAIN_ID), help="ROS domain of the stack.")
@click.argument("ros_arguments", nargs=-1, type=click.UNPROCESSED)
def panel(host: str, port: int, namespace: str | None, domain_id: int | None, ros_arguments: tuple[str, ...]) -> None:
    """Serve an operator's page until Ctrl-C.

    It shows how the arm is and what the cameras see, and has buttons, and keys or touch to move the arm.

    The arm moves only while a key or a stick of the page is held, and holds when the connection breaks.
    """
    import websockets  # noqa: F401  (who lacks it is told before anything starts)

    chosen = {"device": "panel", "panel_host": host, "panel_port": port}
    become_node(find_arm(namespace, domain_id), chosen, ros_arguments)
