"""MPII's keypoints, which count pixels from one."""

from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS


@TRANSFORMS.register_module()
class KeypointsFromZero(BaseTransform):
    """Counts keypoints from zero, as the pixels of the picture do.

    MPII's annotations count from one, as MATLAB does. The original subtracts
    one from a person's centre and from the keypoints; of these, MMPose 1.x's
    ``MpiiDataset`` does so to the centre only, so its training targets lie one
    pixel of the photograph to the lower right. Testing needs nothing:
    ``MpiiPCKAccuracy`` adds one to the predictions.

    Required and modified keys: ``keypoints``, shape (N, K, 2).

    References:
        Xiao et al.'s answer that MPII counts from one, after asking its
        authors: microsoft/human-pose-estimation.pytorch#110. MMPose 0.x
        subtracted one too: open-mmlab/mmpose#55.
    """

    def transform(self, results: dict) -> dict:
        """Leaves the array of the caller alone."""
        results['keypoints'] = results['keypoints'] - 1
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
