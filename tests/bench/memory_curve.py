"""Draw how much memory a process occupies over a soak, and say how fast it grows."""

from __future__ import annotations

from collections.abc import Sequence

Curve = Sequence[tuple[float, float]]  # progress of the soak (calls or hours), MB


def slope(curve: Curve) -> float:
    """Return the growth in MB for one unit of progress (least squares)."""
    mean = sum(at for at, _ in curve) / len(curve)
    mb = sum(mb for _, mb in curve) / len(curve)
    return sum((at - mean) * (one - mb) for at, one in curve) / sum((at - mean) ** 2 for at, _ in curve)


def picture(curve: Curve, end: str, width: int = 800, height: int = 250) -> str:
    """Draw the curve as SVG, memory from zero upwards; `end`: the words under its right end."""
    most, most_mb = curve[-1][0], max(mb for _, mb in curve) * 1.1
    left, bottom = 60, height - 30

    def place(at: float, mb: float) -> str:
        return f"{left + (width - left - 20) * at / most:.1f},{bottom * (1 - mb / most_mb):.1f}"

    line = " ".join(place(*one) for one in curve)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">
<rect width="{width}" height="{height}" fill="white"/>
<path d="M{left},0V{bottom}H{width - 20}" fill="none" stroke="black"/>
<polyline points="{line}" fill="none" stroke="#0057b7" stroke-width="2"/>
<text x="{left - 5}" y="12" text-anchor="end">{most_mb:.0f} MB</text>
<text x="{left - 5}" y="{bottom}" text-anchor="end">0</text>
<text x="{width - 20}" y="{bottom + 18}" text-anchor="end">{end}</text>
</svg>
"""
