"""What does an image show? A shape in a colour stands somewhere in a small image, and a convolutional network says which of
nine things it is. It reads no words, and its weights are set by hand: colour and shape lie in directions of their own.

    das run tasks/shapes.py --lm tasks/shapes.py --layers '[1, 2]' --subspace nested:k=4
"""

import numpy as np
import torch
from torch import nn

from das import CausalModel, Choice, Hypothesis, Net, Range, Task, Tensors, Uniform

SHAPES = {"cross": [[0, 1, 0], [1, 1, 1], [0, 1, 0]], "ring": [[1, 1, 1], [1, 0, 1], [1, 1, 1]], "stroke": np.eye(3)}
COLOURS = {"red": [1, 0, 0], "green": [0, 1, 0], "blue": [0, 0, 1]}
SIDE, WIDTH = 7, 8


def kind(shape):
    return np.array([list(SHAPES).index(each) for each in shape])


def hue(colour):
    return np.array([list(COLOURS).index(each) for each in colour])


def thing(kind, hue):
    return 3 * kind + hue


def image(shape, colour, row, column, light):
    """(rows, 3, SIDE, SIDE): channels, height, width."""
    drawn = np.zeros((len(row), 3, SIDE, SIDE), np.float32)
    for i, (top, left) in enumerate(zip(row, column, strict=True)):
        ink = light[i] * np.array(COLOURS[colour[i]])
        drawn[i, :, top : top + 3, left : left + 3] = ink[:, None, None] * np.array(SHAPES[shape[i]])
    return drawn


INPUTS = {"shape": Choice(list(SHAPES)), "colour": Choice(list(COLOURS)), "light": Uniform(0.5, 1)}
model = CausalModel(kind, hue, thing, inputs=INPUTS | dict.fromkeys(["row", "column"], Range(0, SIDE - 3)))

task = Task(
    prompt=Tensors(image),
    hypotheses={"colour": Hypothesis(model, "hue"), "shape": Hypothesis(model, "kind")},
)


def network():
    """A convolution with a channel for each shape and each colour, the largest of each channel, these turned by a rotation, and
    a class for each thing."""
    shapes = torch.from_numpy(np.stack([np.array(marks) * 2.0 - 1 for marks in SHAPES.values()]))
    look = nn.Conv2d(3, 6, 3, padding=1, bias=False)
    look.weight.data.zero_()
    look.weight.data[:3] = (shapes / (shapes > 0).sum((1, 2), keepdim=True))[:, None]
    look.weight.data[range(3, 6), range(3), 1, 1] = 1.0
    mix, head = nn.Linear(6, WIDTH, bias=False), nn.Linear(WIDTH, 9, bias=False)
    nn.init.orthogonal_(mix.weight, generator=torch.Generator().manual_seed(0))
    pairs = torch.cat([torch.eye(3).repeat_interleave(3, 0), torch.eye(3).repeat(3, 1)], 1)  # (classes, channels)
    head.weight.data = pairs @ mix.weight.data.T
    pool = nn.Sequential(nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    return Net(nn.Sequential(look, pool, mix, head), blocks=["0", "1", "2"])
