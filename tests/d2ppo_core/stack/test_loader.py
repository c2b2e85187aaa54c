from pathlib import Path

import pytest

from d2ppo_core.errors import ConfigError
from d2ppo_core.stack.loader import load_stack

MINIMAL = """
namespace: panda
arguments: {address: 127.0.0.1, rate_hz: 20.0}
parameters: {use_sim_time: true}
nodes:
  - {name: a, package: p, executable: e, parameters: {host: $(address), rate_hz: $(rate_hz)}}
  - {name: b, package: p, executable: e, parameters: {use_sim_time: false}, remappings: {x: y}, required: false}
"""


def stack_file(folder: Path, text: str) -> str:
    path = folder / "probe.yaml"
    path.write_text(text)
    return str(path)


def test_a_stack_file_becomes_nodes_with_common_parameters_and_placeholders_filled(tmp_path: Path) -> None:
    stack = load_stack(stack_file(tmp_path, MINIMAL))
    assert stack.name == "probe"
    assert stack.namespace == "panda"
    first, second = stack.nodes
    assert first.parameters == {"use_sim_time": True, "host": "127.0.0.1", "rate_hz": 20.0}
    assert first.required and not second.required
    assert second.parameters == {"use_sim_time": False}
    assert second.remappings == {"x": "y"}


def test_overrides_reach_arguments_and_single_parameters(tmp_path: Path) -> None:
    stack = load_stack(stack_file(tmp_path, MINIMAL), {"address": "127.0.0.9", "b.extra": [1, 2], "a.rate_hz": 5.0})
    assert stack.nodes[0].parameters["host"] == "127.0.0.9"
    assert stack.nodes[0].parameters["rate_hz"] == 5.0
    assert stack.nodes[1].parameters["extra"] == [1, 2]


def test_two_nodes_of_one_name_have_namespaces_of_their_own(tmp_path: Path) -> None:
    text = MINIMAL.replace("name: b", "name: a, namespace: right")
    stack = load_stack(stack_file(tmp_path, text), {"right/a.extra": 1})
    assert [node.label for node in stack.nodes] == ["a", "right/a"]
    assert stack.nodes[1].parameters["extra"] == 1 and "extra" not in stack.nodes[0].parameters
    with pytest.raises(ConfigError, match="namespace of a must be one ROS name without slashes, got '/right'"):
        load_stack(stack_file(tmp_path, text.replace("namespace: right", "namespace: /right")))


@pytest.mark.parametrize("key", ["adress", "c.rate_hz", "a.", ".a"])
def test_an_override_that_names_nothing_is_refused_with_what_there_is(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=r"has no .*; wanted one of address, rate_hz, namespace, a\.<parameter>"):
        load_stack(stack_file(tmp_path, MINIMAL), {key: 1})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("namespace: panda", "namespace: panda\nnode: []", "a stack has unknown keys node; allowed: namespace"),
        ("required: false", "requird: false", "a node has unknown keys requird"),
        ("required: false", "required: 'no'", "required of b must be true or false, got 'no'"),
        ("name: b", "name: a", "lists a node twice: a, a"),
        ("name: b", "name: b-2", "name of a node must be letters, digits and underscores, got 'b-2'"),
        ("namespace: panda", "namespace: /panda", "namespace must be one ROS name"),
        ("$(address)", "$(adress)", r"a\.host refers to \$\(adress\), which is not an argument"),
        ("{x: y}", "{x: 1}", "remappings of b: x must be a text"),
        ("rate_hz: $(rate_hz)", "rate_hz: {a: 1}", "rate_hz must be a scalar or a list of scalars"),
        ("rate_hz: $(rate_hz)", "gains: [1, 2.0]", "gains must be a scalar or a list of scalars of one type"),
        ("namespace: panda", "", "namespace of the stack must be a text, got None"),
    ],
)
def test_a_wrong_stack_file_is_refused_with_the_file_and_the_reason(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = stack_file(tmp_path, MINIMAL.replace(old, new))
    with pytest.raises(ConfigError, match=f"probe.yaml: .*{message}"):
        load_stack(path)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "namespace: panda\nnodes: 3", "namespace: panda\nnodes: []"])
