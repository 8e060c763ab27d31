"""Hospes and its peers, side by side in one run: the same models, the same client, the same two cores.

usage: bench.py HOSPES [--seconds 10] [--rounds 2] [--only NAME,...] [--models lenet,efficientnet-lite0]

HOSPES is the program to measure, such as target/dist-release/hospes. Peers are installed into target/peers, each in an environment of
its own. The client is wrk, which shares the cores with the servers, so a figure is what client and server do together. The limit is ONNX
Runtime alone, in this process. Prints a table in Markdown with the versions and commands, and writes target/peers/results.json.
"""
import argparse
import json
import os
import pathlib
import platform
import shlex
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = ROOT / "target/peers"
SERVERS = ROOT / "tests/peers/servers"
MODELS = {
    "lenet": [1, 3, 32, 32],
    "efficientnet-lite0": [1, 3, 224, 224],
}
RUNTIME = ["onnxruntime==1.31.1", "numpy==2.4.6"]
WORKERS = os.cpu_count()
# MLServer's parallel workers end with newer versions of uvloop.
PEERS = {
    "mosec": ["mosec==0.9.8"],
    "litserve": ["litserve==0.2.19"],
    "bentoml": ["bentoml==1.4.39"],
    "mlserver": ["mlserver==1.7.1", "uvloop==0.21.0"],
}
READY_SECONDS = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(name, packages):
    """An environment of its own, made once for these packages."""
    home = HOME / name
    mark = home / "packages"
    wanted = " ".join(packages + RUNTIME)
    if not mark.exists() or mark.read_text() != wanted:
        print(f"installing {name}: {wanted}", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([home / "bin/pip", "install", "--quiet", *packages, *RUNTIME], check=True)
        mark.write_text(wanted)
    return home / "bin"


class Server:
    """A running server with the address to call, ended with all its processes."""

    def __init__(self, command, env, url, key="-", media="application/octet-stream", body=None):
        self.url, self.key, self.media, self.body = url, key, media, body
        self.command = " ".join(str(part) for part in command)
        self.log = tempfile.TemporaryFile()
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, env={**os.environ, **env}, cwd=SERVERS, stdout=self.log, stderr=self.log, start_new_session=True)

    def ask(self):
        headers = {"Content-Type": self.media, "Accept": self.media, "Authorization": f"Bearer {self.key}"}
        with urllib.request.urlopen(urllib.request.Request(self.url, self.body, headers), timeout=30) as answer:
            return answer.read()

    def wait(self):
        """Seconds from the start to the first answer, and the answer."""
        while time.monotonic() - self.began < READY_SECONDS:
            if self.process.poll() is not None:
                break
            try:
                return time.monotonic() - self.began, self.ask()
            except OSError:
                time.sleep(0.02)
        self.log.seek(0)
        raise SystemExit(f"{self.command}\ndid not answer:\n{self.log.read()[-4000:].decode(errors='replace')}")

    def processes(self):
        """Its session's processes."""
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if os.getsid(int(entry.name)) == self.process.pid:
                        yield int(entry.name)
                except OSError:
                    pass

    def memory(self):
        """Its fair share of memory in MB (PSS), and its processes."""
        total, count = 0, 0
        for pid in self.processes():
            try:
                rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            total += int(rollup.split("Pss:")[1].split()[0])
            count += 1
        return total / 1024, count

    def stop(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in list(self.processes()):
                try:
                    os.kill(pid, number)
                except OSError:
                    pass
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass


def start(name, model, hospes, raw):
    path, shape = ROOT / f"plugins/target/models/{model}/model.onnx", MODELS[model]
    port = free_port()
    env = {"MODEL": str(path), "SHAPE": ",".join(map(str, shape)), "WORKERS": str(WORKERS), "PORT": str(port), "OMP_NUM_THREADS": "1"}
    octets = "application/octet-stream"
    if name == "hospes":
        return hospes_dev(hospes, path, port, env, raw)
    bin_ = environment(name, PEERS[name])
    if name == "mosec":
        command = [bin_ / "python", "mosec_server.py", "--address", "127.0.0.1", "--port", port, "--log-level", "warning"]
        return Server(list(map(str, command)), env, f"http://127.0.0.1:{port}/inference", body=raw)
    if name == "litserve":
        return Server([str(bin_ / "python"), "litserve_server.py"], env, f"http://127.0.0.1:{port}/predict", body=raw)
    if name == "bentoml":
        command = [bin_ / "bentoml", "serve", "bento_server:Model", "--host", "127.0.0.1", "--port", port]
        env |= {"BENTOML_DO_NOT_TRACK": "true", "PATH": f"{bin_}:{os.environ['PATH']}"}
        return Server(list(map(str, command)), env, f"http://127.0.0.1:{port}/raw/infer", media=octets, body=raw)
    folder = HOME / "mlserver-settings" / model
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"http_port": port, "host": "127.0.0.1", "grpc_port": free_port(), "metrics_port": free_port(), "parallel_workers": 0, "debug": False}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps({"name": "model", "implementation": "mlserver_model.Model"}))
    values = list(struct.unpack(f"{len(raw) // 4}f", raw))
    body = json.dumps({"inputs": [{"name": "image", "shape": shape, "datatype": "FP32", "data": values}]}).encode()
    env["PYTHONPATH"] = str(SERVERS)
    command = [str(bin_ / "mlserver"), "start", str(folder)]
    return Server(command, env, f"http://127.0.0.1:{port}/v2/models/model/infer", media="application/json", body=body)


