"""From a picture, a folder, a video or a webcam to keypoints.

Not imported with the package, because it needs all of MMPose's inference API::

    from ldcrn_mm.inference import TopdownInferencer

    inferencer = TopdownInferencer('configs/ldcrn_coco.py', 'checkpoint.pth')
    for result in inferencer('photo.jpg', bboxes=[[50, 20, 210, 400]]):
        print(result['predictions'])
"""

from .boxes import read_boxes
from .inferencer import TopdownInferencer
from .inputs import InputWarning, Video, open_inputs
from .predict import Person, predict

__all__ = [
    'InputWarning',
    'Person',
    'TopdownInferencer',
    'Video',
    'open_inputs',
    'predict',
    'read_boxes',
]
