"""From `--data` to tokenized domains in one call."""

import json
from multiprocessing import get_context

import pytest
import tokenizers
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Sequence, Split

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data import subword
from mambrane.data.domains import load_domains
from mambrane.data.tokenizer import load_tokenizer
from tests.data.texts import config_for, kinds, lines, recording_log, write_files


@pytest.fixture
def folder(tmp_path):
    texts = {f"{domain}/{part}.txt": lines(f"{domain} {part}") for domain in ("birds", "fish") for part in "abcdefgh"}
    return write_files(tmp_path / "data", texts | {"poem.txt": lines("poem", 200)})


def load(folder, cache, num_domains=None, **changes):
    log, events = recording_log()
    tokenizer, domains = load_domains(config_for(folder, **changes), cache, log, num_domains)
    return tokenizer, domains, events


def test_each_entry_of_a_folder_becomes_a_domain_with_two_splits(folder, tmp_path):
    tokenizer, domains, events = load(folder, tmp_path / "cache")
    assert [domain.name for domain in domains] == ["birds", "fish", "poem"]
    for domain, event in zip(domains, kinds(events, "domain"), strict=True):
        for split in (domain.train, domain.heldout):
            assert len(tokenizer.decode(split.tokens)) == split.num_bytes
            assert split.num_tokens == split.num_bytes + split.num_documents
        assert (event["name"], event["train_tokens"]) == (domain.name, domain.train.num_tokens)
    assert len({domain.content_hash for domain in domains}) == 3


def test_the_order_of_tasks_moves_whole_domains_and_none_of_their_text(folder, tmp_path):
    _, given, _ = load(folder, tmp_path / "cache")
    _, ordered, _ = load(folder, tmp_path / "cache", task_order=("poem", "1"))
    assert [domain.name for domain in ordered] == ["poem", "birds", "fish"]
    assert {domain.name: domain.content_hash for domain in ordered} == {d.name: d.content_hash for d in given}


def test_the_first_tasks_are_the_first_of_the_order(folder, tmp_path):
    _, domains, events = load(folder, tmp_path / "cache", 2, task_order=("fish", "poem"))
    assert [domain.name for domain in domains] == ["fish", "poem"]
    assert kinds(events, "domains_left_out")[0]["names"] == ["birds"]


@pytest.mark.parametrize(
    ("order", "found"), [(("poem", "3"), "3 comes twice"), (("cats",), "no domain cats"), (("0",), "no domain 0")]
)
def test_an_order_that_is_none_is_refused(folder, tmp_path, order, found):
    with pytest.raises(UserError, match=found):
        load(folder, tmp_path / "cache", task_order=order)


def test_the_record_of_a_domain_is_json(folder, tmp_path):
    _, domains, _ = load(folder, tmp_path / "cache")
    record = json.loads(json.dumps(domains[0].record))
    assert {file["path"] for file in record["files"]} == {f"{part}.txt" for part in "abcdefgh"}


@pytest.mark.parametrize("spec", ["bytes", "bpe:300"])
def test_the_second_time_nothing_is_read_or_written(folder, tmp_path, spec, monkeypatch):
    first, domains, _ = load(folder, tmp_path / "cache", tokenizer=spec)
    monkeypatch.setattr(subword, "_train", None)
    before = sorted(tmp_path.rglob("*"))
    second, again, events = load(folder, tmp_path / "cache", tokenizer=spec)
    assert kinds(events, "text_read") == []
    assert sorted(tmp_path.rglob("*")) == before
    assert second.state_dict() == first.state_dict()
    assert [domain.train.content_hash for domain in again] == [domain.train.content_hash for domain in domains]


def test_bpe_is_trained_on_the_training_splits_only(folder, tmp_path):
    word = "zyzzyva"
    (folder / "poem.txt").write_text(lines("poem", 200) + word * 20)
    tokenizer, domains, _ = load(folder, tmp_path / "cache", tokenizer="bpe:500")
    poem = domains[2]
    assert word in tokenizer.decode(poem.heldout.tokens).decode()
    assert word not in tokenizer.decode(poem.train.tokens).decode()
    assert len(tokenizer.encode(word.encode())) == len(word)
    assert len(tokenizer.encode(b"poem")) == 1


WORDS = {"birds": "magpie", "fish": "sturgeon"}


@pytest.fixture
def two_tasks(tmp_path):
    texts = {f"{task}.txt": f"the {word} and the {word}\n" * 300 for task, word in WORDS.items()}
    return write_files(tmp_path / "two", texts)


