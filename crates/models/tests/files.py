"""Makes the weights files in `files/`: one narrow DenseNet, in every supported form of a file.

Needs torch, torchvision and safetensors: python crates/models/tests/files.py
"""

import json
import os
import pickle
from pathlib import Path

import torch
import torchvision
from safetensors.torch import save_file

FOLDER = Path(__file__).parent / "files"


class Hostile:
    """Its pickle creates a file if the unpickler executes it."""

    def __reduce__(self):
        return os.system, ("touch executed-by-a-weights-file",)


def old_name(name):
    """The name of this entry in torchvision's first DenseNets."""
    for part in ("norm1", "norm2", "conv1", "conv2"):
        name = name.replace(part, part[:-1] + "." + part[-1])
    return name


def main():
    torch.manual_seed(0)
    network = torchvision.models.DenseNet(
        growth_rate=4, block_config=(2, 2), num_init_features=8, bn_size=4, num_classes=10)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    weights = network.state_dict()

    FOLDER.mkdir(exist_ok=True)
    torch.save(weights, FOLDER / "zip.pth")
    torch.save(weights, FOLDER / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({old_name(name): value for name, value in weights.items()}, FOLDER / "old_names.pth")
    wrapped = {"module." + name: value for name, value in weights.items()}
    torch.save({"epoch": 3, "state_dict": wrapped}, FOLDER / "nested.pth")
    torch.save({name: value.half() if value.is_floating_point() else value
                for name, value in weights.items()}, FOLDER / "half.pth")
    save_file(weights, FOLDER / "plain.safetensors")
    torch.save({"weights": weights, "extra": Hostile()}, FOLDER / "hostile.pth")
    (FOLDER / "hostile.pt").write_bytes(pickle.dumps(Hostile()))
    # A tensor of 10^15 values that takes four bytes in the file.
    vast = dict(weights)
    vast["classifier.weight"] = torch.zeros(1).expand(1_000_000, 1_000_000_000)
    try:
        torch.save(vast, FOLDER / "vast.pth")
    except RuntimeError as error:
        print("vast.pth:", error)

    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    network.eval()
    with torch.no_grad():
        logits = network.double()(images.double())
    expected = {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "images": images.flatten().tolist(),
        "logits": logits.flatten().tolist(),
    }
    (FOLDER / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main()
