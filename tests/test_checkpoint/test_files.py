"""Reading, loading and writing checkpoint files."""

import errno
import hashlib
import zipfile
from collections import OrderedDict
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pytest
import torch
from mmengine.runner import CheckpointLoader
from torch import nn

from ldcrn_mm.checkpoint import load_weights, read_checkpoint, weights_only
from ldcrn_mm.checkpoint.files import plain, starting_weights, to_bytes, write_whole

CONTENT = dict(state_dict={'a.weight': torch.arange(3.0)}, meta=dict(epoch=3))


class Code:
    def __reduce__(self):
        return print, ('run',)


HOSTILE = dict(state_dict=Code())


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / 'checkpoint.pth'
    torch.save(CONTENT, path)
    return path


@pytest.fixture
def other_scheme(file):
    """A loader of MMEngine that asks PyTorch for no protection."""
    CheckpointLoader.register_scheme(
        'unsafe://', lambda name, device: torch.load(file, device, weights_only=False)
    )
    yield 'unsafe://anything'
    del CheckpointLoader._schemes['unsafe://']


def is_content(checkpoint: dict) -> bool:
    weight = checkpoint['state_dict']['a.weight']
    return checkpoint['meta'] == dict(epoch=3) and weight.tolist() == [0, 1, 2]


class TestReading:
    def test_path_string_home_and_web(self, file, web, monkeypatch):
        monkeypatch.setenv('HOME', str(file.parent))
        for source in (file, str(file), '~/checkpoint.pth', f'{web}/checkpoint.pth'):
            assert is_content(read_checkpoint(source))
        file.unlink()
        assert is_content(read_checkpoint(f'{web}/checkpoint.pth'))  # from the cache
        with pytest.raises(FileNotFoundError, match=r'none\.pth: HTTP Error 404'):
            read_checkpoint(f'{web}/none.pth')
        with pytest.raises(FileNotFoundError, match=r'checkpoint\.pth'):
            read_checkpoint(file)

    def test_addresses_with_one_file_name(self, tmp_path, web):
        for run in ('1', '2'):
            write_whole(to_bytes(dict(run=run)), tmp_path / run / 'best.pth')
        for run in ('1', '2', '1'):
            assert read_checkpoint(f'{web}/{run}/best.pth') == dict(run=run)

    def test_a_broken_download_is_not_kept(self, file, web):
        content = file.read_bytes()
        file.write_bytes(content[:500])
        with pytest.raises(ValueError, match=r'checkpoint\.pth` is broken'):
            read_checkpoint(f'{web}/checkpoint.pth')
        file.write_bytes(content)
        assert is_content(read_checkpoint(f'{web}/checkpoint.pth'))

    def test_device_of_the_tensors(self, file):
        state = read_checkpoint(file, map_location='meta')['state_dict']
        assert state['a.weight'].device.type == 'meta'

    @pytest.mark.parametrize('switch', ['0', '1'])
    def test_code_is_never_run(
        self, file, web, other_scheme, monkeypatch, capsys, switch
    ):
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', switch)
        assert is_content(read_checkpoint(other_scheme))
        torch.save(HOSTILE, file)
        for source in (file, other_scheme, f'{web}/checkpoint.pth'):
            with pytest.raises(
                ValueError, match=r'weights_only=True: .*print'
            ) as caught:
                read_checkpoint(source)
            assert 'add_safe_globals' not in str(caught.value)
        assert 'run' not in capsys.readouterr().out.split()

    @pytest.mark.parametrize(
        'content',
        [to_bytes(CONTENT)[:500], b'', b'<html>', b'PK\x03\x04 text', to_bytes([1])],
    )
    def test_other_files_are_refused_in_one_line(self, file, content):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r'checkpoint\.pth') as caught:
            read_checkpoint(file)
        assert '\n' not in str(caught.value)
        assert 'False' not in str(caught.value)

    @pytest.mark.parametrize('place', ['disk', 'web'])
    def test_hash_in_the_name(self, file, web, place):
        folder = file.parent if place == 'disk' else web
        content = file.read_bytes()
        right = hashlib.sha256(content).hexdigest()
        for digest in (right[:8], right, 'bed', '20260102'):  # a word and a date
            (file.parent / f'net-{digest}.pth').write_bytes(content)
            assert is_content(read_checkpoint(f'{folder}/net-{digest}.pth'))
        (file.parent / 'net-0123abcd.pth').write_bytes(content)
        with pytest.raises(ValueError, match='0123abcd'):
            read_checkpoint(f'{folder}/net-0123abcd.pth')

    @pytest.mark.parametrize('place', ['disk', 'web'])
    def test_zip_bomb_is_refused(self, file, web, place):
        torch.save(dict(state_dict=dict(a=torch.zeros(10**6))), file)
        with zipfile.ZipFile(file) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        with pytest.raises(ValueError, match='unpacks to 4,0'):
            read_checkpoint(file if place == 'disk' else f'{web}/checkpoint.pth')


