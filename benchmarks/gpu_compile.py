"""Compile every kernel of ours for GPUs that are not here, and read what came out.

    python -m benchmarks.gpu_compile [--targets sm_90 gfx942] [--only selective_scan] [--check | --write]

Triton compiles without a driver, and its wheel brings NVIDIA's assembler and disassembler. For each kernel that the
base preset starts (`benchmarks.gpu_calls`): registers, what did not fit into them (spills), shared memory, warps on
a multiprocessor, and instructions of a warp for a token, from the loops of the code. --write puts them into
benchmarks/results/gpu_compile.json and docs/gpu.md; tests/benchmarks/test_gpu_compile.py holds them.
"""

import argparse
import collections
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.environments import ROOT
from benchmarks.gpu_calls import launches
from mambrane.kernels.triton.launch import Launch, is_interpreting, options_for

TARGETS = ("sm_80", "sm_90", "sm_100", "sm_120", "gfx942")
RESULTS, PAGE = ROOT / "benchmarks/results/gpu_compile.json", ROOT / "docs/gpu.md"
HEADING = "## Compiled kernels"
INTRODUCTION = """\
`python -m benchmarks.gpu_compile --write`, on a machine without a GPU: what Triton 3.7.1 and its assemblers make of the
kernels that the base preset starts (8 sequences of 256 tokens, bfloat16). Instructions are those of a warp in the loops
of the kernel, for a token of its tile (16 channels and 32 states of the scan, 32 neurons or units, 64 channels of the
convolution; of a cell without unrolled tokens, of a tile of weights). Compiled, not measured."""
EXACT = {("lif", "forward"), ("causal_trace", "forward"), ("spike_pairs", "traces")}
"""Kernels whose products and sums must not be fused: their numbers equal the reference's bit for bit."""

POINTERS = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.bool: "*u8",
    torch.uint8: "*u8",
    torch.int64: "*i64",
    torch.int32: "*i32",
}


class Compiled(NamedTuple):
    """A kernel as a target's compiler left it."""

    operation: str
    kernel: str
    target: str
    registers: int
    spills: int
    """Bytes of a thread that did not fit into registers (NVIDIA: its stack; AMD: spilled vector registers, 4 each)."""
    shared_bytes: int
    warps: int
    """Warps on a multiprocessor; 0 where the target says nothing of it."""
    instructions: int
    """Of the whole kernel."""
    per_token: float
    """Of a warp, for a token of its program."""
    fused: int
    """Fused multiply-adds."""
    wide_loads: int
    """Loads from memory of 8 bytes and more at a time."""
    loads: int


def compile_all(targets: Sequence[str], only: str = "") -> list[Compiled]:
    """Return what became of each kernel of the base preset whose name holds `only`; each kind of launch once."""
    found: dict[tuple, Compiled] = {}
    for target in targets:
        for operation, launch in launches():
            key = (target, launch.kernel, operation, tuple(sorted(launch.constants.items())), _types(launch))
            if only in f"{operation}.{launch.kernel}" and key not in found:
                found[key] = compile_one(operation, launch, target)
    return list(found.values())


