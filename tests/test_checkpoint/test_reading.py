"""Checkpoints from files and from the web, and what must not be taken for one."""

import hashlib
import io
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader

from ldcrn_mm.checkpoint import read_checkpoint

CONTENT = dict(state_dict={'a.weight': torch.arange(3.0)}, meta=dict(epoch=3))


class Code:
    def __reduce__(self):
        return print, ('run',)


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / 'checkpoint.pth'
    path.write_bytes(saved(CONTENT))
    return path


def holds_the_content(checkpoint: dict) -> bool:
    weight = checkpoint['state_dict']['a.weight']
    return checkpoint['meta'] == dict(epoch=3) and weight.tolist() == [0, 1, 2]


def test_a_file_goes_by_a_string_or_a_path(file, monkeypatch):
    assert holds_the_content(read_checkpoint(str(file)))
    assert holds_the_content(read_checkpoint(file))
    monkeypatch.setenv('HOME', str(file.parent))
    assert holds_the_content(read_checkpoint('~/checkpoint.pth'))


def test_tensors_go_where_they_are_wanted(file):
    state = read_checkpoint(file, map_location='meta')['state_dict']
    assert state['a.weight'].device.type == 'meta'


def test_broken_and_foreign_files_are_errors(file):
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b'', b'<html>not found</html>'):
        file.write_bytes(content)
        with pytest.raises(ValueError, match='broken, or no checkpoint') as caught:
            read_checkpoint(file)
        assert 'to `False`' not in str(caught.value)
        assert '\n' not in str(caught.value)


def test_code_in_a_file_is_not_run_nor_is_it_advised_to(file, capsys):
    file.write_bytes(saved(dict(state_dict=Code())))
    with pytest.raises(ValueError, match=r'weights_only=True: .*print') as caught:
        read_checkpoint(file)
    assert 'add_safe_globals' not in str(caught.value)
    assert 'run' not in capsys.readouterr().out


def test_pytorchs_switch_for_the_protection_changes_nothing(file, monkeypatch, capsys):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    assert holds_the_content(read_checkpoint(file))
    file.write_bytes(saved(dict(state_dict=Code())))
    with pytest.raises(ValueError, match='weights_only=True'):
        read_checkpoint(file)
    assert 'run' not in capsys.readouterr().out


def test_other_contents_are_errors(tmp_path):
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='holds a list'):
        read_checkpoint(tmp_path / 'list.pth')
    with pytest.raises(FileNotFoundError, match='nowhere'):
        read_checkpoint(tmp_path / 'nowhere.pth')


def test_an_address_on_the_web_is_downloaded(file, web):
    assert holds_the_content(read_checkpoint(f'{web}/{file.name}'))
    file.unlink()  # it is in the cache
    assert holds_the_content(read_checkpoint(f'{web}/{file.name}'))


def test_a_download_with_a_hash_in_its_name_has_to_have_it(file, web):
    right = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    (file.parent / f'net-{right}.pth').write_bytes(file.read_bytes())
    (file.parent / 'net-0123abcd.pth').write_bytes(file.read_bytes())
    (file.parent / 'net-bed.pth').write_bytes(file.read_bytes())  # no hash, a word
    assert holds_the_content(read_checkpoint(f'{web}/net-{right}.pth'))
    assert holds_the_content(read_checkpoint(f'{web}/net-bed.pth'))
    with pytest.raises(ValueError, match=r'invalid hash value \(expected "0123abcd"'):
        read_checkpoint(f'{web}/net-0123abcd.pth')


def test_code_in_a_download_is_not_run(file, web, capsys):
    file.write_bytes(saved(dict(state_dict=Code())))
    with pytest.raises(ValueError, match='weights_only=True'):
        read_checkpoint(f'{web}/{file.name}')
    assert 'run' not in capsys.readouterr().out.split()


def test_what_cannot_be_downloaded_is_named(web):
    with pytest.raises(FileNotFoundError, match=r'none\.pth: HTTP Error 404'):
        read_checkpoint(f'{web}/none.pth')


@pytest.fixture
def other_scheme(file):
    """A loader of MMEngine that asks PyTorch for no protection."""
    CheckpointLoader.register_scheme(
        'unsafe://', lambda name, device: torch.load(file, device, weights_only=False)
    )
    yield 'unsafe://anything'
    del CheckpointLoader._schemes['unsafe://']


def test_other_addresses_of_mmengine_are_read_as_safely(file, other_scheme, capsys):
    assert holds_the_content(read_checkpoint(other_scheme))
    file.write_bytes(saved(dict(state_dict=Code())))
    with pytest.raises(ValueError, match='weights_only=True'):
        read_checkpoint(other_scheme)
    assert 'run' not in capsys.readouterr().out