def test_in_a_stream_bpe_is_trained_on_the_first_task_alone_unless_asked_to_look_ahead(two_tasks, tmp_path):
    first, _, events = load(two_tasks, tmp_path / "cache", 2, tokenizer="bpe:300")
    every, _, more = load(two_tasks, tmp_path / "cache", 2, tokenizer="bpe:300:all")
    sizes = {name: len(tokenizer.encode(b" sturgeon")) for name, tokenizer in (("first", first), ("every", every))}
    assert len(first.encode(b" magpie")) == 1
    assert sizes["every"] < sizes["first"] == len(" sturgeon")
    assert kinds(events, "tokenizer_trained")[0]["message"] == (
        "tokenizer bpe:300 knows the training text of the first task, birds; bpe:300:all would look ahead"
    )
    assert kinds(more, "tokenizer_trained")[0]["message"] == (
        "tokenizer bpe:300:all knows the training text of birds, fish"
    )


def test_a_later_task_does_not_change_the_tokenizer_of_a_stream(two_tasks, tmp_path):
    before, _, _ = load(two_tasks, tmp_path / "cache", 2, tokenizer="bpe:300")
    (two_tasks / "fish.txt").write_text("something else altogether\n" * 300)
    after, _, _ = load(two_tasks, tmp_path / "cache", 2, tokenizer="bpe:300")
    assert after.state_dict() == before.state_dict()


@pytest.mark.parametrize("num_domains", [1, None])
def test_with_one_task_there_is_nothing_to_look_ahead_to(two_tasks, tmp_path, num_domains):
    first, every = (
        load(two_tasks, tmp_path / "cache", num_domains, tokenizer=spec)[0] for spec in ("bpe:300", "bpe:300:all")
    )
    assert first.state_dict()["tokenizer"] == every.state_dict()["tokenizer"]


@pytest.mark.parametrize("spec", ["bpe:300", "bpe:300:all"])
def test_a_saved_tokenizer_is_kept_whatever_it_was_trained_on(two_tasks, tmp_path, spec):
    tokenizer, domains, _ = load(two_tasks, tmp_path / "cache", 2, tokenizer=spec)
    saved = load_tokenizer(json.loads(json.dumps(tokenizer.state_dict())))
    _, again = load_domains(config_for(two_tasks, tokenizer=spec), tmp_path / "new", EventLog(), 2, tokenizer=saved)
    assert [domain.train.content_hash for domain in again] == [domain.train.content_hash for domain in domains]


def test_a_vocabulary_smaller_than_asked_is_told(folder, tmp_path):
    tokenizer, _, events = load(folder, tmp_path / "cache", tokenizer="bpe:9000")
    (event,) = kinds(events, "tokenizer_smaller_than_asked")
    assert (event["asked"], event["vocab_size"]) == (9000, tokenizer.vocab_size)


def test_a_run_goes_on_with_its_own_tokenizer(folder, tmp_path):
    tokenizer, domains, _ = load(folder, tmp_path / "cache", tokenizer="bpe:300")
    saved = load_tokenizer(json.loads(json.dumps(tokenizer.state_dict())))
    used, again = load_domains(config_for(folder), tmp_path / "cache", EventLog(), tokenizer=saved)
    assert used is saved
    assert [domain.train.content_hash for domain in again] == [domain.train.content_hash for domain in domains]


def test_fewer_domains_than_tasks_is_a_clear_error(folder, tmp_path):
    with pytest.raises(UserError, match=r"3 text domains(.|\n)*birds, fish, poem(.|\n)*wanted:  5(.|\n)*--num-tasks 3"):
        load(folder, tmp_path / "cache", 5)


def test_domains_beyond_the_tasks_are_left_out_with_an_event(folder, tmp_path):
    _, domains, events = load(folder, tmp_path / "cache", 2)
    assert [domain.name for domain in domains] == ["birds", "fish"]
    assert kinds(events, "domains_left_out")[0]["names"] == ["poem"]


def test_the_held_out_text_can_be_capped(folder, tmp_path):
    _, domains, _ = load(folder, tmp_path / "cache", max_heldout_bytes=100)
    assert all(80 <= domain.heldout.num_bytes <= 100 for domain in domains)


