"""`mambrane generate`: the prompt, what follows it, and nothing else."""

from mambrane.app.cli import main


def text_of(capsys, *words):
    assert main(["generate", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_the_prompt_stands_first_and_equal_seeds_write_equal_text(run_folder, capsys):
    words = (run_folder, "--prompt", "ab ", "--max-tokens", "12", "--seed", "3")
    first = text_of(capsys, *words)
    assert first.startswith("ab ")
    assert first.endswith("\n")
    assert text_of(capsys, *words) == first


def test_temperature_zero_does_not_draw(run_folder, capsys):
    words = (run_folder, "--prompt", "ab ", "--max-tokens", "12", "--temperature", "0", "--seed")
    assert text_of(capsys, *words, 1) == text_of(capsys, *words, 2)


def test_no_tokens_is_refused(run_folder, capsys):
    assert main(["generate", str(run_folder), "--max-tokens", "0"]) == 2
    assert "max-tokens" in capsys.readouterr().err
