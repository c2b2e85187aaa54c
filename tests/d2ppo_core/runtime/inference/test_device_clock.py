"""A device's clock is mapped to the host's by its quickest deliveries; drift is followed, jumps begin anew."""

import numpy as np
import pytest

from d2ppo_core.runtime.inference.device_clock import DeviceClock

MS, S = 1_000_000, 1_000_000_000
OFFSET_NS = 1_700_000_000 * S


def deliver(clock: DeviceClock, device_ns: np.ndarray, delay_ns: np.ndarray, offset_ns=OFFSET_NS) -> np.ndarray:
    """Error of the mapped stamps, ns."""
    truth = device_ns + np.asarray(offset_ns)
    pairs = zip(device_ns.tolist(), (truth + delay_ns).tolist(), strict=True)
    return np.array([clock.host_ns(device, arrival) for device, arrival in pairs]) - truth


def jitter(count: int, seed: int = 0) -> np.ndarray:
    """Delays of 4 ms and more, now and then much more."""
    return (4 * MS + np.random.default_rng(seed).exponential(3 * MS, count)).astype(int)


def test_varying_deliveries_leave_the_quickest_way_as_error_and_no_stamp_is_later_than_its_arrival():
    clock, device_ns = DeviceClock(), np.arange(300) * 33 * MS
    delay_ns = jitter(300)
    error_ns = deliver(clock, device_ns, delay_ns)
    assert (error_ns <= delay_ns).all()
    assert np.ptp(error_ns[100:]) < 0.3 * MS and abs(error_ns[-1] - 4 * MS) < 0.3 * MS
    assert clock.jumps == 0


def test_a_drift_is_followed_and_told():
    clock, device_ns = DeviceClock(), np.arange(1800) * 33 * MS
    drifting = OFFSET_NS + (device_ns * 100e-6).astype(int)
    error_ns = deliver(clock, device_ns, jitter(1800), drifting)
    assert np.abs(error_ns[200:] - 4 * MS).max() < 1.0 * MS
    assert clock.drift_ppm == pytest.approx(100.0, abs=15.0) and clock.jumps == 0


def test_a_stall_of_the_bus_is_late_and_no_jump():
    clock, device_ns = DeviceClock(), np.arange(200) * 33 * MS
    delay_ns = jitter(200)
    delay_ns[100:103] = [420 * MS, 390 * MS, 350 * MS]
    error_ns = deliver(clock, device_ns, delay_ns)
    assert np.abs(error_ns[50:]).max() < 5 * MS and clock.jumps == 0


@pytest.mark.parametrize("jump_s", [-3.0, 3.0])
def test_a_clock_of_the_host_that_is_set_is_noticed(jump_s):
    clock, device_ns = DeviceClock(), np.arange(200) * 33 * MS
    offset_ns = OFFSET_NS + np.where(np.arange(200) < 100, 0, round(jump_s * S))
    error_ns = deliver(clock, device_ns, jitter(200), offset_ns)
    assert np.abs(error_ns[110:]).max() < 8 * MS and clock.jumps == 1


def test_a_device_whose_clock_begins_anew_is_noticed_at_once():
    clock = DeviceClock()
    deliver(clock, np.arange(100) * 33 * MS, jitter(100))
    error_ns = deliver(clock, np.arange(100) * 33 * MS, jitter(100, 1), OFFSET_NS + 3300 * MS)
    assert np.abs(error_ns).max() < 20 * MS and clock.jumps == 1


def test_a_late_first_frame_is_no_jump():
    clock, delay_ns = DeviceClock(), jitter(50)
    delay_ns[0] = 600 * MS
    error_ns = deliver(clock, np.arange(50) * 33 * MS, delay_ns)
    assert clock.jumps == 0 and np.abs(error_ns[1:]).max() < 10 * MS
