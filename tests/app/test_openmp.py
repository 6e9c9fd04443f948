"""Idle threads of torch are told to sleep soon, unless the user has decided otherwise."""

import os

from mambrane.app.openmp import limit_openmp_spin


def test_the_spin_is_short_and_what_the_user_set_stays(monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    limit_openmp_spin()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    limit_openmp_spin()
    assert os.environ["GOMP_SPINCOUNT"] == "5000"


def test_a_policy_of_the_user_is_not_overruled(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    limit_openmp_spin()
    assert "GOMP_SPINCOUNT" not in os.environ
