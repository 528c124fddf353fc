"""Render the words of the cards that stand in place of a face: python examples/cards.py FONT.ttf

The font needs Latin and Hangul; the shipped ones were made with Nanum Gothic Bold (SIL Open Font License).
Pictures of words and no font are shipped: a machine beside an ultrasound has no Korean font.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

HEADS = ("No face shown", "얼굴을 표시하지 않습니다")
WORDS = {
    "other": ("This is not a face scan.", "얼굴 초음파 영상이 아닙니다."),
    "upside-down": ("The head is upside down.", "머리가 거꾸로 되어 있습니다."),
    "turned": ("The head is turned too far.", "머리가 너무 많이 돌아가 있습니다."),
    "too-near": ("The head is too large in the picture.", "머리가 화면에 너무 크게 잡혔습니다."),
    "too-far": ("The head is too small in the picture.", "머리가 화면에 너무 작게 잡혔습니다."),
    "text": ("Text on the screen covers the scan.", "화면의 글자가 영상을 가리고 있습니다."),
    "aspect": ("The picture is too wide or too tall.", "영상의 가로세로 비율이 맞지 않습니다."),
    "dark": ("The picture is too dark.", "영상이 너무 어둡습니다."),
    "hidden": ("Too much is hidden: move the probe.", "많이 가려져 있습니다: 탐촉자를 옮겨 주세요."),
}
FOLDER = Path(__file__).resolve().parents[1] / "runtime" / "media" / "cards"
WIDTH, HEAD, LINE = 960, 76, 48  # pixels


def main() -> None:
    """Write a grey PNG per card."""
    font = sys.argv[1]
    for code, words in WORDS.items():
        lines = [(HEADS[0], HEAD), (words[0], LINE), ("", LINE), (HEADS[1], HEAD), (words[1], LINE)]
        card = Image.new("L", (WIDTH, sum(size * 3 // 2 for _, size in lines)))
        draw, top = ImageDraw.Draw(card), 0
        for text, size in lines:
            face = ImageFont.truetype(font, size)
            while draw.textlength(text, font=face) > WIDTH - 20:
                size -= 1
                face = ImageFont.truetype(font, size)
            draw.text((WIDTH // 2, top), text, fill=255, font=face, anchor="ma")
            top += size * 3 // 2
        card.save(FOLDER / f"{code}.png", optimize=True)


if __name__ == "__main__":
    main()
