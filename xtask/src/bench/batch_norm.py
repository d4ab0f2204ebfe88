"""Times PyTorch's batch normalization on the shapes of `cargo xtask bench batch-norm`.

    python batch_norm.py [cpu|cuda] [--relu] > torch.json

Made for torch 2.15.0. As in that benchmark, which has the same JSON format, the time of a pass is
the median of repeated runs, and the gradient of the output is made before the clock starts. On a
GPU, PyTorch chooses the fused implementation (cuDNN or native).
"""

import json
import sys
import time

import torch

SHAPES = [
    (256, 6, 24, 24),
    (256, 16, 8, 8),
    (256, 120),
    (256, 84),
    (128, 64, 48, 48),
    (128, 192, 24, 24),
    (128, 128, 12, 12),
    (32, 64, 24, 24),
    (256, 512, 3, 3),
    (32, 64, 112, 112),
    (32, 256, 14, 14),
    (32, 2048, 7, 7),
    (64, 512, 7, 7),
    (64, 96, 24, 24),
    (256, 248, 3, 3),
]
VALUES = 1 << 26  # target number of values over all rounds
FORWARD, BACKWARD = 3, 5  # lowest number of reads or writes of the tensor

device = "cuda" if "cuda" in sys.argv else "cpu"
relu = "--relu" in sys.argv


def clock():
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def median(times):
    return sorted(times)[len(times) // 2]


rows = []
for shape in SHAPES:
    for layout in ["nchw", "nhwc"]:
        if layout == "nhwc" and len(shape) == 2:
            continue
        x = torch.randn(shape, device=device) * 2 + 0.5
        grad = torch.randn(shape, device=device)
        if layout == "nhwc":
            x, grad = (t.to(memory_format=torch.channels_last) for t in (x, grad))
        x.requires_grad_()
        kind = torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d
        layer = kind(shape[1], device=device)
        rounds = min(max(VALUES // x.numel(), 7), 101)
        forward, backward, copy = [], [], []
        for round in range(rounds + 1):
            x.grad = layer.weight.grad = layer.bias.grad = None
            start = clock()
            y = layer(x)
            y = y.relu_() if relu else y
            middle = clock()
            y.backward(grad)
            end = clock()
            with torch.no_grad():
                copied = x.clone()
            copy_end = clock()
            if round:
                forward.append(middle - start)
                backward.append(end - middle)
                copy.append(copy_end - end)
        size = 4 * x.numel()
        both = [f + b for f, b in zip(forward, backward)]
        copied = 2 * size / median(copy)
        for name, passes, times in [
            ("forward", FORWARD, forward),
            ("backward", BACKWARD, backward),
            ("both", FORWARD + BACKWARD, both),
        ]:
            seconds = median(times)
            rows.append({
                "shape": shape,
                "layout": layout,
                "pass": name,
                "torch_ms": seconds * 1e3,
                "gbps": passes * size / seconds / 1e9,
                "copy_share": passes * size / seconds / copied,
            })
print(json.dumps(rows, indent=1))
