"""LDCRN once more, written out from the paper's formulas: the tests' oracle.

Functions of a state dict and of tensors, without modules and without what the
package uses: normalisation and upsampling are spelled out, and every kernel
size is stated here and checked against the weights.
"""

import torch
import torch.nn.functional as F


def under(p, prefix):
    """The tensors of one member, its name removed."""
    start = prefix + '.'
    return {k.removeprefix(start): v for k, v in p.items() if k.startswith(start)}


def relu(x):
    return x.clamp(min=0)


def conv(p, x, kernel, stride=1):
    weight = p['weight']
    assert weight.shape[2:] == (kernel, kernel)
    return F.conv2d(x, weight, p.get('bias'), stride, padding={1: 0, 3: 1}[kernel])


def norm(p, x, train):
    """Batch normalisation, of the batch itself or by the running statistics."""
    if train:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    else:
        mean, var = p['running_mean'], p['running_var']
    scale = p['weight'] / (var + 1e-5).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + p['bias'][:, None, None]


def conv_norm(p, x, kernel, stride=1, *, train):
    return norm(under(p, '1'), conv(under(p, '0'), x, kernel, stride), train)


def layer(p, x, train):
    """ReLU( conv3x3(ReLU(BN(conv1x1(ReLU(BN(x)))))) + BN(conv3x3(x)) )."""
    a = under(p, 'bottleneck')
    y = conv(under(a, '2'), relu(norm(under(a, '0'), x, train)), 1)
    y = conv(under(a, '5'), relu(norm(under(a, '3'), y, train)), 3)
    return relu(y + conv_norm(under(p, 'shortcut'), x, 3, train=train))


def dcrm(p, x, num_layers, train):
    outputs = [x]
    for i in range(num_layers):
        outputs.append(layer(under(p, f'layers.{i}'), torch.cat(outputs, 1), train))
    return torch.cat(outputs, 1)


def transition(p, x, train):
    return conv(under(p, '2'), relu(norm(under(p, '0'), x, train)), 3)


def nearest(x, factor):
    return x.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def bilinear_twice(x):
    """Doubles height and width; samples lie at -1/4 and +1/4 of each pixel."""
    for dim in (-2, -1):
        before = torch.cat(
            [x.narrow(dim, 0, 1), x.narrow(dim, 0, x.shape[dim] - 1)], dim
        )
        after = torch.cat(
            [x.narrow(dim, 1, x.shape[dim] - 1), x.narrow(dim, -1, 1)], dim
        )
        pairs = torch.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], -1)
        x = pairs.flatten(-2) if dim == -1 else pairs.movedim(-1, -2).flatten(-3, -2)
    return x


def resample(p, x, levels, train):
    if levels == 0:
        return x
    if levels < 0:
        return nearest(conv_norm(p, x, 1, train=train), 2**-levels)
    for i in range(levels):
        x = conv_norm(under(p, f'{i}'), x, 3, stride=2, train=train)
        if i < levels - 1:
            x = relu(x)
    return x


def hr_module(p, maps, num_layers, train):
    branches = []
    for i, x in enumerate(maps):
        y = dcrm(under(p, f'branches.{i}.0'), x, num_layers, train)
        branches.append(transition(under(p, f'branches.{i}.1'), y, train))
    fused = []
    for i in range(len(maps)):
        total = 0
        for j, y in enumerate(branches):
            total = total + resample(under(p, f'exchange.{i}.{j}'), y, i - j, train)
        fused.append(relu(total))
    return fused


def backbone(p, x, num_modules, num_blocks, num_layers, train):
    """Skips (stem, stages but the last), then the pyramid from high to low."""
    for i in (0, 1):
        x = relu(conv_norm(under(p, f'stem.{i}'), x, 3, stride=2, train=train))
    skips = [x]
    for i in range(num_blocks):
        if i > 0:
            x = transition(under(p, f'layer1.{2 * i - 1}'), x, train)
        x = dcrm(under(p, f'layer1.{2 * i}'), x, num_layers, train)
    maps = [
        relu(conv_norm(under(p, 'entry.0'), x, 3, stride=1, train=train)),
        relu(conv_norm(under(p, 'entry.1'), x, 3, stride=2, train=train)),
    ]
    for i, modules in enumerate(num_modules):
        if i > 0:
            skips.append(maps[0])
            new = conv_norm(under(p, f'grow.{i - 1}'), maps[-1], 3, 2, train=train)
            maps.append(relu(new))
        for j in range(modules):
            maps = hr_module(under(p, f'stages.{i}.{j}'), maps, num_layers, train)
    return (*skips, *maps)


def neck(p, feats, num_skips, train):
    stem, *skips = feats[:num_skips]
    pyramid = feats[num_skips:]
    y = None
    for i in reversed(range(len(pyramid))):
        lateral = conv(under(p, f'laterals.{i}'), pyramid[i], 1)
        y = lateral if y is None else bilinear_twice(y) + lateral
    y = y + conv_norm(under(p, 'stem_projection'), stem, 3, train=train)
    for skip in (*skips, pyramid[0]):
        y = y + skip
    return relu(y)


def head(p, x):
    return conv(under(p, 'final_layer'), x, 1)