def compile_one(operation: str, launch: Launch, target: str) -> Compiled:
    """Compile the kernel of a launch as Triton would on its first call there."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(import_module(launch.module), launch.kernel)
    constants = {(function.arg_names.index(name),): value for name, value in launch.constants.items()}
    signature, attributes = dict.fromkeys(launch.constants, "constexpr"), {}
    for place, (name, kind) in enumerate(zip(function.arg_names, _types(launch), strict=False)):
        argument = launch.arguments[place]
        signature[name] = kind
        if kind == "constexpr":
            constants[place,] = argument
        elif kind.startswith("*") or (isinstance(argument, int) and argument % 16 == 0):
            attributes[place,] = [["tt.divisibility", 16]]
    signature = {name: signature[name] for name in function.arg_names}
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=attributes)
    is_amd = target.startswith("gfx")
    gpu = GPUTarget("hip", target, 64) if is_amd else GPUTarget("cuda", int(target.removeprefix("sm_")), 32)
    options = options_for(launch.options, is_amd=is_amd)
    binary = triton.compile(source, target=gpu, options=options)
    read = _read_amd if is_amd else _read_nvidia
    warps = options.get("num_warps", 4)
    return Compiled(operation, launch.kernel, target, **read(binary, warps, _tokens(launch)))


def _types(launch: Launch) -> tuple[str, ...]:
    """Return the type of each argument, as Triton's launcher finds it."""
    first = next(each for each in launch.arguments if isinstance(each, torch.Tensor))
    kinds = []
    for argument in launch.arguments:
        if argument is None or isinstance(argument, torch.Tensor):
            kinds.append(POINTERS[(first if argument is None else argument).dtype])
        elif isinstance(argument, float):
            kinds.append("fp32")
        else:
            kinds.append("constexpr" if argument == 1 else "i32")
    return tuple(kinds)


def _tokens(launch: Launch) -> int:
    """Return the tokens of a turn of the kernel's loops, or of a program that has none."""
    return launch.constants.get("UNROLL") or launch.constants.get("BLOCK_T") or 1