def hospes_dev(hospes, path, port, env, raw):
    """A host with its defaults, an account and an agreement: each call is checked and leaves a receipt."""
    command = [hospes, "dev", str(path), "--name", "model", "--listen", f"127.0.0.1:{port}", "--data", str(ROOT / "target/runtime"), "--json"]
    server = Server(command, env, "", body=raw)
    while server.process.poll() is None and time.monotonic() - server.began < READY_SECONDS:
        server.log.seek(0)
        for line in server.log.read().decode(errors="replace").splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "published":
                words = shlex.split(event["calls"][0]["command"])
                server.url = next(word for word in words if word.startswith("http://"))
                server.key = next(word for word in words if word.startswith("Authorization:")).split()[-1]
                return server
        time.sleep(0.02)
    return server


def load(server, connections, seconds):
    with tempfile.NamedTemporaryFile() as body:
        body.write(server.body)
        body.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", str(ROOT / "tests/peers/load.lua"), server.url]
        done = subprocess.run([*command, "--", server.key, server.media, body.name], capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    if summary["failed"]:
        raise SystemExit(f"{server.command}: {summary['failed']} calls failed: an error is faster than an answer")
    return {"rate": summary["requests"] * 1e6 / summary["micros"], "p50": summary["p50"] / 1e3, "p99": summary["p99"] / 1e3}


def alone(model, raw, seconds):
    """ONNX Runtime in a process of its own, one thread: the limit of one core, and the right answer."""
    code = """
import sys, time, json
sys.path.insert(0, sys.argv[1])
from common import run, session
raw, seconds = open(sys.argv[2], "rb").read(), float(sys.argv[3])
began = time.monotonic(); model = session(); answer = run(model, raw); first = time.monotonic() - began
times, end = [], time.monotonic() + seconds
while time.monotonic() < end:
    began = time.perf_counter(); run(model, raw); times.append((time.perf_counter() - began) * 1e3)
times.sort()
print(json.dumps({"first": first, "p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100], "rate": len(times) / seconds, "answer": answer.hex()}))
"""
    python = environment("onnxruntime", []) / "python"
    path = ROOT / f"plugins/target/models/{model}/model.onnx"
    env = {**os.environ, "MODEL": str(path), "SHAPE": ",".join(map(str, MODELS[model])), "OMP_NUM_THREADS": "1"}
    with tempfile.NamedTemporaryFile() as body:
        body.write(raw)
        body.flush()
        done = subprocess.run([python, "-c", code, SERVERS, body.name, str(seconds)], env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def right(answer, expected, media):
    expected = struct.unpack(f"{len(expected) // 4}f", expected)
    values = json.loads(answer)["outputs"][0]["data"] if media == "application/json" else struct.unpack(f"{len(answer) // 4}f", answer)
    return max(abs(one - other) for one, other in zip(values, expected, strict=True)) < 1e-4


def measure(name, model, arguments, raw, expected):
    server = start(name, model, arguments.hospes, raw)
    try:
        ready, answer = server.wait()
        if not right(answer, expected, server.media):
            raise SystemExit(f"{name} answers {model} otherwise than ONNX Runtime alone")
        time.sleep(1)
        memory, processes = server.memory()
        load(server, 8, 1)
        one, many = load(server, 1, arguments.seconds), load(server, 32, arguments.seconds)
        return {"ready": ready, "memory": memory, "processes": processes, "one": one, "many": many, "command": server.command}
    finally:
        server.stop()


def table(model, limit, rows):
    print(f"\n### {model}\n")
    print("| server | 1 caller: calls/s | p50 ms | p99 ms | 32 callers: calls/s | p50 ms | p99 ms | of the limit | start to answer s | MB (processes) |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    rate = limit["rate"]
    print(f"| ONNX Runtime alone, one core | {rate:.0f} | {limit['p50']:.3f} | {limit['p99']:.3f} | | | | 1.00 | {limit['first']:.2f} | |")
    for name, rounds in rows.items():
        middle = lambda *path: statistics.median(pick(one, path) for one in rounds)
        one, many = [[middle(kind, member) for member in ("rate", "p50", "p99")] for kind in ("one", "many")]
        print(f"| {name} | {one[0]:.0f} | {one[1]:.3f} | {one[2]:.3f} | {many[0]:.0f} | {many[1]:.2f} | {many[2]:.2f} | {many[0] / rate:.2f} "
              f"| {middle('ready'):.2f} | {middle('memory'):.0f} ({rounds[0]['processes']}) |")


def pick(value, path):
    for member in path:
        value = value[member]
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hospes")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default=",".join(["hospes", *PEERS]))
    parser.add_argument("--models", default=",".join(MODELS))
    arguments = parser.parse_args()
    arguments.hospes = str(pathlib.Path(arguments.hospes).resolve())
    HOME.mkdir(parents=True, exist_ok=True)
    version = subprocess.run([arguments.hospes, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print(f"{version}; {os.cpu_count()} cores of {cpu}; wrk -t1 on the same cores; {arguments.rounds} rounds of {arguments.seconds} s, medians")
    names, results = arguments.only.split(","), {}
    for model in arguments.models.split(","):
        count = 1
        for size in MODELS[model]:
            count *= size
            raw = struct.pack(f"{count}f", *((pixel * 37 % 256) / 127.5 - 1 for pixel in range(count)))
        limit = alone(model, raw, arguments.seconds)
        expected, rows = bytes.fromhex(limit.pop("answer")), {name: [] for name in names}
        for number in range(arguments.rounds):
            # Each round the other way round, so that what slows the machine slows all.
            for name in names if number % 2 == 0 else reversed(names):
                print(f"{model}, round {number + 1}: {name}", file=sys.stderr)
                rows[name].append(measure(name, model, arguments, raw, expected))
        table(model, limit, rows)
        results[model] = {"alone": limit, **rows}
    print("\nCommands and packages:\n")
    for name in names:
        packages = " ".join(PEERS.get(name, []) + ([] if name == "hospes" else RUNTIME))
        print(f"- {name}: `{results[next(iter(results))][name][0]['command']}` {packages}".replace(str(ROOT) + "/", ""))
    (HOME / "results.json").write_text(json.dumps({"version": version, "cpu": cpu, "results": results}, indent=1))


main()
