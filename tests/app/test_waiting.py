"""Idle threads of torch are told to sleep soon, unless the user has decided otherwise."""

import os

from mambrane.app.waiting import let_waiting_threads_sleep


def test_the_spin_is_short_and_what_the_user_set_stays(monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    let_waiting_threads_sleep()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    let_waiting_threads_sleep()
    assert os.environ["GOMP_SPINCOUNT"] == "5000"


def test_a_policy_of_the_user_is_not_overruled(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    let_waiting_threads_sleep()
    assert "GOMP_SPINCOUNT" not in os.environ