def _read_nvidia(binary: Any, warps: int, tokens: int) -> dict[str, Any]:  # noqa: ANN401 -- Triton's own
    import triton

    tools = Path(triton.__file__).parent / "backends/nvidia/bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run([tools / "cuobjdump", option, file.name], capture_output=True, text=True, check=True).stdout
            for option in ("--dump-resource-usage", "-sass")
        )
    numbers = {name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", usage)}
    lines = [
        (int(address, 16), name, text)
        for address, text, name in re.findall(
            r"^\s+/\*([0-9a-f]{4,})\*/\s+((?:@!?U?P\w+\s+)?([A-Z0-9_]+)[^;]*);", code, re.MULTILINE
        )
    ]
    counts = collections.Counter(name for _, name, _ in lines)
    loads = [text for _, name, text in lines if name == "LDG"]
    registers, threads = numbers["REG"], 32 * warps
    per_thread = -(-registers // 8) * 8
    return {
        "registers": registers,
        "spills": numbers["STACK"] + numbers["LOCAL"],
        "shared_bytes": binary.metadata.shared,
        "warps": min(65536 // (per_thread * threads), 2048 // threads, 32) * warps,
        "instructions": len(lines) - counts["NOP"],
        "per_token": round(_instructions_of_loops(lines) / tokens, 1),
        "fused": sum(number for name, number in counts.items() if name.startswith("FFMA")),
        "wide_loads": sum(bool(re.search(r"LDG\S*\.(64|128)\b", text)) for text in loads),
        "loads": len(loads),
    }


def _instructions_of_loops(lines: Sequence[tuple[int, str, str]]) -> int:
    """Return the instructions inside the innermost loops; of all up to the exit where there is no loop."""
    spans = []
    for address, name, text in lines:
        target = re.search(r"\b0x([0-9a-f]+)", text) if name == "BRA" else None
        if target and int(target[1], 16) < address:
            spans.append((int(target[1], 16), address))
    inner = [a for a in spans if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in spans)]
    if not inner:
        inner = [(0, max(address for address, name, _ in lines if name == "EXIT"))]
    return sum(name != "NOP" and any(a <= address <= b for a, b in inner) for address, name, _ in lines)


def _read_amd(binary: Any, warps: int, tokens: int) -> dict[str, Any]:  # noqa: ANN401 -- Triton's own
    code = binary.asm["amdgcn"]

    def number(name: str) -> int:
        return int(re.search(rf"\.{name}:\s+(\d+)", code)[1])

    names = re.findall(r"^\s+([vs]_\w+|ds_\w+|buffer_\w+|global_\w+|flat_\w+)", code, re.MULTILINE)
    loads = [name for name in names if name.startswith(("global_load", "buffer_load"))]
    return {
        "registers": number("vgpr_count"),
        "spills": 4 * number("vgpr_spill_count"),
        "shared_bytes": binary.metadata.shared,
        "warps": 0,
        "instructions": len(names),
        "per_token": 0.0,
        "fused": sum(name.startswith(("v_fma", "v_fmac", "v_pk_fma")) for name in names),
        "wide_loads": sum("dwordx" in name for name in loads),
        "loads": len(loads),
    }


def as_table(rows: Sequence[Compiled]) -> str:
    """Return the section of docs/gpu.md."""
    lines = [
        "| operation | kernel | target | registers | spills, bytes | shared, bytes | warps on an SM | instructions |"
        " of a warp for a token | fused | loads (8 bytes and more) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        per_token, warps = row.per_token or "-", row.warps or "-"
        lines.append(
            f"| {row.operation} | {row.kernel} | {row.target} | {row.registers} | {row.spills} | {row.shared_bytes} | "
            f"{warps} | {row.instructions} | {per_token} | {row.fused} | {row.loads} ({row.wide_loads}) |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 1 where something is wrong with a kernel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--only", default="", help="part of operation.kernel")
    parser.add_argument("--check", action="store_true", help="compare with the JSON file too")
    parser.add_argument("--write", action="store_true", help="renew the JSON file and the page")
    options = parser.parse_args(arguments)
    if is_interpreting():
        sys.exit("TRITON_INTERPRET is set: there would be nothing to compile")
    rows = compile_all(options.targets, options.only)
    print(as_table(rows))
    if options.write:
        RESULTS.write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")
        write_section(PAGE, HEADING, f"{INTRODUCTION}\n\n{as_table(rows)}\n")
    before = [Compiled(**row) for row in json.loads(RESULTS.read_text())] if options.check else rows
    found = complaints(rows, before)
    print(*found, sep="\n", file=sys.stderr)
    return int(bool(found))


def complaints(rows: Sequence[Compiled], before: Sequence[Compiled]) -> list[str]:
    """Return what is wrong with kernels, by themselves and against the same ones before: a sentence each."""
    known = _numbered(before)
    found = []
    for key, row in _numbered(rows).items():
        name, old = f"{row.operation}.{row.kernel} on {row.target}", known.get(key)
        if row.spills:
            found.append(f"{name}: {row.spills} bytes of a thread do not fit into registers")
        if (row.operation, row.kernel) in EXACT and row.fused:
            found.append(f"{name}: {row.fused} fused multiply-adds, which would move spikes")
        if old is None:
            found.append(f"{name}: not among the results that are kept")
            continue
        if row.wide_loads < old.wide_loads:
            found.append(f"{name}: {row.wide_loads} loads of 8 bytes and more, {old.wide_loads} before")
        if row.registers > old.registers:
            found.append(f"{name}: {row.registers} registers, {old.registers} before")
    return found


def _numbered(rows: Sequence[Compiled]) -> dict[tuple, Compiled]:
    """Return the rows by name, target and number: a kernel may be compiled for more than one kind of launch."""
    numbered: dict[tuple, Compiled] = {}
    for row in rows:
        name = (row.operation, row.kernel, row.target)
        numbered[*name, sum(key[:3] == name for key in numbered)] = row
    return numbered


def write_section(page: Path, heading: str, text: str) -> None:
    """Put the text under its heading on a page, in place of what stood there; a new section stands last."""
    old = page.read_text() if page.exists() else "# On a GPU\n"
    before, _, rest = old.partition(f"{heading}\n")
    after = rest[rest.index("\n## ") + 1 :] if "\n## " in rest else ""
    page.write_text(f"{before.rstrip()}\n\n{heading}\n\n{text.strip()}\n" + (f"\n{after}" if after else ""))


if __name__ == "__main__":
    sys.exit(main())
