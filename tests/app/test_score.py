"""`mambrane score`: a line of output for each line of text."""

import json

from mambrane.app.cli import main


def test_each_line_has_its_bits_per_byte_and_its_text(run_folder, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("first line\n\tsecond\n")
    assert main(["score", str(run_folder), str(tmp_path / "text.txt")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert main(["score", str(run_folder), str(tmp_path / "text.txt"), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in lines] == ["first line", "\tsecond"]
    assert [line["bytes"] for line in lines] == [11, 8]
    for text, line in zip(shown, lines, strict=True):
        assert text.split()[0] == f"{line['bits'] / line['bytes']:.3f}"
    assert "    second" in shown[1]


def test_a_file_that_is_not_there_is_refused(run_folder, capsys):
    assert main(["score", str(run_folder), "no-such.txt"]) == 2
    assert "no-such.txt: No such file" in capsys.readouterr().err