class Model(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))
        self.head = nn.Conv2d(width, 2, 1)


class TestLoading:
    @pytest.fixture
    def model(self) -> nn.Module:
        return Model()

    @pytest.fixture
    def state(self) -> OrderedDict:
        return Model().state_dict()

    @pytest.mark.parametrize(
        'form', ['checkpoint', 'bare', 'wrapped', 'gpus', 'teacher']
    )
    def test_every_weight_arrives(self, model, state, form):
        checkpoint = {
            'checkpoint': dict(state_dict=state, meta={}),
            'wrapped': {f'module.{name}': value for name, value in state.items()},
            'teacher': state | {'teacher.weight': torch.zeros(4)},
        }.get(form, state)
        names = list(checkpoint)
        load_weights(
            nn.DataParallel(model) if form == 'gpus' else model, checkpoint, 'x'
        )
        for name, value in model.state_dict().items():
            assert torch.equal(value, state[name])
        assert list(checkpoint) == names

    @pytest.mark.parametrize(
        ('name', 'value', 'message'),
        [
            ('head.bias', None, r'Of 9 .*: 1 missing \(such as head\.bias\)'),
            ('head.bias', torch.zeros(5), r'1 of .* shape .*\(5,\) instead of \(2,\)'),
            ('backbone.2.bias', torch.zeros(4), r'1 unknown .*backbone\.2\.bias'),
            ('head.bias', torch.tensor([0, torch.nan]), r'1 weights .*head\.bias'),
            ('backbone.1.running_var', torch.full((4,), torch.inf), 'running_var'),
            ('head.bias', torch.zeros(2).int(), r'\(2,\) torch\.int32 instead of'),
            (0, torch.zeros(1), '`x` holds no state dict'),
            ('head.bias', torch.zeros(2).to_sparse(), 'holds no state dict'),
            ('head.bias', torch.zeros(2, device='meta'), 'holds no state dict'),
        ],
    )
    def test_misfits_are_counted_and_named(self, model, state, name, value, message):
        state.pop(name, None)
        if value is not None:
            state[name] = value
        with pytest.raises(ValueError, match=message):
            load_weights(model, state, 'x')

    def test_dicts_of_other_things_are_refused(self, model):
        for content in (dict(epoch=3), dict(state_dict=3)):
            with pytest.raises(ValueError, match='`x` holds no state dict'):
                load_weights(model, content, 'x')

    def test_exact_refuses_other_modules_too(self, model, state):
        state['teacher.weight'] = torch.zeros(4)
        with pytest.raises(ValueError, match=r'1 unknown .*teacher\.weight'):
            load_weights(model, state, 'x', exact=True)

    def test_modules_see_the_version_that_was_saved(self, model):
        seen = []
        model.head._version = 2
        state = model.state_dict()
        model.head._register_load_state_dict_pre_hook(
            lambda state, prefix, meta, *args: seen.append(meta.get('version'))
        )
        load_weights(model, state, 'x')
        assert seen == [2]


