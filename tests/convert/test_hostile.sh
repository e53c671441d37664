#!/usr/bin/env bash
# tests/convert/test_hostile.sh - the known list of hostile model files and their bypasses, as a user meets them: each refused by `inspect` and by
# `convert` in under 0.1 s of processor time and 50 MB, with a message that names what is wrong, and nothing written. Prints TAP.
set -u
d=$PWD/${KD_BUILD:-build/release}/distill
case ${KD_BUILD:-} in /*) d=$KD_BUILD/distill ;; esac
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
unset "${!DISTILL_@}"
exec python3 - "$d" "$tmp" "$PWD/tests/oracle/models/qwen2-tied" <<'PY'
import json, os, resource, shutil, struct, subprocess, sys
distill, tmp, model = sys.argv[1:]
limits = not any(x in distill for x in ("asan", "tsan", "debug")) # a sanitizer takes memory and time of its own
def s(x): return struct.pack("<Q", len(x)) + x
def key(name, t, payload): return s(name) + struct.pack("<I", t) + payload
arch = key(b"general.architecture", 8, s(b"llama"))
def tensor(name, dims, t, off): return s(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", x) for x in dims) + struct.pack("<IQ", t, off)
def gguf(keys, tensors, data=b"\0" * 64, nk=None, nt=None, version=3):
    h = b"GGUF" + struct.pack("<IQQ", version, len(tensors) if nt is None else nt, len(keys) if nk is None else nk) + b"".join(keys) + b"".join(tensors)
    return h + b"\0" * (-len(h) % 32) + data
def st(header, data=b"", n=None):
    h = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(h) if n is None else n) + h + data
def t(a, b, dtype="F32", shape=None): return {"dtype": dtype, "shape": [(b - a) // 4] if shape is None else shape, "data_offsets": [a, b]}
FILES = { # name: bytes, what the message names
    "tensor sizes that add up past 2^64 (CVE-2025-53630)": ("gguf", gguf([arch], [tensor(b"a", [2**61], 0, 0), tensor(b"b", [2**61], 0, 2**63)]), "tensor"),
    "a shape whose product wraps (CVE-2026-33298)": ("gguf", gguf([arch], [tensor(b"a", [2**32, 2**32, 4], 0, 0)]), "tensor"),
    "a shape whose product wraps to 0": ("gguf", gguf([arch], [tensor(b"a", [2**63, 2], 0, 0)]), "tensor"),
    "a zero that hides an overflow": ("gguf", gguf([arch], [tensor(b"a", [2**62, 2**62, 0], 0, 0)]), "tensor"),
    "padding to zero (CVE-2026-27940)": ("gguf", gguf([arch], [tensor(b"a", [2**62 - 4], 0, 0), tensor(b"b", [8], 0, 0)]), "tensor"),
    "an array where a number belongs": ("gguf", gguf([key(b"general.alignment", 9, struct.pack("<IQ", 4, 1) + struct.pack("<I", 32)), arch], []), "general.alignment"),
    "an array of arrays": ("gguf", gguf([key(b"x", 9, struct.pack("<IQ", 9, 1))], []), "x"),
    "an array of an unknown type": ("gguf", gguf([key(b"x", 9, struct.pack("<IQ", 77, 1))], []), "x"),
    "2^62 elements in 32 bytes": ("gguf", gguf([key(b"x", 9, struct.pack("<IQ", 4, 2**62) + b"\0" * 16)], []), "x"),
    "2^61 strings": ("gguf", gguf([key(b"x", 9, struct.pack("<IQ", 8, 2**61) + b"\0" * 16)], []), "x"),
    "a string of 2^63 bytes": ("gguf", gguf([key(b"x", 8, struct.pack("<Q", 2**63))], []), "x"),
    "alignment 2^31": ("gguf", gguf([key(b"general.alignment", 4, struct.pack("<I", 2**31)), arch], []), "general.alignment"),
    "alignment 0": ("gguf", gguf([key(b"general.alignment", 4, struct.pack("<I", 0)), arch], []), "general.alignment"),
    "alignment 24": ("gguf", gguf([key(b"general.alignment", 4, struct.pack("<I", 24)), arch], []), "general.alignment"),
    "2^60 keys": ("gguf", gguf([], [], nk=2**60), "key"),
    "2^60 tensors": ("gguf", gguf([arch], [], nt=2**60), "tensor"),
    "a hole in the data": ("gguf", gguf([arch], [tensor(b"a", [8], 0, 32)]), "tensor a"),
    "two tensors in one place": ("gguf", gguf([arch], [tensor(b"a", [8], 0, 0), tensor(b"b", [8], 0, 0)]), "tensor b"),
    "data behind the end": ("gguf", gguf([arch], [tensor(b"a", [4096], 0, 0)]), "tensors take 16384 bytes"),
    "a name twice": ("gguf", gguf([arch], [tensor(b"a", [8], 0, 0), tensor(b"a", [8], 0, 32)]), "twice"),
    "a key twice": ("gguf", gguf([arch, arch], []), "general.architecture"),
    "a name with parts of a path": ("gguf", gguf([arch], [tensor(b"../../etc/x", [8], 0, 0)], b"\0" * 32), "path"),
    "an unknown type": ("gguf", gguf([arch], [tensor(b"a", [8], 200, 0)], b"\0" * 32), "type"),
    "nine dimensions": ("gguf", gguf([arch], [tensor(b"a", [1] * 9, 0, 0)], b"\0" * 32), "dimension"),
    "version 0": ("gguf", gguf([arch], [], version=0), "version"),
    "a header of 100 MB that is not there": ("safetensors", st(b"{}", n=100 << 20), "header"),
    "a header of 2^63 bytes": ("safetensors", st(b"{}", n=2**63), "header"),
    "a header of 100 MB": ("safetensors", struct.pack("<Q", 100 << 20) + b'{"a":', "header"), # followed by 100 MB of spaces
    "JSON a hundred thousand deep": ("safetensors", st(b'{"__metadata__":' + b'{"a":' * 100000 + b"1" + b"}" * 100000 + b"}"), "expected a string"),
    "a type of nobody": ("safetensors", st({"a": t(0, 4, "F99", [1])}, b"\0" * 4), "F99"),
    "a shape that wraps": ("safetensors", st({"a": t(0, 4, "F32", [2**62, 4])}, b"\0" * 4), "a"),
    "offsets that overlap": ("safetensors", st({"a": t(0, 8), "b": t(4, 12)}, b"\0" * 12), "b"),
    "a hole between tensors": ("safetensors", st({"a": t(0, 4), "b": t(8, 12)}, b"\0" * 12), "b"),
    "bytes left over": ("safetensors", st({"a": t(0, 4)}, b"\0" * 12), "12"),
    "a tensor twice": ("safetensors", st(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', b"\0" * 8), "a"),
    "offsets that fall": ("safetensors", st({"a": t(8, 4, "F32", [1])}, b"\0" * 8), "a"),
}
n = 0
def run(args):
    pid = os.posix_spawn(distill, [distill] + args, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, tmp + "/out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                                                                           (os.POSIX_SPAWN_OPEN, 2, tmp + "/err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)])
    _, status, use = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), use.ru_utime + use.ru_stime, use.ru_maxrss / 1024, open(tmp + "/err").read().strip()
def case(name, path, names, commands=("inspect", "convert")):
    global n
    n += 1
    bad = []
    for command in commands:
        rc, seconds, mb, err = run([command, path] + ([tmp + "/written.gguf"] if command == "convert" else []))
        if rc not in (65, 66): bad.append(f"{command}: exit {rc}: {err}")
        elif command == commands[0] and names not in err: bad.append(f"{command}: does not name {names}: {err}")
        elif limits and (seconds > 0.1 or mb > 50): bad.append(f"{command}: {seconds:.3f} s, {mb:.0f} MB")
    if os.path.exists(tmp + "/written.gguf"): bad.append("something was written")
    print("not ok" if bad else "ok", n, "-", name)
    for b in bad: print("#", b)
    return not bad
good = True
for name, (kind, data, names) in FILES.items():
    path = f"{tmp}/file.{kind}"
    with open(path, "wb") as f:
        f.write(data)
        for _ in range(100 if name == "a header of 100 MB" else 0): f.write(b" " * (1 << 20)) # a child's peak counts ours in: stay small
    good &= case(name, path, names)
def folder(name, names, change, commands=("inspect", "convert")):
    global good
    f = tmp + "/folder"
    shutil.rmtree(f, ignore_errors=True)
    shutil.copytree(model, f, ignore=shutil.ignore_patterns("*-start", "*-end", "full-*", "grads*", "logits*"))
    change(f)
    good &= case(name, f, names, commands)
def index(f, target):
    w = json.load(open(f + "/config.json")) and {"model.norm.weight": target}
    os.rename(f + "/model.safetensors", f + "/elsewhere.safetensors")
    json.dump({"metadata": {}, "weight_map": w}, open(f + "/model.safetensors.index.json", "w"))
folder("an index that points outside its folder", "../", lambda f: index(f, "../folder/elsewhere.safetensors"))
folder("an index with an absolute path", "/etc/passwd", lambda f: index(f, "/etc/passwd"))
def link(f):
    index(f, "shard.safetensors")
    os.symlink(model + "/model.safetensors", f + "/shard.safetensors")
folder("a link that leads out of its folder", "link", link)
folder("a config.json a hundred thousand deep", "config.json", lambda f: open(f + "/config.json", "w").write("[" * 100000 + "]" * 100000), ["convert"]) # inspect shows the weights all the same
print(f"1..{n}")
sys.exit(0 if good else 1)
PY
