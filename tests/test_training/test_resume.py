import pytest
import torch

from ldcrn_mm.training.resume import check_resumable, last_checkpoint


def test_a_run_that_never_saved_has_no_last_checkpoint(tmp_path):
    assert last_checkpoint(str(tmp_path)) is None


@pytest.mark.parametrize('content', [None, '', '/moved/away/epoch_8.pth'])
def test_without_a_valid_record_the_highest_number_is_the_last(tmp_path, content):
    for name in ('epoch_9.pth', 'epoch_10.pth', 'best_coco_AP_epoch_11.pth'):
        (tmp_path / name).touch()
    if content is not None:
        (tmp_path / 'last_checkpoint').write_text(content)

    assert last_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_10.pth')


def test_the_record_is_trusted_where_its_file_is_there(tmp_path):
    for name in ('epoch_9.pth', 'epoch_10.pth'):
        (tmp_path / name).touch()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_9.pth'))

    assert last_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_9.pth')


def test_an_invalid_record_without_checkpoints_means_from_the_start(tmp_path):
    (tmp_path / 'last_checkpoint').touch()

    assert last_checkpoint(str(tmp_path)) is None


def test_a_copied_folder_goes_on_with_its_own_files(tmp_path):
    first, copy = tmp_path / 'first', tmp_path / 'copy'
    for folder in (first, copy):
        folder.mkdir()
        for name in ('epoch_9.pth', 'epoch_10.pth'):
            (folder / name).touch()
        (folder / 'last_checkpoint').write_text(str(first / 'epoch_9.pth'))

    assert last_checkpoint(str(copy)) == str(copy / 'epoch_9.pth')


@pytest.mark.parametrize('meta', [{}, {'meta': {'epoch': 3}}, {'meta': None}])
def test_weights_alone_are_no_place_to_go_on_from(tmp_path, meta):
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict={}, **meta), path)

    with pytest.raises(ValueError, match=r'epoch_N\.pth.*load_from=.*weights\.pth'):
        check_resumable(str(path))


def test_a_training_goes_on_from_its_checkpoint(tmp_path):
    path = tmp_path / 'epoch_3.pth'
    torch.save(dict(state_dict={}, meta=dict(epoch=3, iter=9)), path)

    check_resumable(str(path))
