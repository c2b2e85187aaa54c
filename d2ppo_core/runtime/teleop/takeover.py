"""Whose chunks move an arm: a policy's, or a hand's for as long as it holds; nothing of before a hand-back counts."""


class Takeover:
    """A hand takes an arm with its first chunk, and gives it back by letting go or by saying nothing for too long."""

    def __init__(self, timeout_s: float) -> None:
        """A hand that says nothing for ``timeout_s`` has let go."""
        self._timeout_ns = round(timeout_s * 1e9)
        self._heard_ns = 0
        self._given_back_ns = -1
        self.by_hand = False
        """Whether a hand has the arm."""

    def take(self, now_ns: int) -> None:
        """Take a chunk of the hand."""
        self.by_hand, self._heard_ns = True, now_ns

    def give_back(self, now_ns: int) -> bool:
        """End the hand's turn; whether it had one."""
        had, self.by_hand = self.by_hand, False
        if had:
            self._given_back_ns = now_ns
        return had

    def outdate(self, now_ns: int) -> None:
        """Let nothing count that was seen before this time."""
        self._given_back_ns = max(now_ns, self._given_back_ns)

    def silent(self, now_ns: int) -> bool:
        """Whether a hand has the arm and has said nothing for too long."""
        return self.by_hand and now_ns - self._heard_ns > self._timeout_ns

    def outdated(self, stamp_ns: int) -> bool:
        """Whether what was seen at this time shows a world from before the hand gave the arm back."""
        return stamp_ns < self._given_back_ns
