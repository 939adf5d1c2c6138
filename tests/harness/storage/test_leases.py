"""One holder at a time, with and without conditional writes, whatever the clocks say."""

from __future__ import annotations

import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.core.locks import Busy
from harness.storage import leases
from harness.storage.leases import Lease, leased
from harness.storage.remote import Remote


@pytest.fixture
def remote() -> Remote:
    return Remote(f"memory://leases-{secrets.token_hex(4)}")


@pytest.fixture(params=[True, False], ids=["conditional", "unconditional"])
def creates_alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(Remote, "creates_alone", False)
        monkeypatch.setattr(leases, "SETTLE_SECONDS", 0.1)
    return bool(request.param)


@pytest.mark.usefixtures("creates_alone")
def test_of_many_that_ask_at_once_one_holds_it(remote: Remote) -> None:
    for number in range(3):
        holders: list[int] = []
        begun, ended = threading.Barrier(6), threading.Barrier(6)

        def ask(
            who: int, name: str = f"run-{number}", holders: list[int] = holders, begun: threading.Barrier = begun,
            ended: threading.Barrier = ended,
        ) -> None:  # fmt: skip
            begun.wait()
            try:
                with leased(remote, name, f"copy {who}"):
                    holders.append(who)
                    ended.wait()
            except Busy:
                ended.wait()

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(ask, range(6)))
        assert len(holders) == 1
    assert remote.listing() == {}


@pytest.mark.usefixtures("creates_alone")
def test_an_expired_lease_is_taken_over_and_its_owner_learns_of_it(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "_work", lambda self: None)  # suspended
    with leased(remote, "run", "a") as first:
        with pytest.raises(Busy), leased(remote, "run", "b"):
            pass
        monkeypatch.setattr(leases, "LEASE_SECONDS", 0.0)
        with leased(remote, "run", "b") as second:
            assert not first.is_lost()
            first.renew()
            assert first.is_lost()
            assert not second.is_lost()
        names = set(remote.listing())
    assert set(remote.listing()) == names  # who lost it deletes nothing


@pytest.mark.slow
def test_a_renewed_lease_does_not_expire(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.3)
    with leased(remote, "run", "a") as lease:
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            with pytest.raises(Busy), leased(remote, "run", "b"):
                pass
        assert not lease.is_lost()


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_the_clocks_of_the_machines_do_not_matter(remote: Remote, monkeypatch: pytest.MonkeyPatch, skew: float) -> None:
    real = time.time
    with leased(remote, "run", "a"):
        monkeypatch.setattr(leases.time, "time", lambda: real() + skew)
        with pytest.raises(Busy), leased(remote, "run", "b"):
            pass


@pytest.mark.parametrize(("skew", "is_free"), [(100.0, False), (179.0, False), (200.0, True)])
def test_without_the_stores_time_a_minute_of_skew_is_allowed(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, skew: float, is_free: bool
) -> None:
    monkeypatch.setattr(Remote, "modified", lambda self, name: None)
    monkeypatch.setattr(Lease, "_work", lambda self: None)
    real = time.time
    with leased(remote, "run", "a"):
        monkeypatch.setattr(leases.time, "time", lambda: real() + skew)
        if is_free:
            with leased(remote, "run", "b"):
                pass
        else:
            with pytest.raises(Busy), leased(remote, "run", "b"):
                pass


def test_an_owner_who_comes_back_while_it_is_taken_over_keeps_the_lease(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It renews between the moment when the other finds the lease expired and the one when it creates its own."""
    monkeypatch.setattr(Lease, "_work", lambda self: None)
    with leased(remote, "run", "a") as first:
        real = leases._age

        def late(*arguments: object) -> float:
            real(*arguments)  # type: ignore[arg-type]
            first.renew()
            return leases.LEASE_SECONDS

        monkeypatch.setattr(leases, "_age", late)
        with pytest.raises(Busy), leased(remote, "run", "b"):
            pass
        first.renew()
        assert not first.is_lost()


def test_a_dead_process_of_the_same_machine_leaves_no_waiting(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "_work", lambda self: None)
    for _ in range(3):  # none of them releases it
        lease = leases._taken(remote, "run", "a")
    assert set(remote.listing()) == {"run.lease-1"}
    lease.release()
    assert remote.listing() == {}
