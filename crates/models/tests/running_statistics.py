"""Makes running_statistics.json: the running means and variances of PyTorch's networks after three
training steps, with the weights and images of reference.py's formula.

Made with Python 3.11, torch 2.15.0 and torchvision 0.29.2:
python crates/models/tests/running_statistics.py
"""

import json
import math
from pathlib import Path

import numpy as np
import torch

from reference import BATCH, CLASSES, NETWORKS, PRESETS, built, fill, gradient_summary, uniform

STEPS = 3
LEARNING_RATE = 0.01

# Some networks of each preset.
KEYS = [
    "d2l/lenet_bn",
    "d2l/densenet",
    "imagenet/googlenet",
    "imagenet/resnet18",
    "small/wrn_16_4",
]


def running_statistics(key):
    """For each running mean and variance: the norm, and the dot product as for gradients."""
    builder, side, *_ = NETWORKS[key]
    channels, _ = PRESETS[key.split("/")[0]]
    network = fill(built(builder, channels, CLASSES)).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)
    labels = torch.arange(BATCH) * 3 % CLASSES
    shape = (BATCH, channels, side, side)
    for step in range(STEPS):
        images = uniform(f"images {step}", math.prod(shape)).astype(np.float32).reshape(shape)
        loss = torch.nn.functional.cross_entropy(network(torch.from_numpy(images).double()), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {
        name: gradient_summary(name, buffer)
        for name, buffer in network.named_buffers() if "running" in name}


def main():
    result = {key: running_statistics(key) for key in KEYS}
    path = Path(__file__).with_name("running_statistics.json")
    path.write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
