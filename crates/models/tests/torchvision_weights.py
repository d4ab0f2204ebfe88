"""Weights files of each torchvision network in this crate, and checks of files that it saved.

Needs torch, torchvision and safetensors. The files are large and are not kept.

python torchvision_weights.py names
    prints the networks' names.
python torchvision_weights.py make NAME DIR
    writes NAME.pth, NAME.safetensors, and NAME.expected.safetensors with images and logits.
python torchvision_weights.py check NAME SAVED.safetensors DIR
    loads a file that this crate saved into torchvision's network, and prints the error of its
    logits compared to those written by `make`, in standard deviations of the latter.
"""

import copy
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models

NAMES = [
    "alexnet",
    "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
    "googlenet",
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "densenet121", "densenet161", "densenet169", "densenet201",
]
SEED = 2026


def build(name, auxiliary=True):
    if name == "googlenet":
        return models.googlenet(
            weights=None, aux_logits=auxiliary, init_weights=True, transform_input=False)
    return models.get_model(name, weights=None)


def randomise_norms(network):
    """Randomizes batch norms: new ones are the identity, and would hide mistakes."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)


def strengthen_convolutions(network):
    """Makes the logits depend on the images.

    GoogLeNet's initial weights are so small that, without correct running statistics, the logits do
    not depend on the images, and mistakes before the last layers would not be noticed.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)


def make(name, folder):
    torch.manual_seed(SEED)
    network = build(name)
    if name == "googlenet":
        strengthen_convolutions(network)
    randomise_norms(network)
    images = torch.randn(2, 3, 224, 224)

    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / f"{name}.pth")
    save_file(network.state_dict(), folder / f"{name}.safetensors")

    expected = {"images": images}
    with torch.no_grad():
        expected["logits"] = network.eval()(images)
        if name == "googlenet":
            # A copy, because training changes the running statistics.
            training = copy.deepcopy(network).train()
            for module in training.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0
            outputs = training(images)
            expected["training_logits"] = outputs.logits
            expected["auxiliary1"] = outputs.aux_logits1
            expected["auxiliary2"] = outputs.aux_logits2
    save_file(expected, folder / f"{name}.expected.safetensors")


def check(name, saved, folder):
    state = load_file(saved)
    auxiliary = any(entry.startswith("aux1.") for entry in state)
    network = build(name, auxiliary)
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a wrong shape
        sys.exit(f"{name}: {error}")
    missing = without_counters(missing)
    unexpected = without_counters(unexpected)
    if missing or unexpected:
        sys.exit(f"{name}: missing entries {missing}, unexpected entries {unexpected}")

    expected = load_file(folder / f"{name}.expected.safetensors")
    with torch.no_grad():
        logits = network.eval()(expected["images"])
    difference = (logits - expected["logits"]).abs().max() / expected["logits"].std()
    print(difference.item())


def without_counters(entries):
    """The entries without the batch counters, which only torchvision has."""
    return [entry for entry in entries if not entry.endswith("num_batches_tracked")]


def main():
    arguments = sys.argv[1:]
    if arguments == ["names"]:
        print("\n".join(NAMES))
    elif len(arguments) == 3 and arguments[0] == "make" and arguments[1] in NAMES:
        make(arguments[1], Path(arguments[2]))
    elif len(arguments) == 4 and arguments[0] == "check" and arguments[1] in NAMES:
        check(arguments[1], arguments[2], Path(arguments[3]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
