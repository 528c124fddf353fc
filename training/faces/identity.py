"""Who a baby is: the numbers of one head, drawn from one integer."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

SKINS: tuple[Colour, ...] = ((0.98, 0.83, 0.74), (0.95, 0.76, 0.65), (0.88, 0.67, 0.54), (0.76, 0.53, 0.40))
HAIRS: tuple[Colour, ...] = ((0.16, 0.11, 0.08), (0.34, 0.22, 0.14), (0.55, 0.39, 0.24), (0.72, 0.57, 0.38))
IRISES: tuple[Colour, ...] = ((0.17, 0.10, 0.06), (0.24, 0.15, 0.09), (0.24, 0.32, 0.42), (0.30, 0.34, 0.28))
BLANKETS: tuple[Colour, ...] = (
    (0.93, 0.91, 0.87), (0.72, 0.82, 0.90), (0.92, 0.78, 0.80), (0.80, 0.87, 0.78), (0.93, 0.87, 0.70),
    (0.66, 0.70, 0.76),
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """One head; lengths in half heights of the head, frontal picture coordinates (x right, y down)."""

    number: int
    width: float
    forehead: float
    cheek: float
    jaw: float  # how much the lower face narrows
    chin: float
    eye_x: float
    eye_y: float
    eye_width: float
    eye_open: float
    brow: float
    nose_y: float
    nose_width: float
    nose_height: float
    bridge: float
    nostril: float
    mouth_y: float
    mouth_width: float
    lip: float
    smile: float
    ear: float
    # What only a photo shows.
    skin: Colour
    hair: Colour
    hair_amount: float
    iris: Colour
    blanket: Colour
    clothes: Colour
    light: float  # where the key light stands, -1 left .. 1 right
    rosy: float


def identity_from_int(number: int) -> Identity:
    """The same head for the same integer, always; the order of the draws is part of the format."""
    rng = np.random.default_rng((7001, number))

    def among(low: float, high: float) -> float:
        return float(low + (high - low) * rng.random())

    def blend(palette: tuple[Colour, ...]) -> Colour:
        place = rng.random() * (len(palette) - 1)
        low = int(place)
        part = place - low
        a, b = palette[low], palette[low + 1]
        return (a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part, a[2] + (b[2] - a[2]) * part)

    return Identity(
        number=number,
        width=among(0.76, 0.96),
        forehead=among(0.00, 0.08),
        cheek=among(0.04, 0.17),
        jaw=among(0.00, 0.10),
        chin=among(0.02, 0.09),
        eye_x=among(0.29, 0.41),
        eye_y=among(0.00, 0.10),
        eye_width=among(0.165, 0.215),
        eye_open=among(0.10, 0.14),
        brow=among(0.0, 1.0),
        nose_y=among(0.31, 0.39),
        nose_width=among(0.10, 0.17),
        nose_height=among(0.12, 0.22),
        bridge=among(0.0, 0.045),
        nostril=among(0.6, 1.2),
        mouth_y=among(0.565, 0.635),
        mouth_width=among(0.18, 0.31),
        lip=among(0.7, 1.5),
        smile=among(-0.03, 0.06),
        ear=among(0.10, 0.24),
        skin=blend(SKINS),
        hair=blend(HAIRS),
        hair_amount=among(0.15, 1.0),
        iris=blend(IRISES),
        blanket=BLANKETS[int(rng.integers(len(BLANKETS)))],
        clothes=BLANKETS[int(rng.integers(len(BLANKETS)))],
        light=among(-0.8, 0.8),
        rosy=among(0.3, 1.0),
    )