class TestWriting:
    def test_plain_has_pythons_types_only(self):
        meta = OrderedDict(
            sigmas=np.array([0.5, 1], np.float32),
            colors=[np.array([[1, 2]], np.uint8), (3, np.int64(4))],
            names={np.int64(0): np.str_('nose')},
            flag=np.bool_(True),
            nothing=None,
        )
        expected = (
            "{'sigmas': [0.5, 1.0], 'colors': [[[1, 2]], [3, 4]], "
            "'names': {0: 'nose'}, 'flag': True, 'nothing': None}"
        )
        assert repr(plain(meta)) == expected  # numpy's types have other representations

    @pytest.mark.parametrize('value', [object(), {1, 2}, Path('a'), torch.__version__])
    def test_plain_refuses_other_types(self, value):
        with pytest.raises(ValueError, match=type(value).__name__):
            plain(dict(a=[value]))

    def test_folder_is_made_and_holds_nothing_else(self, tmp_path):
        write_whole(b'content', tmp_path / 'new' / 'file')
        (path,) = (tmp_path / 'new').iterdir()
        with path.open('rb') as old:  # renamed over, not overwritten
            write_whole(b'more', path)
            assert (old.read(), path.read_bytes()) == (b'content', b'more')

    def test_full_disk_leaves_the_old_file_and_names_it(self, tmp_path, monkeypatch):
        (tmp_path / 'file').write_bytes(b'old')

        def full(descriptor):
            raise OSError(errno.ENOSPC, 'No space left on device')

        monkeypatch.setattr('os.fsync', full)
        with pytest.raises(OSError, match=f"No space .*'{tmp_path}/file'"):
            write_whole(b'content', tmp_path / 'file')
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'old']


def test_code_is_refused_unless_pytorchs_switch_is_set(tmp_path, capsys, monkeypatch):
    torch.save(Code(), tmp_path / 'code.pth')
    with weights_only(), pytest.raises(UnpicklingError):
        torch.load(tmp_path / 'code.pth', weights_only=False)
    assert capsys.readouterr().out == ''
    torch.load(tmp_path / 'code.pth', weights_only=False)
    assert capsys.readouterr().out == 'run\n'
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with weights_only():
        torch.load(tmp_path / 'code.pth', weights_only=False)
    assert capsys.readouterr().out == 'run\n'


PARTS = nn.ModuleDict(
    dict(backbone=nn.Linear(2, 3), neck=nn.Linear(3, 3), head=nn.Linear(3, 5))
)


def state(**changes):
    changes = {name.replace('_', '.'): value for name, value in changes.items()}
    return {**PARTS.state_dict(), **changes}


class TestStartingFrom:
    """What ``load_from`` takes: the backbone fits, and the rest may differ."""

    @pytest.mark.parametrize(
        ('state', 'new'),
        [
            (state(), []),
            (state(head_weight=torch.ones(7, 3)), ['head.weight']),  # other keypoints
            ({f'module.{n}': w for n, w in state().items()}, []),
            (
                {n: w for n, w in state().items() if n.startswith('backbone')},
                ['neck.weight', 'neck.bias', 'head.weight', 'head.bias'],
            ),
            (state(teacher_weight=torch.ones(1)), []),
        ],
    )
    def test_fitting_weights(self, state, new):
        found, names = starting_weights(PARTS, dict(state_dict=state), 'a.pth')
        assert names == new
        kept = {n.removeprefix('module.'): w for n, w in state.items()}
        for name, weight in PARTS.state_dict().items():
            assert torch.equal(found[name], weight if name in new else kept[name])

    @pytest.mark.parametrize(
        ('state', 'words'),
        [
            ({}, 'no state dict'),
            ({f'module.module.{n}': w for n, w in state().items()}, '0 of 2 in head'),
            (state(backbone_weight=torch.ones(4, 2)), r'1 of 2 in backbone.*e\.weight'),
            (dict(conv1=torch.ones(1)), '0 of 2 in backbone, 0 of 2 in neck'),
            (state(backbone_bias=torch.full((3,), np.nan)), 'backbone.bias'),
        ],
    )
    def test_others(self, state, words):
        with pytest.raises(ValueError, match=words):
            starting_weights(PARTS, dict(state_dict=state), 'a.pth')
