import pytest
from mmengine.config import Config

from ldcrn_mm.training.results import analyze_bad_cases, dump_predictions

COCO = dict(type='CocoMetric')
LOSS = dict(type='KeypointMSELoss')


def config(**hook):
    return Config(
        dict(
            model=dict(head=dict(loss=LOSS)),
            test_evaluator=COCO,
            default_hooks=dict(badcase=dict(type='BadCaseAnalysisHook', **hook)),
        )
    )


@pytest.mark.parametrize('evaluator', [COCO, [COCO]])
def test_predictions_are_dumped_beside_the_metrics(evaluator):
    cfg = Config(dict(test_evaluator=evaluator))

    dump_predictions(cfg, 'out.pkl')

    dumped = dict(type='DumpResults', out_file_path='out.pkl')
    assert cfg.test_evaluator == [COCO, dumped]


def test_bad_cases_are_measured_by_the_loss_of_the_head():
    cfg = config()

    analyze_bad_cases(cfg, show=True, wait_time=2.0)

    assert cfg.default_hooks.badcase == dict(
        type='BadCaseAnalysisHook', enable=True, show=True, wait_time=2.0, metric=LOSS
    )


def test_bad_cases_are_measured_by_the_metric_where_the_config_says_so():
    cfg = config(metric_type='accuracy')

    analyze_bad_cases(cfg, show=False, wait_time=0.0)

    assert cfg.default_hooks.badcase.metric == COCO


def test_a_measure_of_the_config_is_kept():
    cfg = config(metric=dict(type='SmoothL1Loss'))

    analyze_bad_cases(cfg, show=False, wait_time=0.0)

    assert cfg.default_hooks.badcase.metric.type == 'SmoothL1Loss'


def test_a_head_with_a_default_loss_leaves_the_measure_to_the_hook():
    cfg = config()
    del cfg.model.head['loss']

    analyze_bad_cases(cfg, show=False, wait_time=0.0)

    assert 'metric' not in cfg.default_hooks.badcase


def test_bad_cases_need_their_hook():
    cfg = config()
    del cfg.default_hooks['badcase']

    with pytest.raises(ValueError, match='BadCaseAnalysisHook'):
        analyze_bad_cases(cfg, show=False, wait_time=0.0)


def test_bad_cases_have_two_measures():
    with pytest.raises(ValueError, match="'loss' or 'accuracy', not 'speed'"):
        analyze_bad_cases(config(metric_type='speed'), show=False, wait_time=0.0)
