"""Exported files and their check. The estimator in PyTorch is the oracle."""

import copy
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import onnx
import openvino
import pytest
import torch

from ldcrn_mm.deploy import open_runtime
from ldcrn_mm.deploy.export import check, export_network, to_onnx

from .conftest import IMAGES, SUFFIXES, write_graph

BOTH = pytest.mark.parametrize('suffix', SUFFIXES)


def relative_error(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


class TestFiles:
    @BOTH
    @pytest.mark.parametrize('count', [1, 3])
    def test_heatmaps(self, runtimes, heatmaps, suffix, count):
        found = runtimes[suffix, False](IMAGES[:count].numpy())
        assert relative_error(found, heatmaps[:count]) < 1e-5

    @BOTH
    def test_keypoints(self, runtimes, estimator, heatmaps, suffix):
        found = runtimes[suffix, True](IMAGES.numpy())
        for keypoints, scores, maps in zip(*found, heatmaps):
            expected = estimator.head.decoder.decode(maps)
            np.testing.assert_allclose(keypoints, expected[0][0], atol=1e-4)
            np.testing.assert_allclose(scores, expected[1][0], rtol=1e-4, atol=1e-4)

    def test_the_graph_has_only_the_operations_of_the_network(self, estimator, files):
        nodes = onnx.load(files['.onnx', False]).graph.node
        kinds = Counter(node.op_type for node in nodes)
        assert set(kinds) == {
            'Add', 'BatchNormalization', 'Concat', 'Conv', 'Relu', 'Resize',
        }  # fmt: skip
        convs = [m for m in estimator.modules() if isinstance(m, torch.nn.Conv2d)]
        assert kinds['Conv'] == len(convs)
        made_by = {name: node.op_type for node in nodes for name in node.output}
        for node in nodes:  # a norm after a convolution is folded into it
            if node.op_type == 'BatchNormalization':
                assert made_by[node.input[0]] != 'Conv'
        nodes = openvino.Core().read_model(files['.xml', False]).get_ops()
        assert {node.get_type_name() for node in nodes} == {
            'Add', 'Concat', 'Constant', 'Convolution', 'Interpolate', 'Multiply',
            'Parameter', 'Relu', 'Result',
        }  # fmt: skip

    def test_nothing_tells_where_it_was_made(self, files, root):
        content = files['.onnx', False].read_bytes()
        for word in (str(root), 'site-packages', 'stack_trace', 'forward'):
            assert word.encode() not in content

    @pytest.mark.parametrize(
        ('suffix', 'precision'), [('.onnx', 'fp16'), ('.xml', 'fp16'), ('.xml', 'bf16')]
    )
    def test_lower_precision(self, stored, heatmaps, files, suffix, precision):
        low = stored(suffix, precision)
        runtime = open_runtime(low, num_threads=1)
        assert runtime.precision == precision
        error = relative_error(runtime(IMAGES.numpy()), heatmaps)
        assert error < dict(fp16=1e-2, bf16=5e-2)[precision]
        if precision == 'fp16':
            assert error > 1e-5
            weights = {'.onnx': '.onnx', '.xml': '.bin'}[suffix]
            both = (low, files[suffix, False])
            sizes = [file.with_suffix(weights).stat().st_size for file in both]
            assert sizes[0] < 0.85 * sizes[1]  # the graph of .onnx stays

    @pytest.mark.slow
    def test_size_and_opset(self, estimator, tmp_path):
        file = export_network(estimator, tmp_path / 'x.onnx', (32, 40), opset=18)
        images = IMAGES[:, :, :40, :32]
        with torch.no_grad():
            expected = estimator(images, None, mode='tensor').numpy()
        assert relative_error(open_runtime(file)(images.numpy()), expected) < 1e-5
        assert [o.version for o in onnx.load(file).opset_import if not o.domain] == [18]

    @BOTH
    def test_a_full_disk_leaves_the_old(self, graphs, tmp_path, monkeypatch, suffix):
        def no_space(descriptor):
            os.truncate(descriptor, 1)
            raise OSError('no space left on device')

        file = write_graph(graphs[False], tmp_path / f'tiny{suffix}')
        before = {file: file.read_bytes() for file in tmp_path.iterdir()}
        monkeypatch.setattr('os.fsync', no_space)
        with pytest.raises(OSError, match='no space left'):
            write_graph(graphs[True], file)
        assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before

    @pytest.mark.parametrize(
        ('file', 'options', 'name'),
        [
            ('x.onnx', dict(precision='bf16'), 'precision.*fp16.*bf16'),
            ('x.xml', dict(precision='fp8'), 'precision.*fp8'),
            ('x.onnx', dict(precision='int8'), 'calibration'),
            ('x.xml', dict(precision='int8'), 'calibration'),
            ('x.onnx', dict(opset=9), 'opset.* 9'),
            ('x.xml', dict(opset=99), 'opset.* 99'),
            ('x.onnx', dict(size=(44, 64)), 'multiples of 8'),
            ('x.pt', {}, r'\.onnx or \.xml'),
        ],
    )
    def test_exception_for_options(self, estimator, tmp_path, file, options, name):
        with pytest.raises(ValueError, match=name):
            export_network(estimator, tmp_path / file, **options)
        assert not list(tmp_path.iterdir())

    def test_exception_without_a_size(self, estimator, monkeypatch):
        monkeypatch.setattr(estimator.head, 'decoder', None)
        with pytest.raises(ValueError, match='size'):
            to_onnx(estimator)


def peak(y, x, height=16, width=12, value=1):
    """(K, H, W) with a maximum and unequal neighbours."""
    heatmap = np.zeros((1, height, width), np.float32)
    heatmap[0, y, x] = 1
    heatmap[0, y, [x - 1, x + 1]] = 0.25, 0.5
    heatmap[0, [y - 1, y + 1], x] = 0.25, 0.5
    return value * heatmap


class Model:
    """An estimator with a heatmap for one image each, and the head's decoding."""

    def __init__(self, head, heatmaps):
        self.head = head
        self.heatmaps = torch.from_numpy(heatmaps)

    def __call__(self, images, data_samples, mode):
        index = int(images[0, 0, 0, 0])
        return self.heatmaps[index : index + 1]


class Runtime:
    """An exported file with these outputs."""

    def __init__(self, *outputs, precision='fp32', decoded=False):
        self.outputs = outputs if len(outputs) > 1 else outputs[0]
        self.precision, self.decoded = precision, decoded

    def __call__(self, images):
        return self.outputs


class TestCheck:
    NUMBERS = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 3, 64, 48)
    HEATMAPS = np.stack([peak(5, 5), peak(7, 3, value=10)])

    @pytest.fixture
    def model(self, estimator):
        return Model(estimator.head, self.HEATMAPS)

    @BOTH
    @pytest.mark.parametrize('decode', [False, True])
    def test_files_agree(self, estimator, runtimes, suffix, decode):
        agrees, found = check(estimator, runtimes[suffix, decode], IMAGES)
        assert agrees
        assert '0 of 51 keypoints' in found

    @pytest.mark.parametrize(
        ('error', 'precision', 'expected'),
        [  # relative to the largest value, 10
            (0.9e-4, 'fp32', True),
            (1.1e-4, 'fp32', False),
            (0.9e-1, 'fp16', True),
            (1.1e-1, 'fp16', False),
            (0.4, 'bf16', True),
            (0.6, 'bf16', False),
            (99.0, 'int8', True),
            (np.nan, 'fp32', False),
            (np.nan, 'int8', False),
            (np.inf, 'int8', False),
        ],
    )
    def test_error_of_heatmaps(self, model, error, precision, expected):
        heatmaps = self.HEATMAPS.copy()
        heatmaps[0, 0, 0, 0] += error
        agrees, _ = check(model, Runtime(heatmaps, precision=precision), self.NUMBERS)
        assert agrees is expected

    def test_a_tie_moves_a_keypoint_and_agrees(self, estimator):
        tie = self.HEATMAPS.copy()
        tie[0, 0, 5, [4, 6]] = 0.5, 0.5 + 1e-6
        other = tie.copy()
        other[0, 0, 5, 4] = 0.5 + 2e-6
        agrees, found = check(Model(estimator.head, tie), Runtime(other), self.NUMBERS)
        assert agrees
        assert '1 of 2 keypoints moved' in found

    @pytest.mark.parametrize(
        ('move', 'factor', 'precision', 'expected'),
        [
            (0.9, 1, 'fp32', True),
            (1.1, 1, 'fp32', False),
            (1.1, 1, 'bf16', True),
            (np.nan, 1, 'fp32', False),
            (0, 1.001, 'fp32', False),
            (0, 1.001, 'fp16', True),
        ],
    )
    def test_decoded_files(self, model, move, factor, precision, expected):
        decoded = [model.head.decoder.decode(maps) for maps in self.HEATMAPS]
        keypoints, scores = (np.concatenate(each) for each in zip(*decoded))
        keypoints[0, 0, 0] += move
        runtime = Runtime(keypoints, factor * scores, precision=precision, decoded=True)
        assert check(model, runtime, self.NUMBERS)[0] is expected

    @pytest.mark.parametrize('outputs', [[(2, 17, 96), (2, 17, 128)], [(2, 17, 2)]])
    def test_only_heatmaps_are_exported(self, estimator, outputs, tmp_path):
        model = copy.deepcopy(estimator)
        model.head.forward = lambda _: tuple(map(torch.zeros, outputs))
        with pytest.raises(ValueError, match=r'heatmaps.*got LDCRNHead'):
            export_network(model, tmp_path / 'a.onnx')

    def test_exception_for_another_shape(self, model):
        with pytest.raises(ValueError, match=r'\(2, 1, 16, 12\).*\(2, 2, 16, 12\)'):
            check(model, Runtime(self.HEATMAPS.repeat(2, axis=1)), self.NUMBERS)


@pytest.mark.slow
def test_the_package_imports_without_the_exporters(root):
    code = (
        'import sys, ldcrn_mm.deploy\n'
        "print({'onnx', 'onnxruntime', 'openvino', 'nncf'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=root, capture_output=True, check=True
    )
    assert done.stdout.decode().strip().endswith('set()')
