"""Hot swap in the policy node: services, the thread that loads, and what becomes of a chunk meanwhile."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future as Answer
from std_srvs.srv import Trigger

from d2ppo_core.bundle import load_bundle
from d2ppo_core.errors import BundleError, D2ppoError
from d2ppo_core.runtime.inference.planner import ChunkPlanner, Plan
from d2ppo_core.runtime.inference.policy import Policy
from d2ppo_core.runtime.inference.swap import Distance, HotSwap, SwapConfig, in_words, refuse_other_contract
from d2ppo_interfaces.srv import LoadPolicy
from d2ppo_nodes.guarded import describe
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.setting import check_fit

_LOOK_S = 0.05


class Swapping:
    """Runs a new policy beside the planner's own, and lets it take over."""

    def __init__(
        self,
        node: StackNode,
        planner: Callable[[], ChunkPlanner],
        announce: Callable[[], None],
        *,
        is_active: Callable[[], bool],
        in_step: bool,
    ) -> None:
        """Offer the services.

        Args:
            node: The policy node.
            planner: Returns the planner that runs.
            announce: Publishes the status: the arm follows another bundle only once it is announced.
            is_active: Whether the node plans: only then there are seams.
            in_step: Load in the callback, so that the world waits.
        """
        self._node, self._planner, self._announce = node, planner, announce
        self._is_active, self._in_step = is_active, in_step
        self._swap = HotSwap()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="swap")
        self._loading: Future[Policy] | None = None
        self._answer: Answer = Answer()
        alone = ReentrantCallbackGroup()  # an answer that is awaited keeps the callbacks of its group from running
        node.create_service(LoadPolicy, "policy/swap", self._on_swap, callback_group=alone)
        node.create_service(Trigger, "policy/roll_back", self._on_roll_back)
        node.create_timer(_LOOK_S, self._look)

    def close(self) -> None:
        """Let go of what is being loaded."""
        self._loader.shutdown(wait=False, cancel_futures=True)
        self.forget("the node was stopped")

    def forget(self, why: str) -> None:
        """Break off a swap that is on its way; there is nothing to go back to."""
        if self._swap.busy:
            self._end(False, why)
        self._swap, self._loading = HotSwap(), None

    def judge(self, plan: Plan) -> Plan:
        """Return the chunk to send: the running policy's, or at the seam the new one's, announced before.

        Raises:
            ActionError: A new policy that has just taken over is slower than its period, again and again.
        """
        candidate, now_ns, planner = self._swap.candidate, plan.observation.stamp_ns, self._planner()
        if candidate is None:
            if self._swap.failed(now_ns):
                self._swap.pace(plan.inference_s, planner.period_s)
            return plan
        try:
            other = planner.answer(candidate, plan.observation, plan.noise)
            self._swap.pace(other.inference_s, planner.period_s)
            ticks = candidate.manifest.action_horizon
            distance = Distance.between(plan.targets, other.targets, ticks)
            if not self._swap.compare(distance, now_ns):
                return plan
        except Exception as error:  # ONNX Runtime raises a dozen unrelated types
            self._swap.drop()
            self._end(False, describe(error))
            return plan
        self._take_over(f"at a seam of {distance}; {self._compared()}", now_ns)
        return other

    def rescue(self, error: Exception) -> bool:
        """Bring the old policy back where the new one fails in its first seconds; False where that is not so."""
        if not self._swap.failed(self._node.now_ns()):
            return False
        new = self._planner().policy.manifest.name
        self._back()
        self._node.get_logger().error(f"bundle {new} failed and was rolled back: {describe(error)}")
        return True

    def _load(self, path: str) -> Policy:
        bundle = load_bundle(path)
        check_fit(self._node, bundle.manifest)
        refuse_other_contract(self._planner().policy.manifest, bundle.manifest)
        return Policy(bundle, self._node.text("device"))

    async def _on_swap(self, request: LoadPolicy.Request, response: LoadPolicy.Response) -> LoadPolicy.Response:
        number = self._node.number
        try:
            self._swap.begin(
                SwapConfig(
                    shadow_s=number("swap_shadow_s"),
                    max_jump_m=number("swap_max_jump_m"),
                    max_jump_rad=number("swap_max_jump_rad"),
                    patience_s=number("swap_patience_s"),
                    watch_s=number("swap_watch_s"),
                )
            )
            answer = self._answer = Answer()
            self._loading = self._loader.submit(self._load, request.bundle_path)
            if self._in_step:
                self._loading.exception()
                self._look()
            response.success, response.message = await answer
        except D2ppoError as error:
            response.success, response.message = False, str(error)
        response.bundle_hash = self._planner().policy.bundle.hash
        return response

    def _on_roll_back(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._back()
            response.success, response.message = True, f"running {self._planner().policy.manifest.name} again"
        except BundleError as error:
            response.success, response.message = False, str(error)
        return response

    def _look(self) -> None:
        """See whether the bundle is there, and whether anything still comes of it."""
        now_ns = self._node.now_ns()
        try:
            if self._loading is not None and self._loading.done():
                loading, self._loading = self._loading, None
                self._swap.loaded(loading.result(), now_ns)
            if self._swap.candidate is not None and not self._is_active():
                self._take_over("nothing ran", now_ns)
            self._swap.check_silence(now_ns)
        except Exception as error:
            self._swap.drop()
            self._end(False, describe(error))

    def _take_over(self, how: str, now_ns: int) -> None:
        planner = self._planner()
        planner.replace(self._swap.commit(planner.policy, now_ns))
        self._announce()
        self._end(True, f"running {planner.policy.manifest.name}: {how}")

    def _back(self) -> None:
        was_busy = self._swap.busy
        self._planner().replace(self._swap.roll_back())
        if was_busy:
            self._end(False, "rolled back meanwhile")
        self._loading = None
        self._announce()

    def _end(self, success: bool, message: str) -> None:
        log = self._node.get_logger()
        if success:
            log.info(f"swap: {message}")
        else:
            log.error(f"swap refused, the old one goes on: {message}")
        if not self._answer.done():
            self._answer.set_result((success, message))

    def _compared(self) -> str:
        farthest = in_words(self._swap.farthest_m, self._swap.farthest_rad)
        return f"{self._swap.compared} chunks in the shadow, up to {farthest} apart"
