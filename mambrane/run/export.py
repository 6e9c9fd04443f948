"""What leaves a run: a folder that LanguageModel opens, a repository of the hub, transformers' own format, NIR."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.core.errors import UserError
from mambrane.data.domain_records import read_domain_records
from mambrane.models.pretrained import write_model_folder
from mambrane.models.published_names import published_name, published_settings
from mambrane.models.spiking_graphs import write_spiking_graphs
from mambrane.run.card import model_card
from mambrane.run.saved import SavedRun
from mambrane.settings.config import ExportKind
from mambrane.storage.hub import publish_folder

USE_OURS = """\
```python
from mambrane import LanguageModel, pretrained_tokenizer

model = LanguageModel.from_pretrained("{place}")
tokenizer = pretrained_tokenizer("{place}")
```
"""
USE_TRANSFORMERS = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{place}")
tokenizer = AutoTokenizer.from_pretrained("{place}")
```
"""


class Exported(NamedTuple):
    """What an export gave."""

    place: str
    """Folder or address."""
    left_out: tuple[str, ...] = ()
    """A sentence for each part of the model that the format cannot say."""


def export_run(
    saved: SavedRun,
    matrix: ForgettingMatrix | None,
    to: ExportKind,
    *,
    output_dir: Path | None,
    hub_name: str,
    private: bool,
) -> Exported:
    """Write or publish the model of a run; see `Run.export`."""
    if to == "hub":
        return _publish(saved, matrix, output_dir, hub_name, private=private)
    if hub_name:
        raise UserError(f"a name on the hub with --to {to}", wanted="--to hub", way_out="--to hub, or leave it out")
    if private:
        raise UserError(f"--private with --to {to}", wanted="--to hub", way_out="--to hub, or leave it out")
    folder = output_dir or saved.folder.path / "export" / to
    _refuse_folder_of_a_run(folder)
    if to == "nir":
        written = write_spiking_graphs(saved.model, folder)
        return Exported(str(folder), written.left_out)
    if to == "transformers":
        _write_for_transformers(saved, matrix, folder)
    else:
        card = _card(saved, matrix, USE_OURS.format(place=folder))
        saved.model.save_pretrained(folder, tokenizer=saved.tokenizer, card=card)
    return Exported(str(folder))


def _publish(
    saved: SavedRun, matrix: ForgettingMatrix | None, folder: Path | None, hub_name: str, *, private: bool
) -> Exported:
    if not hub_name:
        raise UserError("--to hub without a name", wanted="OWNER/MODEL", way_out="--hub-name OWNER/MODEL")
    if folder is not None:
        _refuse_folder_of_a_run(folder)
    with TemporaryDirectory() as aside:
        card = _card(saved, matrix, USE_OURS.format(place=hub_name.removeprefix("hf:")))
        written = saved.model.save_pretrained(folder or aside, tokenizer=saved.tokenizer, card=card)
        return Exported(publish_folder(written, hub_name, private=private))


def _write_for_transformers(saved: SavedRun, matrix: ForgettingMatrix | None, folder: Path) -> None:
    model, tokenizer = saved.model, saved.tokenizer
    settings = published_settings(model.config, model.vocab_size, end_of_text=tokenizer.end_of_text)
    weights = {published_name(name): value for name, value in model.state_dict().items()}
    card = _card(saved, matrix, USE_TRANSFORMERS.format(place=folder))
    write_model_folder(folder, settings, weights, tokenizer=tokenizer, card=card)


def _card(saved: SavedRun, matrix: ForgettingMatrix | None, usage: str) -> str:
    return model_card(
        saved.config,
        name=saved.folder.path.resolve().name,
        step=saved.step,
        weights=saved.weights,
        parameters=sum(parameter.numel() for parameter in saved.model.parameters()),
        domains=read_domain_records(saved.folder.domains_file).records,
        matrix=matrix,
        usage=usage,
    )


def _refuse_folder_of_a_run(folder: Path) -> None:
    """Refuse to write over the configuration of a run, or over a file."""
    if (folder / "checkpoints").exists() or folder.is_file():
        raise UserError(
            f"--output-dir {folder}: a run or a file lies there",
            wanted="a folder of its own for what leaves the run",
            way_out="another --output-dir",
        )