def test_a_file_that_is_no_stack_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="probe.yaml"):
        load_stack(stack_file(tmp_path, text))


def test_the_committed_stacks_load_and_differ_only_in_the_world() -> None:
    sim, real = load_stack("sim"), load_stack("real")
    names = [node.name for node in sim.nodes]
    assert names == ["sim", "camera", "policy", "arm"]
    assert [node.name for node in real.nodes] == names[1:]
    assert all(node.parameters["use_sim_time"] is True for node in sim.nodes)
    # the arm node must not know whether it talks to a robot or to the simulator: only the address differs, and what
    # belongs to that very robot
    arm_sim, arm_real = sim.nodes[-1], real.nodes[-1]
    assert arm_sim.executable == arm_real.executable
    tuned = {"task", "robot_address", "use_sim_time", "connect_timeout_s", "friction_nm", "friction_nms_rad"}
    in_step = {"stepping", "world_address"}  # a world may wait for its nodes; a robot never does
    assert set(arm_sim.parameters) - set(arm_real.parameters) <= tuned | in_step
    assert set(arm_real.parameters) <= set(arm_sim.parameters)


def test_a_node_is_left_out_without_the_argument_that_it_needs(tmp_path: Path) -> None:
    text = MINIMAL.replace("rate_hz: 20.0}", 'rate_hz: 20.0, bundle: ""}', 1).replace(
        "{name: b,", "{name: b, when: bundle,"
    )
    assert [node.name for node in load_stack(stack_file(tmp_path, text)).nodes] == ["a"]
    assert [node.name for node in load_stack(stack_file(tmp_path, text), {"bundle": "x"}).nodes] == ["a", "b"]
    with pytest.raises(ConfigError, match="when: bumble is not an argument of the stack"):
        load_stack(stack_file(tmp_path, text.replace("when: bundle", "when: bumble")))


def test_an_argument_may_call_for_another_stack_which_gets_what_was_chosen(tmp_path: Path) -> None:
    (tmp_path / "pair.yaml").write_text(
        MINIMAL.replace("namespace: panda", "namespace: pair").replace("{address", "{task: fold, address", 1)
    )
    text = (
        MINIMAL.replace("rate_hz: 20.0}", "rate_hz: 20.0, task: lift}", 1)
        + f"instead: {{task: {{fold: {tmp_path}/pair.yaml}}}}\n"
    )
    one = stack_file(tmp_path, text)
    assert load_stack(one).name == "probe"
    other = load_stack(one, {"task": "fold", "address": "127.0.0.9", "namespace": "panda", "rate_hz": "20"})
    assert (other.name, other.namespace, other.arguments["address"]) == ("pair", "pair", "127.0.0.9")


def test_a_task_with_two_arms_gets_the_stack_of_two_arms() -> None:
    pair = load_stack("sim", {"task": "transport", "bundle": "mine", "stepping": "deterministic"})
    assert (pair.name, pair.arms, pair.world_address) == ("sim_transport", ("left", "right"), "127.0.0.1")
    (policy,) = (node for node in pair.nodes if node.name == "policy")
    assert (policy.parameters["arms"], policy.parameters["bundle"]) == ("left,right", "mine")
    assert all("policy" != node.name for node in load_stack("sim_transport").nodes), "without a bundle none runs"
    one = load_stack("sim")
    assert (one.arms, one.world_address) == (("panda",), "127.0.0.1")
    with pytest.raises(ConfigError, match="stack 'sim_transport' has no 'robot_address'; wanted one of task, bundle"):
        load_stack("sim", {"task": "transport", "robot_address": "127.0.0.9"})
