"""What the engine says of the machine, and how it measures it."""

import pytest

from pymoshi import DeviceError, InputError, _native


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_K"])
def test_bandwidth_is_measured_on_whole_matrices(kind: str) -> None:
    found = _native.bandwidth("cpu", kind, threads=1, n_bytes=1, seconds=0.01)
    assert found.n_bytes == _native.row_size(kind, 4096) * 12288
    assert found.best >= found.median > 0
    assert found.op_seconds > 0
    assert found.n_passes >= 3


def test_as_many_matrices_are_gone_through_as_fit_the_bytes_asked_for() -> None:
    one = _native.row_size("q8_0", 4096) * 12288
    assert _native.bandwidth("cpu", "q8_0", threads=1, n_bytes=3 * one + 5, seconds=0.01).n_bytes == 3 * one


def test_attention_goes_through_keys_and_values() -> None:
    layer = 2 * _native.row_size("f16", 4096) * 1024
    found = _native.bandwidth("cpu", "kv", threads=1, n_bytes=2 * layer, seconds=0.01)
    assert found.n_bytes == 2 * layer
    assert found.best >= found.median > 0


def test_unknown_types_are_refused_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"q4_k.*q4_K"):
        _native.bandwidth("cpu", "q4_k")


@pytest.mark.parametrize("seconds", [0.0, -1.0, 100.0, float("nan")])
def test_measurements_have_a_length(seconds: float) -> None:
    with pytest.raises(InputError, match="seconds"):
        _native.bandwidth("cpu", "f16", seconds=seconds)


def test_unknown_devices_are_refused() -> None:
    with pytest.raises(DeviceError, match="no device"):
        _native.bandwidth("abacus", "f16")


def test_features_are_those_of_each_backend() -> None:
    found = _native.features()
    assert "cpu" in found
    assert all(isinstance(value, str) for value in found["cpu"].values())


def test_threads_are_at_least_one() -> None:
    assert _native.default_threads() >= 1
