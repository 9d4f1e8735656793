"""What a test leaves behind besides its metrics."""

from mmengine.config import Config

METRIC_FILES = ('.json', '.yaml', '.yml', '.pkl', '.pickle')
PREDICTION_FILES = ('.pkl', '.pickle')


def dump_predictions(cfg: Config, out_file: str) -> None:
    """Adds a metric that writes all predictions, for evaluation elsewhere.

    Args:
        cfg: the run's config, changed in place.
        out_file: a file that ends in one of :data:`PREDICTION_FILES`.
    """
    evaluator = cfg.test_evaluator
    metrics = [evaluator] if isinstance(evaluator, dict) else evaluator
    cfg.test_evaluator = [*metrics, dict(type='DumpResults', out_file_path=out_file)]


def analyze_bad_cases(cfg: Config, show: bool, wait_time: float) -> None:
    """Turns on MMPose's drawing and listing of the worst predictions.

    They are measured by the head's loss between the coordinates or, where the
    hook's ``metric_type`` says ``'accuracy'``, by the test's metric.

    Args:
        cfg: the run's config, changed in place.
        show: open windows.
        wait_time: seconds that a window stays.

    Raises:
        ValueError: where the config has no hook for it, or one with another
            measure.
    """
    hook = cfg.get('default_hooks', {}).get('badcase')
    if hook is None:
        raise ValueError(
            '--badcase needs a `default_hooks.badcase` in the config: '
            "dict(type='BadCaseAnalysisHook')."
        )
    measures = {'loss': cfg.model.head.get('loss'), 'accuracy': cfg.test_evaluator}
    measure = hook.get('metric_type', 'loss')
    if measure not in measures:
        raise ValueError(
            "`default_hooks.badcase.metric_type` is 'loss' or 'accuracy', not "
            f'{measure!r}.'
        )
    hook.update(enable=True, show=show, wait_time=wait_time)
    if measures[measure]:
        hook.setdefault('metric', measures[measure])
