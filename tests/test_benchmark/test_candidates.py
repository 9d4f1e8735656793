"""Which networks are compared, and what is prepared of them."""

import pytest
import torch

from ldcrn_mm.benchmark import candidates
from ldcrn_mm.benchmark.candidates import Candidate, find_candidates, prepare


def test_configs_and_files(tiny, tmp_path):
    file = tmp_path / 'x.xml'
    file.write_text('')
    found = find_candidates([tiny, 'hrnet-w32', str(file)], None, deploy=False)
    assert [one.name for one in found] == ['tiny', 'hrnet-w32', 'x.xml']
    assert [one.size for one in found] == [(256, 192), (256, 192), None]
    assert found[2].files == {('openvino', None): str(file)}
    assert found[2].config is None


def test_the_size_can_be_another(tiny):
    assert find_candidates([tiny], (64, 32), deploy=False)[0].size == (64, 32)


def test_the_deploy_form_comes_after_its_network_and_only_of_ldcrn(tiny):
    found = find_candidates([tiny, 'hrnet-w32'], None, deploy=True)
    assert [(one.name, one.deploy) for one in found] == [
        ('tiny', False),
        ('tiny, deploy form', True),
        ('hrnet-w32', False),
    ]


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='no exported network'):
        find_candidates([str(tmp_path / 'a.onnx')], None, deploy=False)
    with pytest.raises(FileNotFoundError, match='no config `nothing`'):
        find_candidates(['nothing'], None, deploy=False)


def test_a_network_is_counted_and_exported(tiny, tmp_path, monkeypatch):
    exported = []

    def export(estimator, file, size, precision):
        if precision == 'bf16':
            raise RuntimeError('no such operator')
        exported.append((file.suffix, size, precision, type(estimator).__name__))

    monkeypatch.setattr(candidates, 'export', export)
    forms = [
        ('onnxruntime', 'fp32'),
        ('openvino', 'fp32'),
        ('openvino', 'bf16'),
        ('openvino', 'int8'),
    ]
    found = prepare(Candidate('tiny', tiny, (64, 32)), forms, str(tmp_path))
    assert found.counts['parameters'] > 1000
    assert found.counts['multiply_adds'] > 10000
    assert exported == [
        ('.onnx', (64, 32), 'fp32', 'TopdownPoseEstimator'),
        ('.xml', (64, 32), 'fp32', 'TopdownPoseEstimator'),
        ('.xml', (64, 32), 'int8', 'TopdownPoseEstimator'),
    ]
    assert set(found.files) == {forms[0], forms[1], forms[3]}
    assert len(set(found.files.values())) == 3
    assert found.errors == {('openvino', 'bf16'): 'RuntimeError: no such operator'}


OPENVINO = ('openvino', 'fp32')


class Pool:
    """Runs what is submitted here; breaks at ``breaks``."""

    opened = 0

    def __init__(self):
        type(self).opened += 1

    def submit(self, function, candidate, *arguments):
        self.candidate = candidate
        return self

    def result(self):
        if self.candidate.name == 'breaks':
            raise candidates.BrokenProcessPool('gone')
        if self.candidate.name == 'fails':
            raise ValueError('no such width')
        self.candidate.counts['parameters'] = 1
        return self.candidate

    def shutdown(self):
        pass


def test_a_network_that_fails_does_not_keep_the_others(monkeypatch):
    monkeypatch.setattr(candidates, '_pool', Pool)
    given = [
        Candidate(name, 'config.py', (64, 32)) for name in ('breaks', 'fails', 'good')
    ]
    given.append(Candidate('file', None, None))
    broken, failed, good, file = candidates.prepare_apart(given, [OPENVINO], 'folder')
    assert 'its process ended' in broken.errors[OPENVINO]
    assert failed.errors == {OPENVINO: 'ValueError: no such width'}
    assert good.counts == {'parameters': 1}
    assert not good.errors
    assert file == Candidate('file', None, None)
    assert Pool.opened == 2


@pytest.mark.parametrize(
    ('form', 'tolerance'),
    [
        (('onnxruntime', 'fp32'), 1e-4),
        pytest.param(('onnxruntime', 'int8'), 0.3, marks=pytest.mark.slow),
        (('openvino', 'fp32'), 1e-4),
        pytest.param(('openvino', 'int8'), 0.3, marks=pytest.mark.slow),
    ],
)
def test_exported_files_compute_about_the_same(tiny, tmp_path, form, tolerance):
    for name in ('onnx', 'onnxruntime', 'openvino', 'nncf'):
        pytest.importorskip(name)
    from ldcrn_mm.deploy import open_runtime

    found = prepare(Candidate('tiny', tiny, (64, 32)), [form], str(tmp_path))
    assert not found.errors
    runtime = open_runtime(found.files[form])
    assert runtime.precision == form[1]
    images = torch.randn(1, 3, 64, 32)
    network = candidates.build_estimator(candidates.load_config(tiny), (64, 32))
    with torch.no_grad():
        expected = network(images, None)
    error = (torch.from_numpy(runtime(images.numpy())) - expected).abs().max()
    assert error < tolerance * expected.abs().max()


def test_the_deploy_form_is_what_is_exported(tiny, tmp_path, monkeypatch):
    exported = []
    monkeypatch.setattr(
        candidates, 'export', lambda estimator, *args: exported.append(estimator)
    )
    plain = prepare(Candidate('a', tiny, (64, 32)), [OPENVINO], str(tmp_path))
    deploy = Candidate('b', tiny, (64, 32), deploy=True)
    deploy = prepare(deploy, [OPENVINO], str(tmp_path))
    kinds = [{type(m).__name__ for m in one.modules()} for one in exported]
    assert kinds[0] != kinds[1]
    assert plain.counts == deploy.counts  # of the plain network, both
