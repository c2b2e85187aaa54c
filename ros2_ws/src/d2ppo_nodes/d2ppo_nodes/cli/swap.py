"""``d2ppo swap``: another bundle takes over from the one that runs, without a stop."""

import sys
from pathlib import Path

import click
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters  # type: ignore[attr-defined]

from d2ppo_core.errors import RobotError, StackError
from d2ppo_core.stack.environment import MAX_DOMAIN_ID
from d2ppo_interfaces.srv import LoadPolicy
from d2ppo_nodes.operator import Operator

_SERVICE = "/policy/swap"


@click.command()
@click.argument("bundle", required=False)
@click.option("--shadow", type=click.FloatRange(0.0, 600.0), help="Seconds beside the old one first  [default: 1].")
@click.option("--roll-back", is_flag=True, help="Let the one that ran before take over again.")
@click.option("--timeout", default=60.0, show_default=True, type=click.FloatRange(0.1), help="Seconds to wait.")
@click.option("--domain-id", type=click.IntRange(0, MAX_DOMAIN_ID), help="ROS domain of the stack.")
@click.option("--namespace", help="Whose policy; needed only where several run.")
def swap(
    bundle: str | None,
    shadow: float | None,
    roll_back: bool,
    timeout: float,
    domain_id: int | None,
    namespace: str | None,
) -> None:
    """Let BUNDLE take over from the running policy at a seam.

    It is verified and answers in the shadow first; refused, the old one goes on. Exit code 0: done; 1: refused.
    """
    if (bundle is None) != roll_back:
        raise click.UsageError("name a BUNDLE, or say --roll-back")
    with Operator(domain_id, timeout) as operator:
        policy = _policy(operator, namespace)
        try:
            if bundle is None:
                answer = operator.trigger(f"{policy}/roll_back")
            else:
                if shadow is not None:
                    _set_shadow(operator, policy, shadow)
                path = str(Path(bundle).resolve()) if Path(bundle).is_dir() else bundle
                answer = operator.call(LoadPolicy, f"{policy}/swap", LoadPolicy.Request(bundle_path=path))
        except RobotError as error:
            click.echo(f"d2ppo: {policy[1:]}: {error}", err=True)
            sys.exit(1)
        click.echo(f"{policy[1:]}: {answer}")


def _policy(operator: Operator, namespace: str | None) -> str:
    """Return the full name of the policy node that is meant; StackError where there is none, or several."""

    def found() -> list[str]:
        names = [name for name, _ in operator.node.get_service_names_and_types() if name.endswith(_SERVICE)]
        policies = sorted(name.removesuffix("/swap") for name in names)
        return [name for name in policies if namespace is None or name == f"/{namespace.strip('/')}/policy"]

    operator.wait(found)
    operator.pause()
    if len(policies := found()) == 1:
        return policies[0]
    if policies:
        raise StackError(f"several policies run: {', '.join(policies)}; say which one with --namespace")
    raise StackError("no policy node answers; is the stack up (d2ppo up), in this ROS domain (--domain-id)?")


def _set_shadow(operator: Operator, policy: str, shadow_s: float) -> None:
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=shadow_s)
    client = operator.node.create_client(SetParameters, f"{policy}/set_parameters")
    operator.wait(client.service_is_ready)
    future = client.call_async(SetParameters.Request(parameters=[Parameter(name="swap_shadow_s", value=value)]))
    if not operator.wait(future.done):
        raise RobotError(f"{policy} did not take swap_shadow_s")
    if not (result := future.result().results[0]).successful:
        raise RobotError(str(result.reason))
