"""Settings by name become the configuration that the same flags would give."""

import pytest

from mambrane.app.train_settings import parse_train
from mambrane.core.errors import UserError
from mambrane.data.config import DataConfig
from mambrane.settings.named_settings import config_of, configure, num_domains_in, settings_by_name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"preset": "tiny"}, "--preset tiny"),
        ({"preset": "tiny", "learning-rate": 1, "seed": 3}, "--preset tiny --learning-rate 1 --seed 3"),
        ({"preset": "tiny", "use_mamba": False}, "--preset tiny --no-use-mamba"),
        ({"preset": "small", "hidden_dim": 96}, "--preset small --hidden-dim 96"),
        ({"preset": "tiny", "data": "builtin"}, "--preset tiny --data builtin"),
    ],
)
def test_it_is_the_configuration_of_the_flags(settings, words):
    assert config_of(settings, source="file") == parse_train(words.split())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "huge"}, "preset 'huge'"),
        ({"learning_rat": 1}, "did you mean learning-rate"),
        ({"seed": "three"}, "file: seed: 'three'"),
    ],
)
def test_what_is_no_setting_is_refused_by_name_and_source(settings, message):
    with pytest.raises(UserError, match=message):
        config_of(settings, source="file")


def test_every_flag_of_a_run_has_its_section():
    known = settings_by_name()
    assert known["seed"][0] == "run"
    assert known["hidden_dim"][0] == "model"


def test_domains_are_counted_without_reading_them(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text("text")
    assert num_domains_in(DataConfig(data=(str(tmp_path),))) == 3
    assert num_domains_in(DataConfig()) == 5


def test_configure_takes_the_flags_by_name_and_paths_as_they_are(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    words = ["--preset", "tiny", "--data", str(tmp_path), "--no-use-stdp", "--output-dir", str(tmp_path / "run")]
    assert configure(preset="tiny", data=[tmp_path], use_stdp=False, output_dir=tmp_path / "run") == parse_train(words)
    with pytest.raises(UserError, match="did you mean use-stdp"):
        configure(use_stdpp=False)