def test_text_that_is_not_read_is_said_in_bytes(tmp_path):
    path = write_files(tmp_path / "data", {"mine.txt": lines("mine", 9000)}) / "mine.txt"
    _, (domain,), events = load(path, tmp_path / "cache", max_domain_bytes=80_000, max_heldout_bytes=5_000)
    assert domain.bytes_there == path.stat().st_size > domain.bytes_read
    assert domain.bytes_read == domain.record["bytes_read"] <= 80_000
    assert domain.heldout_bytes == domain.heldout.num_bytes <= 5_000
    (event,) = kinds(events, "text_left_out")
    said = f"{domain.bytes_read:,} of {domain.bytes_there:,} bytes of mine are read (--max-domain-bytes 80000"
    assert said in event["message"]
    unused = domain.bytes_read - domain.train.num_bytes - domain.heldout_bytes
    assert f"{unused:,} held-out bytes of mine are not evaluated on (--max-heldout-bytes 5000" in event["message"]


def test_a_cap_that_is_not_reached_is_not_the_reason_why_text_is_left_out(tmp_path):
    text = lines("mine", 900)
    folder = write_files(tmp_path / "data", {f"mine/{number}.txt": text for number in range(5)})
    events = load(folder, tmp_path / "cache", max_domain_bytes=500_000)[2]
    (event,) = kinds(events, "text_left_out")
    assert event["message"].endswith(
        f"of {5 * len(text):,} bytes of mine are read (equal and blank documents are left out)"
    )


def test_text_that_is_left_out_is_said_again_when_it_comes_from_the_cache(folder, tmp_path):
    first, second = (load(folder, tmp_path / "cache", max_domain_bytes=1000)[2] for _ in range(2))
    assert [event["message"] for event in kinds(first, "text_left_out")] == [
        event["message"] for event in kinds(second, "text_left_out")
    ]
    assert len(kinds(second, "text_left_out")) == 1


def test_nothing_is_said_of_text_that_is_read_whole(folder, tmp_path):
    _, domains, events = load(folder, tmp_path / "cache")
    assert all(domain.bytes_read == domain.bytes_there for domain in domains)
    assert kinds(events, "text_left_out") == []


def lower_casing(path):
    """Write a tokenizer that knows every small letter, and makes letters small."""
    pieces = {"[UNK]": 0} | {chr(code): code for code in range(10, 127) if not chr(code).isupper()}
    tokenizer = tokenizers.Tokenizer(WordLevel(pieces, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Split("", "isolated")
    tokenizer.decoder = Fuse()
    tokenizer.save(str(path))


def word_level(path):
    """Write a tokenizer that knows four words and calls any other [UNK]."""
    pieces = {"[UNK]": 0, "poem": 1, "line": 2, " ": 3, "\n": 4}
    tokenizer = tokenizers.Tokenizer(WordLevel(pieces, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Sequence([Split(" ", "isolated"), Split("\n", "isolated")])
    tokenizer.decoder = Fuse()
    tokenizer.save(str(path))


@pytest.mark.parametrize(
    ("write", "text", "said"),
    [
        (lower_casing, lines("poem", 300) + lines("Poem"), r"'.*Poem line 0.*' comes back as '.*poem line 0"),
        (word_level, lines("poem", 300), r"'poem line 0.*' comes back as 'poem line \[UNK\]"),
    ],
)
def test_a_tokenizer_that_loses_text_is_refused(tmp_path, write, text, said):
    write(tmp_path / "tokenizer.json")
    path = write_files(tmp_path, {"poems.txt": text}) / "poems.txt"
    with pytest.raises(UserError, match=f"loses text: {said}(.|\n)*bits per byte(.|\n)*--tokenizer bytes"):
        load(path, tmp_path / "cache", tokenizer=str(tmp_path / "tokenizer.json"))


def test_other_text_that_a_saved_tokenizer_loses_is_refused(tmp_path):
    lower_casing(tmp_path / "tokenizer.json")
    write_files(tmp_path, {"small.txt": lines("small"), "large.txt": lines("LARGE")})
    saved, _, _ = load(tmp_path / "small.txt", tmp_path / "cache", tokenizer=str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"loses text: 'LARGE line 0.*' comes back as 'large line 0"):
        load_domains(config_for(tmp_path / "large.txt"), tmp_path / "cache", EventLog(), tokenizer=saved)


def load_in_process(arguments):
    folder, cache = arguments
    _, domains, _ = load(folder, cache, tokenizer="bpe:300")
    return [domain.train.tokens.tolist() for domain in domains]


def test_processes_that_share_a_cache_get_the_same_tokens(folder, tmp_path):
    with get_context("spawn").Pool(3) as pool:
        first, *others = pool.map(load_in_process, [(folder, tmp_path / "cache")] * 3)
    assert all(other == first for other in others)
    assert not list((tmp_path / "cache").rglob(".unfinished-*"))
