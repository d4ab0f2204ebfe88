"""The PyTorch side of `cargo xtask bench train --against PYTHON`, which starts it.

    python train.py NETWORK PRESET --batch B --size S --threads N --device cpu|gpu
                    [--channels-last] [--compile] [--tf32]

It prints a line of JSON that describes itself. Then it reads commands, one per line, and answers
each with a line of JSON. Between commands it waits and computes nothing.

    warm-up WORK SECONDS   prepares `training` or `prediction`: {"seconds": of a step}
    round STEPS            runs the steps: {"seconds": of all, "value": the loss, or the mean logit}

Needs torch, torchvision and numpy. Made for torch 2.15.0. The networks are those that make the
expected numbers for the tests of the `models` crate. As in Rust, the optimizer is SGD with learning
rate .01 and momentum .9 (PyTorch's fused one: all weights in one pass), and prediction has its
batch normalization folded into the convolutions. On a GPU, cuDNN tries its algorithms and keeps the
fastest.
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path

# stdout is reserved for answers.
ANSWERS, sys.stdout = sys.stdout, sys.stderr
TESTS = Path(__file__).resolve().parents[3] / "crates" / "models" / "tests"


def answer(**values):
    print(json.dumps(values), file=ANSWERS, flush=True)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("network")
    parser.add_argument("preset")
    for name in ("--batch", "--size", "--threads"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--device", choices=["cpu", "gpu"], required=True)
    for name in ("--channels-last", "--compile", "--tf32"):
        parser.add_argument(name, action="store_true")
    return parser.parse_args()


def choose_device(kind):
    if kind == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    raise RuntimeError(
        "PyTorch finds no GPU: install a build for this machine's GPU, or compare on the CPU with "
        "`--device flex`")


def build(network, preset):
    """Returns the network with new weights, and the channels and classes of its preset."""
    channels, classes = reference.PRESETS[preset]
    if preset == "d2l":
        # These have dropout, which the tests' reference leaves out.
        return d2l.build(getattr(d2l, network), "sequential", d2l.FULL), channels, classes
    builder, *_ = reference.NETWORKS[f"{preset}/{network}"]
    return builder(channels, classes), channels, classes


def folded(network):
    """Returns the network with batch normalization folded, if torch.fx can."""
    try:
        return torch.fx.experimental.optimization.fuse(network.eval())
    except Exception as error:  # torch.fx cannot trace every network
        print(f"not folded: {error}", file=sys.stderr)
        return network.eval()


class Bench:
    def __init__(self, options):
        self.options = options
        torch.set_num_threads(options.threads)
        torch.backends.cuda.matmul.allow_tf32 = options.tf32
        torch.backends.cudnn.allow_tf32 = options.tf32
        torch.backends.cudnn.benchmark = True
        self.device = choose_device(options.device)
        torch.manual_seed(0)
        network, channels, classes = build(options.network, options.preset)
        self.parameters = sum(weight.numel() for weight in network.parameters())
        self.layout = torch.channels_last if options.channels_last else torch.contiguous_format
        self.network = network.to(self.device, memory_format=self.layout)
        images = torch.randn(options.batch, channels, options.size, options.size, device=self.device)
        self.images = images.to(memory_format=self.layout)
        self.labels = torch.randint(classes, (options.batch,), device=self.device)
        self.step = None

    def introduce(self):
        model = torch.cuda.get_device_name() if self.device == "cuda" else None
        answer(
            device=self.device, model=model, gpu=self.device != "cpu",
            threads=torch.get_num_threads(), parameters=self.parameters,
            versions={
                "python": platform.python_version(), "torch": torch.__version__,
                "torchvision": torchvision.__version__,
                "instructions": torch.backends.cpu.get_cpu_capability()})

    def compiled(self, network):
        return torch.compile(network) if self.options.compile else network

    def training(self):
        network = self.compiled(self.network.train())
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)

        def step():
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(self.images), self.labels)
            loss.backward()
            optimizer.step()
            return loss

        return step

    def prediction(self):
        network = folded(self.network).to(memory_format=self.layout)
        network = self.compiled(network)

        def step():
            with torch.inference_mode():
                return network(self.images)

        return step

    def clock(self):
        if self.device == "cuda":
            torch.cuda.synchronize()
        elif self.device == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    def timed(self, steps):
        start = self.clock()
        for _ in range(steps):
            value = self.step()
        return self.clock() - start, value

    def warm_up(self, work, least):
        self.step = None  # frees the memory of the last work
        self.step = {"training": self.training, "prediction": self.prediction}[work]()
        self.timed(1)
        times, start = [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - start < least:
            times.append(self.timed(1)[0])
        answer(seconds=min(times))

    def round(self, steps):
        seconds, value = self.timed(steps)
        answer(seconds=seconds, value=value.detach().float().mean().item())

    def serve(self):
        for line in sys.stdin:
            try:
                match line.split():
                    case ["warm-up", work, seconds]:
                        self.warm_up(work, float(seconds))
                    case ["round", steps]:
                        self.round(int(steps))
                    case _:
                        answer(error=f"not a command: {line!r}")
            except Exception as error:
                answer(error=first_line(error))


def first_line(error):
    line = str(error).strip().partition("\n")[0]
    return line if isinstance(error, RuntimeError) else f"{type(error).__name__}: {line}"


try:
    options = arguments()
    import torch
    import torch.fx.experimental.optimization
    import torchvision

    sys.path.insert(0, str(TESTS))
    import d2l
    import reference

    bench = Bench(options)
except ImportError as error:
    answer(error=f"{error} (to install: `{sys.executable} -m pip install torch torchvision numpy`)")
except Exception as error:
    answer(error=first_line(error))
else:
    try:
        bench.introduce()
        bench.serve()
    except KeyboardInterrupt:
        sys.exit(130)
