"""Files with results: drawn pictures or a video, and predictions as json."""

import json
from pathlib import Path

import cv2
import mmcv
import numpy as np

from .inputs import Picture, Video, name_of, path_of


class Outputs:
    """The files of one call.

    Args:
        inputs: pictures or video of the call.
        vis_dir: folder for what is drawn, if that is saved.
        pred_dir: folder for predictions, if they are saved.

    Raises:
        ValueError: if a file would replace an input or another result.
    """

    def __init__(
        self,
        inputs: list[Picture] | Video,
        vis_dir: str | Path | None,
        pred_dir: str | Path | None,
    ) -> None:
        self.vis_dir = Path(vis_dir) if vis_dir else None
        self.pred_dir = Path(pred_dir) if pred_dir else None
        self.video = inputs if isinstance(inputs, Video) else None
        self._writer: cv2.VideoWriter | None = None
        self._frames: list[dict] = []
        sources = [self.video.source] if self.video else inputs
        taken = {Path(s).resolve(): f'the input {s}' for s in sources if type(s) is str}
        for index, source in enumerate(sources):
            name = self.video.name if self.video else name_of(index, source)
            for file in filter(None, self._files(name)):
                if owner := taken.get(file.resolve()):
                    raise ValueError(
                        f'The results of {name} would replace {owner} in {file}. '
                        'Choose another folder, or rename one of them.'
                    )
                taken[file.resolve()] = f'those of {name}'

    def add(self, name: str, drawn: np.ndarray | None, people: list[dict]) -> None:
        """Writes the results of a picture or of the next frame.

        Args:
            name: of the picture.
            drawn: (H, W, 3), uint8, RGB, if that is saved.
            people: predictions in plain Python types.

        Raises:
            OSError: if a file cannot be written.
        """
        drawing, predictions = self._files(self.video.name if self.video else name)
        if drawing:
            drawing.parent.mkdir(parents=True, exist_ok=True)
            drawn = mmcv.rgb2bgr(drawn)
        if self.video:
            self._frames.append(dict(frame_id=len(self._frames), instances=people))
            if drawing:
                self._write_frame(drawing, drawn)
            return
        if drawing:
            drawing.write_bytes(cv2.imencode(drawing.suffix, drawn)[1])
        if predictions:
            _dump(people, predictions)

    def close(self) -> None:
        """Completes the files of a video."""
        if self._writer:
            self._writer.release()
        if self.video and self.pred_dir:
            _dump(self._frames, self._files(self.video.name)[1])

    def _files(self, name: str) -> tuple[Path | None, Path | None]:
        """Where a drawing and predictions go."""
        path = path_of(name)
        kept = self.video or path.suffix.lower() in ('.jpg', '.jpeg', '.png')
        drawing = path.name if kept else f'{path.stem}.jpg'
        return (
            self.vis_dir and self.vis_dir / drawing,
            self.pred_dir and self.pred_dir / f'{path.stem}.json',
        )

    def _write_frame(self, file: Path, frame: np.ndarray) -> None:
        if not self._writer:
            str(file).encode()  # an error: OpenCV crashes on names that are not UTF-8
            code = cv2.VideoWriter_fourcc(*'mp4v')
            size = frame.shape[1::-1]
            self._writer = cv2.VideoWriter(str(file), code, self.video.fps, size)
            if not self._writer.isOpened():
                raise OSError(f'OpenCV cannot write `{file}`')
        self._writer.write(frame)


def _dump(content: list[dict], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent='  '))
