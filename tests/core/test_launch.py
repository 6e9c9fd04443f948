"""torchrun's variables, and what stands without them."""

from mambrane.core.launch import is_first_process, num_processes


def test_a_program_by_itself_is_the_first_of_one(monkeypatch):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    assert num_processes() == 1
    assert is_first_process()


def test_torchrun_says_how_many_there_are_and_which_this_is(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "2")
    assert num_processes() == 3
    assert not is_first_process()
