"""Sample data by program: articulated people, in COCO and in MPII format.

Good enough for a pose network to learn from, small enough to be made in
seconds, deterministic by seed. From the inside out:

* :mod:`~.pose` and :mod:`~.figure`: joint angles and the kinematic tree;
* :mod:`~.looks`, :mod:`~.body`, :mod:`~.head`: skin, hair and clothes around it;
* :mod:`~.props`, :mod:`~.backdrop`: what stands around and behind people;
* :mod:`~.mesh`, :mod:`~.painter`, :mod:`~.photo`: surfaces, camera, photograph;
* :mod:`~.stage`, :mod:`~.scene`: whole pictures with their ground truth;
* :mod:`~.annotations`, :mod:`~.folder`: the formats, and folders on disk.
"""

from .folder import make_sample_data
from .scene import Person, Scene, draw_scene

__all__ = ['Person', 'Scene', 'draw_scene', 'make_sample_data']
